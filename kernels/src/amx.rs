//! AMX: products of tiles of 16 rows of 64 bytes, in eight tile registers; other operations are those of AVX-512.
//!
//! Weights are in panels of up to two vectors, in the layout of the vector kernels: a group of channels (four bytes) of
//! each column is what an instruction multiplies, so sixteen groups of sixteen columns are a tile.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::{ByteKernels, Isa, Kernels, Tile, TileKernel, bf16, int8};

/// Rows of a tile register.
const ROWS: usize = 16;
/// Bytes of a row of a tile register.
const BYTES: usize = 64;
/// Bytes of a group of channels.
const GROUP: usize = 4;
/// Tile registers of rows of a kernel.
const HEIGHT: usize = 2;

/// The shape of all tile registers, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        (row_bytes[i], rows[i]) = (BYTES as u16, ROWS as u8);
        i += 1;
    }
    Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// A tile in memory, where one cannot be loaded as it lies: rows at irregular distances, or the last channels.
#[repr(C, align(64))]
struct Copy([[u8; BYTES]; ROWS]);

// SAFETY, for the functions of instructions: the caller promises that the processor has AMX, that the tile registers are
// configured, and that memory is valid for sixteen rows of 64 bytes. The compiler uses no tile registers by itself, so they
// keep their values between two `asm!` blocks.

/// Sets register `T` to zero.
#[inline(always)]
unsafe fn zero<const T: u8>() {
    // SAFETY: see above.
    unsafe { asm!("tilezero tmm{t}", t = const T, options(nomem, nostack, preserves_flags)) }
}

/// Loads register `T` from rows that are `step` bytes apart.
#[inline(always)]
unsafe fn load<const T: u8>(from: *const u8, step: usize) {
    // SAFETY: see above.
    unsafe {
        asm!("tileloadd tmm{t}, [{from} + {step}*1]", t = const T, from = in(reg) from, step = in(reg) step,
            options(readonly, nostack, preserves_flags));
    }
}

/// Stores register `T` to rows that are `step` bytes apart.
#[inline(always)]
unsafe fn store<const T: u8>(to: *mut u8, step: usize) {
    // SAFETY: see above.
    unsafe {
        asm!("tilestored [{to} + {step}*1], tmm{t}", t = const T, to = in(reg) to, step = in(reg) step,
            options(nostack, preserves_flags));
    }
}

/// The numbers of a product.
trait Numbers {
    /// Whether sums are 32-bit integers in place of `f32`s.
    const WHOLE: bool;
    /// Adds the product of the registers `A` and `B` to `SUM`.
    unsafe fn multiply<const SUM: u8, const A: u8, const B: u8>();
}

/// bf16, summed as `f32`.
struct Halves;
/// Unsigned bytes in rows and signed bytes in weights, summed as integers.
struct Whole;

impl Numbers for Halves {
    const WHOLE: bool = false;

    #[inline(always)]
    unsafe fn multiply<const SUM: u8, const A: u8, const B: u8>() {
        // SAFETY: see above.
        unsafe {
            asm!("tdpbf16ps tmm{sum}, tmm{a}, tmm{b}", sum = const SUM, a = const A, b = const B,
                options(nomem, nostack, preserves_flags));
        }
    }
}

impl Numbers for Whole {
    const WHOLE: bool = true;

    #[inline(always)]
    unsafe fn multiply<const SUM: u8, const A: u8, const B: u8>() {
        // SAFETY: see above.
        unsafe {
            asm!("tdpbusd tmm{sum}, tmm{a}, tmm{b}", sum = const SUM, a = const A, b = const B,
                options(nomem, nostack, preserves_flags));
        }
    }
}

/// Configures the tile registers of this thread, for [`Kernels::enter`].
unsafe fn enter() {
    // SAFETY: the caller promises that the processor has AMX.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(readonly, nostack, preserves_flags)) }
}

/// Releases the tile registers of this thread, so that the operating system need not save them.
unsafe fn leave() {
    // SAFETY: the caller promises that the processor has AMX.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
}

/// Registers: sums 0 and 1 of the upper rows, 2 and 3 of the lower rows; 4 and 5 rows; 6 and 7 weights.
///
/// See [`Tile`]: `HEIGHT` times 16 rows, `VECTORS` vectors (one or two), elements of `SIZE` bytes.
#[inline(always)]
unsafe fn tile<N: Numbers, const VECTORS: usize, const SIZE: usize>(args: &Tile) {
    let width = VECTORS * BYTES;
    // SAFETY: the caller promises what `tile::tile` needs, and configured tile registers.
    unsafe {
        load_sums::<VECTORS>(args);
        let len = args.len * SIZE;
        for tap in 0..args.taps {
            let weights = args.panel.add(tap * args.tap_stride * SIZE);
            let addresses = args.rows.add(tap * HEIGHT * ROWS);
            let steps = [step_of(addresses), step_of(addresses.add(ROWS))];
            let offset = args.offset * SIZE;
            let mut k = 0;
            while k + BYTES <= len {
                let weights = weights.add(k / GROUP * width);
                prefetch::<VECTORS>(weights, addresses, offset + k);
                load_rows::<4>(addresses, steps[0], offset + k, BYTES);
                load::<6>(weights, width);
                N::multiply::<0, 4, 6>();
                load_rows::<5>(addresses.add(ROWS), steps[1], offset + k, BYTES);
                N::multiply::<2, 5, 6>();
                if VECTORS == 2 {
                    load::<7>(weights.add(BYTES), width);
                    N::multiply::<1, 4, 7>();
                    N::multiply::<3, 5, 7>();
                }
                k += BYTES;
            }
            if k < len {
                let rest = len - k;
                let weights = weights.add(k / GROUP * width);
                load_rows::<4>(addresses, None, offset + k, rest);
                load_rows::<5>(addresses.add(ROWS), None, offset + k, rest);
                load_weights::<6>(weights, width, rest);
                N::multiply::<0, 4, 6>();
                N::multiply::<2, 5, 6>();
                if VECTORS == 2 {
                    load_weights::<7>(weights.add(BYTES), width, rest);
                    N::multiply::<1, 4, 7>();
                    N::multiply::<3, 5, 7>();
                }
            }
        }
        store_sums::<VECTORS>(args);
        if N::WHOLE
            && let Some([scale, bias]) = args.scaled
        {
            scale_sums::<VECTORS>(args, scale, bias);
        }
    }
}

/// Steps between the use of rows and weights and their prefetch, into the L1 cache.
const ROWS_AHEAD: usize = 2;
const WEIGHTS_AHEAD: usize = 2;

/// Prefetches what a later step needs: a tile load that misses the L1 cache stops those after it.
#[inline(always)]
unsafe fn prefetch<const VECTORS: usize>(weights: *const u8, addresses: *const *const u8, offset: usize) {
    let weights = weights.wrapping_add(WEIGHTS_AHEAD * ROWS * VECTORS * BYTES);
    for i in 0..ROWS * VECTORS {
        // SAFETY: a prefetch may have any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(i * BYTES).cast()) };
    }
    for i in 0..HEIGHT * ROWS {
        // SAFETY: as above; the caller promises the addresses of all rows.
        unsafe {
            let row = (*addresses.add(i)).wrapping_add(offset + ROWS_AHEAD * BYTES);
            _mm_prefetch::<_MM_HINT_T0>(row.cast());
        }
    }
}

/// Sets the sums to the initial values, or to those so far.
#[inline(always)]
unsafe fn load_sums<const VECTORS: usize>(args: &Tile) {
    // SAFETY: see `tile`.
    unsafe {
        let (from, step) = if args.start.is_null() {
            (args.sums.cast_const().cast::<u8>(), args.sums_ld * size_of::<f32>())
        } else {
            (args.start.cast(), 0)
        };
        load::<0>(from, step);
        load::<2>(from.add(ROWS * step), step);
        if VECTORS == 2 {
            load::<1>(from.add(BYTES), step);
            load::<3>(from.add(ROWS * step + BYTES), step);
        }
    }
}

#[inline(always)]
unsafe fn store_sums<const VECTORS: usize>(args: &Tile) {
    // SAFETY: see `tile`.
    unsafe {
        let (to, step) = (args.sums.cast::<u8>(), args.sums_ld * size_of::<f32>());
        store::<0>(to, step);
        store::<2>(to.add(ROWS * step), step);
        if VECTORS == 2 {
            store::<1>(to.add(BYTES), step);
            store::<3>(to.add(ROWS * step + BYTES), step);
        }
    }
}

/// Converts sums from integers to `f32`, with the factor and the offset of each column.
#[inline(always)]
unsafe fn scale_sums<const VECTORS: usize>(args: &Tile, scale: *const f32, bias: *const f32) {
    // SAFETY: see `tile`.
    unsafe {
        for column in (0..VECTORS * 16).step_by(16) {
            let (scale, bias) = (_mm512_loadu_ps(scale.add(column)), _mm512_loadu_ps(bias.add(column)));
            for row in 0..HEIGHT * ROWS {
                let at = args.sums.add(row * args.sums_ld + column);
                let sums = _mm512_cvtepi32_ps(_mm512_loadu_si512(at.cast()));
                _mm512_storeu_ps(at, _mm512_fmadd_ps(sums, scale, bias));
            }
        }
    }
}

/// Returns the distance of the addresses of 16 rows, if it is the same for all.
#[inline(always)]
unsafe fn step_of(addresses: *const *const u8) -> Option<usize> {
    // SAFETY: the caller promises 16 addresses.
    unsafe {
        let address = |i: usize| (*addresses.add(i)).addr();
        let step = address(1).wrapping_sub(address(0));
        let mut differences = 0;
        for i in 1..ROWS {
            differences |= address(i).wrapping_sub(address(i - 1)) ^ step;
        }
        (differences == 0).then_some(step)
    }
}

/// Loads `len` bytes of 16 rows, from `offset` on, to register `T`; zeros follow.
#[inline(always)]
unsafe fn load_rows<const T: u8>(addresses: *const *const u8, step: Option<usize>, offset: usize, len: usize) {
    // SAFETY: the caller promises 16 addresses of `offset + len` bytes, with `len` up to that of a row, and with a step
    // only whole rows.
    unsafe {
        if let Some(step) = step {
            return load::<T>((*addresses).add(offset), step);
        }
        let mut copy = std::mem::MaybeUninit::<Copy>::uninit();
        let to = copy.as_mut_ptr().cast::<u8>();
        let mask = u64::MAX >> (BYTES - len);
        for row in 0..ROWS {
            let bytes = _mm512_maskz_loadu_epi8(mask, (*addresses.add(row)).add(offset).cast());
            _mm512_store_si512(to.add(row * BYTES).cast(), bytes);
        }
        load::<T>(to, BYTES);
    }
}

/// Loads the weights of the last `len` bytes of channels, fewer than a tile has, to register `T`; zeros follow.
#[inline(always)]
unsafe fn load_weights<const T: u8>(weights: *const u8, width: usize, len: usize) {
    let mut copy = Copy([[0; BYTES]; ROWS]);
    // SAFETY: the caller promises the weights of all groups.
    unsafe {
        for (group, row) in copy.0.iter_mut().enumerate().take(len.div_ceil(GROUP)) {
            _mm512_store_si512(row.as_mut_ptr().cast(), _mm512_loadu_si512(weights.add(group * width).cast()));
        }
        load::<T>(copy.0.as_ptr().cast(), BYTES);
    }
}

/// Products of a round of [`peak`], on registers of their own.
const PEAK_TILES: usize = 6;

/// See [`Kernels::peak`].
#[inline(always)]
unsafe fn peak<N: Numbers>(rounds: usize) -> f32 {
    let mut sums = Copy([[0; BYTES]; ROWS]);
    // SAFETY: the caller promises that the processor has AMX.
    unsafe {
        enter();
        zero::<0>();
        zero::<1>();
        zero::<2>();
        zero::<3>();
        zero::<4>();
        zero::<5>();
        zero::<6>();
        zero::<7>();
        for _ in 0..rounds {
            N::multiply::<0, 6, 7>();
            N::multiply::<1, 6, 7>();
            N::multiply::<2, 6, 7>();
            N::multiply::<3, 6, 7>();
            N::multiply::<4, 6, 7>();
            N::multiply::<5, 6, 7>();
        }
        store::<0>(sums.0.as_mut_ptr().cast(), BYTES);
        leave();
    }
    f32::from(sums.0[0][0])
}

macro_rules! entry_points {
    ($($name:ident = $of:expr;)*) => {
        $(#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn $name(args: &Tile) {
            // SAFETY: guaranteed by the caller, see `Kernels`.
            unsafe { $of(args) }
        })*
    };
}

entry_points! {
    halves_1 = tile::<Halves, 1, 2>;
    halves_2 = tile::<Halves, 2, 2>;
    whole_1 = tile::<Whole, 1, 1>;
    whole_2 = tile::<Whole, 2, 1>;
}

unsafe fn peak_of_halves(rounds: usize) -> f32 {
    // SAFETY: guaranteed by the caller, see `Kernels`.
    unsafe { peak::<Halves>(rounds) }
}

unsafe fn peak_of_bytes(rounds: usize) -> f32 {
    // SAFETY: guaranteed by the caller, see `Kernels`.
    unsafe { peak::<Whole>(rounds) }
}

const fn kernel(run: unsafe fn(&Tile)) -> TileKernel {
    TileKernel { rows: HEIGHT * ROWS, run }
}

/// Vector instructions with as many products as one instruction on tiles.
const VECTORS_OF_TILE: usize = ROWS * BYTES / GROUP;

/// bf16.
pub(super) static KERNELS: Kernels = Kernels {
    isa: Isa::AmxBf16,
    tiles: &[kernel(halves_1), kernel(halves_2)],
    attend: &[kernel(halves_1), kernel(halves_2)],
    enter,
    leave,
    peak: peak_of_halves,
    peak_sums: PEAK_TILES * VECTORS_OF_TILE,
    ..bf16::KERNELS
};

static BYTE_KERNELS: ByteKernels = ByteKernels {
    tiles: &[kernel(whole_1), kernel(whole_2)],
    peak: peak_of_bytes,
    peak_sums: PEAK_TILES * VECTORS_OF_TILE,
    ..int8::BYTES
};

/// bf16, and bytes for quantized layers.
pub(super) static KERNELS_WITH_BYTES: Kernels = Kernels { isa: Isa::AmxInt8, bytes: Some(&BYTE_KERNELS), ..KERNELS };

/// Whether this process has what AMX needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detected {
    /// Tiles: the processor's, and the operating system's permission to use them.
    pub(super) tiles: bool,
    /// Products of bf16.
    pub(super) bf16: bool,
    /// Products of bytes.
    pub(super) int8: bool,
}

/// Asks the operating system for the permission to use tiles, once.
pub(super) fn detected() -> Detected {
    static DETECTED: OnceLock<Detected> = OnceLock::new();
    *DETECTED.get_or_init(|| {
        // Miri has no such instruction.
        let features = if !cfg!(miri) && __cpuid_count(0, 0).eax >= 7 { __cpuid_count(7, 0).edx } else { 0 };
        let has = |bit: u32| features >> bit & 1 == 1;
        Detected { tiles: has(24) && saved_by_system() && permitted(), bf16: has(22), int8: has(25) }
    })
}

/// Whether the operating system saves the tile registers of threads.
fn saved_by_system() -> bool {
    const TILES: u64 = 0b11 << 17;

    #[target_feature(enable = "xsave")]
    unsafe fn saved() -> u64 {
        // SAFETY: the caller promises that `xgetbv` is there.
        unsafe { _xgetbv(0) }
    }
    // `xsave` is reported only if the operating system has enabled it.
    // SAFETY: just checked.
    is_x86_feature_detected!("xsave") && unsafe { saved() } & TILES == TILES
}

/// Asks for the permission to use tile registers, which Linux demands of each process.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call has no pointers.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    // Other systems have not been tried.
    false
}

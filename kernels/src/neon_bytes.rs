//! Bytes on Arm processors: reading and writing a vector of them, and products by `sdot` (FEAT_DotProd), which
//! multiplies signed bytes in groups of four; other operations are those of NEON in `f32`.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::{self, Neon};
use super::simd::{Simd, Storage};
use super::{Isa, Kernels, byte_kernels};

/// Loads the first `len < 8` bytes, and zeros.
#[inline(always)]
pub(super) unsafe fn part(from: *const u8, len: usize) -> u64 {
    let (mut bits, mut at) = (0, 0);
    // SAFETY: the caller promises `len` bytes.
    unsafe {
        if len & 4 != 0 {
            bits = u64::from(from.cast::<u32>().read_unaligned());
            at = 4;
        }
        if len & 2 != 0 {
            bits |= u64::from(from.add(at).cast::<u16>().read_unaligned()) << (8 * at);
            at += 2;
        }
        if len & 1 != 0 {
            bits |= u64::from(*from.add(at)) << (8 * at);
        }
    }
    bits
}

/// Loads four bytes as numbers. `flip` is 128 for bytes stored as signed ones, otherwise 0.
#[inline(always)]
pub(super) unsafe fn get(from: *const u8, flip: u8) -> float32x4_t {
    // SAFETY: the caller promises four bytes.
    unsafe {
        let bytes = from.cast::<[u8; 4]>().read().map(|byte| byte ^ flip);
        let wide = vmovl_u8(vcreate_u8(u64::from(u32::from_le_bytes(bytes))));
        vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)))
    }
}

/// Returns numbers as bytes: whole numbers, clamped to 0..=255; 0 for NaN.
#[inline(always)]
pub(super) unsafe fn saturated(v: float32x4_t, flip: u8) -> [u8; 4] {
    // SAFETY: instructions that every 64-bit Arm processor has.
    unsafe {
        let clamped = Neon::min(Neon::max(v, Neon::splat(0.0)), Neon::splat(255.0));
        let narrow = vmovn_u32(vcvtq_u32_f32(clamped));
        let bytes = vreinterpret_u32_u8(vmovn_u16(vcombine_u16(narrow, narrow)));
        vget_lane_u32::<0>(bytes).to_le_bytes().map(|byte| byte ^ flip)
    }
}

/// Functions of [`Storage`] for bytes, which are stored with the bits `flip` inverted.
macro_rules! bytes_in_memory {
    ($flip:expr) => {
        #[inline(always)]
        unsafe fn get(from: *const u8) -> float32x4_t {
            unsafe { get(from, $flip) }
        }
        #[inline(always)]
        unsafe fn get_first(from: *const u8, n: usize) -> float32x4_t {
            let mut bytes = [$flip; 4];
            unsafe {
                std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n);
                get(bytes.as_ptr(), $flip)
            }
        }
        #[inline(always)]
        unsafe fn put(to: *mut u8, v: float32x4_t) {
            unsafe { to.cast::<[u8; 4]>().write(saturated(v, $flip)) }
        }
        #[inline(always)]
        unsafe fn put_first(to: *mut u8, n: usize, v: float32x4_t) {
            unsafe { std::ptr::copy_nonoverlapping(saturated(v, $flip).as_ptr(), to, n) }
        }
        #[inline(always)]
        unsafe fn numbers(sums: float32x4_t) -> float32x4_t {
            unsafe { vcvtq_f32_s32(vreinterpretq_s32_f32(sums)) }
        }
    };
}
pub(super) use bytes_in_memory;

/// Operands of products: signed bytes in rows, 128 less than the quantized values, and in weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedBytes;

/// What signed bytes differ by: the bit of 128.
const FLIP: u8 = 0x80;

/// Adds the products of one group of four channels, which is group `LANE` of a row's vector in `x`.
#[inline(always)]
unsafe fn step<const LANE: u8, const ROWS: usize, const VECTORS: usize>(
    x: &[uint8x16_t; ROWS],
    weights: *const u8,
    sums: &mut [[float32x4_t; VECTORS]; ROWS],
) {
    for j in 0..VECTORS {
        // SAFETY: the caller promises the weights of four groups, and that the processor has the instruction.
        unsafe {
            let w = vld1q_u8(weights.add((usize::from(LANE) * VECTORS + j) * 16));
            // By index: with iterators of both arrays, the loop of twelve rows also stores its sums on the stack.
            for i in 0..ROWS {
                let (x, sums) = (x[i], &mut sums[i]);
                asm!("sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]", sum = inout(vreg) sums[j], w = in(vreg) w,
                    x = in(vreg) x, lane = const LANE, options(pure, nomem, nostack, preserves_flags));
            }
        }
    }
}

// SAFETY, for all blocks below: the caller promises that the processor has FEAT_DotProd, and that the pointers reach as
// far as the trait says. Sums are integers in vectors of `f32`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Storage<Neon> for SignedBytes {
    type Stored = u8;
    type Factors = uint8x16_t;
    const GROUP: usize = 4;
    const COARSE: bool = true;
    const WHOLE: bool = true;
    const SIGNED: bool = true;

    bytes_in_memory!(FLIP);
    #[inline(always)]
    unsafe fn splat_group(from: *const u8) -> uint8x16_t {
        unsafe { vreinterpretq_u8_u32(vdupq_n_u32(from.cast::<u32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn splat_part(from: *const u8, n: usize) -> uint8x16_t {
        unsafe { vreinterpretq_u8_u32(vdupq_n_u32(part(from, n) as u32)) }
    }
    #[inline(always)]
    unsafe fn load_groups(from: *const u8) -> uint8x16_t {
        unsafe { vld1q_u8(from) }
    }
    #[inline(always)]
    unsafe fn multiply(a: uint8x16_t, b: uint8x16_t, mut sum: float32x4_t) -> float32x4_t {
        unsafe {
            asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }
    #[inline(always)]
    unsafe fn four_steps<const ROWS: usize, const VECTORS: usize>(
        rows: &[*const u8; ROWS],
        k: usize,
        weights: *const u8,
        sums: &mut [[float32x4_t; VECTORS]; ROWS],
    ) {
        unsafe {
            let mut x = [vdupq_n_u8(0); ROWS];
            for (x, row) in x.iter_mut().zip(rows) {
                *x = vld1q_u8(row.add(k));
            }
            step::<0, ROWS, VECTORS>(&x, weights, sums);
            step::<1, ROWS, VECTORS>(&x, weights, sums);
            step::<2, ROWS, VECTORS>(&x, weights, sums);
            step::<3, ROWS, VECTORS>(&x, weights, sums);
        }
    }
}

byte_kernels!(
    BYTES,
    neon::Neon,
    simd::Plain,
    neon_bytes::SignedBytes,
    [#[target_feature(enable = "neon,dotprod")]],
    tiles: [(12, 1), (8, 2), (6, 3), (6, 4)],
    peak: 24
);

/// Values in `f32`, and bytes for quantized layers.
pub(super) static KERNELS: Kernels = Kernels { isa: Isa::NeonDot, bytes: Some(&BYTES), ..neon::KERNELS };

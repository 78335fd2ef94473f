//! Products of blocks on Arm processors: one instruction multiplies eight bytes of each of two rows by those of each of
//! two columns, and adds the results to the four sums. Elements are bf16 (`bfmmla`, FEAT_BF16), or bytes (`usmmla`,
//! FEAT_I8MM).
//!
//! A group of channels is eight bytes, so that the groups of two columns, which are adjacent in a panel, are an operand
//! as they lie, and those of two rows are loaded in halves. While steps add to the sums of rows `2 i` and `2 i + 1` in
//! vector `j`, the first vector has those of both rows for two columns, and the second one those for the other two.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::Neon;
use super::neon_bytes::{bytes_in_memory, get, part, saturated};
use super::simd::Storage;
use super::{Isa, Kernels, byte_kernels, kernels};

/// Bytes of a group of channels.
const GROUP: usize = 8;

/// A format whose [`multiply`](Storage::multiply) multiplies blocks.
trait Blocks: Storage<Neon, Factors = uint8x16_t> {}

/// The halves `PART` of two vectors of groups: an operand of two rows.
#[inline(always)]
unsafe fn halves<const PART: usize>(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    // SAFETY: an instruction that every 64-bit Arm processor has.
    unsafe {
        let (a, b) = (vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b));
        vreinterpretq_u8_u64(if PART == 0 { vzip1q_u64(a, b) } else { vzip2q_u64(a, b) })
    }
}

/// See [`Storage::step`].
#[allow(clippy::needless_range_loop, reason = "by index, the compiler keeps the sums in registers")]
#[inline(always)]
unsafe fn step<B: Blocks, const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
    rows: &[*const B::Stored; ROWS],
    k: usize,
    n: usize,
    weights: *const B::Stored,
    sums: &mut [[float32x4_t; VECTORS]; ROWS],
) {
    // SAFETY: guaranteed by the caller, passed on; the weights of a group are `VECTORS` times two operands.
    unsafe {
        let of = |row: *const B::Stored| if WHOLE { B::splat_group(row) } else { B::splat_part(row, n) };
        let mut x = [vdupq_n_u8(0); ROWS];
        for i in 0..ROWS / 2 {
            x[i] = halves::<0>(of(rows[2 * i].add(k)), of(rows[2 * i + 1].add(k)));
        }
        for j in 0..VECTORS {
            for half in 0..2 {
                let w = vld1q_u8(weights.cast::<u8>().add((2 * j + half) * 2 * GROUP));
                for i in 0..ROWS / 2 {
                    sums[2 * i + half][j] = B::multiply(x[i], w, sums[2 * i + half][j]);
                }
            }
        }
    }
}

/// See [`Storage::turn`]: its own inverse.
#[inline(always)]
unsafe fn turn<const ROWS: usize, const VECTORS: usize>(sums: &mut [[float32x4_t; VECTORS]; ROWS]) {
    const { assert!(ROWS.is_multiple_of(2)) };
    for i in 0..ROWS / 2 {
        for j in 0..VECTORS {
            // SAFETY: instructions that every 64-bit Arm processor has.
            unsafe {
                let [a, b] = [sums[2 * i][j], sums[2 * i + 1][j]].map(|sums| vreinterpretq_u8_f32(sums));
                sums[2 * i][j] = vreinterpretq_f32_u8(halves::<0>(a, b));
                sums[2 * i + 1][j] = vreinterpretq_f32_u8(halves::<1>(a, b));
            }
        }
    }
}

/// The functions of [`Storage`] that are the same for all [`Blocks`].
macro_rules! blocks {
    ($stored:ty) => {
        #[inline(always)]
        unsafe fn splat_group(from: *const $stored) -> uint8x16_t {
            unsafe { vreinterpretq_u8_u64(vdupq_n_u64(from.cast::<u64>().read_unaligned())) }
        }
        #[inline(always)]
        unsafe fn splat_part(from: *const $stored, n: usize) -> uint8x16_t {
            unsafe { vreinterpretq_u8_u64(vdupq_n_u64(part(from.cast(), n * size_of::<$stored>()))) }
        }
        #[inline(always)]
        unsafe fn load_groups(from: *const $stored) -> uint8x16_t {
            unsafe { vld1q_u8(from.cast()) }
        }
        #[inline(always)]
        unsafe fn step<const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
            rows: &[*const $stored; ROWS],
            k: usize,
            n: usize,
            weights: *const $stored,
            sums: &mut [[float32x4_t; VECTORS]; ROWS],
        ) {
            unsafe { step::<Self, ROWS, VECTORS, WHOLE>(rows, k, n, weights, sums) }
        }
        #[inline(always)]
        unsafe fn turn<const ROWS: usize, const VECTORS: usize>(sums: &mut [[float32x4_t; VECTORS]; ROWS]) {
            unsafe { turn(sums) }
        }
    };
}

/// Sixteen bits of an `f32`: sign, exponent, seven bits of the fraction. Without FEAT_EBF16, products flush subnormal
/// numbers to zero, and round to odd before they add to a sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16;

impl Blocks for Bf16 {}

/// Rounds to the nearest.
#[inline(always)]
unsafe fn narrow(v: float32x4_t) -> uint16x4_t {
    let halves: uint16x4_t;
    // SAFETY: the caller promises that the processor has FEAT_BF16.
    unsafe {
        asm!("bfcvtn {halves:v}.4h, {v:v}.4s", halves = lateout(vreg) halves, v = in(vreg) v,
            options(pure, nomem, nostack, preserves_flags));
    }
    halves
}

#[inline(always)]
unsafe fn widen(v: uint16x4_t) -> float32x4_t {
    // SAFETY: an instruction that every 64-bit Arm processor has.
    unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(v)) }
}

// SAFETY, for all blocks below: the caller promises that the processor has FEAT_BF16, and that the pointers reach as
// far as the trait says.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Storage<Neon> for Bf16 {
    type Stored = u16;
    type Factors = uint8x16_t;
    const GROUP: usize = GROUP / 2;
    const COARSE: bool = true;

    #[inline(always)]
    unsafe fn get(from: *const u16) -> float32x4_t {
        unsafe { widen(vld1_u16(from)) }
    }
    #[inline(always)]
    unsafe fn get_first(from: *const u16, n: usize) -> float32x4_t {
        unsafe { widen(vcreate_u16(part(from.cast(), n * size_of::<u16>()))) }
    }
    #[inline(always)]
    unsafe fn put(to: *mut u16, v: float32x4_t) {
        unsafe { vst1_u16(to, narrow(v)) }
    }
    #[inline(always)]
    unsafe fn put_first(to: *mut u16, n: usize, v: float32x4_t) {
        unsafe {
            let halves = narrow(v);
            if n & 2 != 0 {
                to.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u16(halves)));
            }
            match n {
                1 => *to = vget_lane_u16::<0>(halves),
                3 => *to.add(2) = vget_lane_u16::<2>(halves),
                _ => {}
            }
        }
    }
    #[inline(always)]
    unsafe fn multiply(a: uint8x16_t, b: uint8x16_t, mut sum: float32x4_t) -> float32x4_t {
        unsafe {
            asm!("bfmmla {sum:v}.4s, {a:v}.8h, {b:v}.8h", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }
    blocks!(u16);
}

/// Operands of products: unsigned bytes in rows, signed bytes in weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes;

impl Blocks for Bytes {}

// SAFETY, for all blocks below: the caller promises that the processor has FEAT_I8MM, and that the pointers reach as
// far as the trait says. Sums are integers in vectors of `f32`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Storage<Neon> for Bytes {
    type Stored = u8;
    type Factors = uint8x16_t;
    const GROUP: usize = GROUP;
    const COARSE: bool = true;
    const WHOLE: bool = true;

    bytes_in_memory!(0);
    #[inline(always)]
    unsafe fn multiply(a: uint8x16_t, b: uint8x16_t, mut sum: float32x4_t) -> float32x4_t {
        unsafe {
            asm!("usmmla {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }
    blocks!(u8);
}

kernels!(
    Isa::NeonBf16,
    neon::Neon,
    neon_blocks::Bf16,
    [#[target_feature(enable = "neon,bf16")]],
    tiles: [(12, 1), (8, 2), (6, 3), (6, 4)],
    attend: [(6, 1), (6, 2), (6, 3), (6, 4)],
    narrow: [],
    peak: 24
);

byte_kernels!(
    BYTES,
    neon::Neon,
    neon_blocks::Bf16,
    neon_blocks::Bytes,
    [#[target_feature(enable = "neon,bf16,i8mm")]],
    tiles: [(12, 1), (8, 2), (6, 3), (6, 4)],
    peak: 24
);

/// bf16, and bytes for quantized layers.
pub(super) static KERNELS_WITH_BYTES: Kernels = Kernels { isa: Isa::NeonI8mm, bytes: Some(&BYTES), ..KERNELS };

//! NEON, which every 64-bit Arm processor has: thirty-two registers of four `f32`.

use std::arch::aarch64::*;

use super::kernels;
use super::simd::Simd;

/// Four `f32`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon;

/// Adds the products of one step, of which `x` has a factor for each row in lane `LANE`.
#[inline(always)]
unsafe fn step<const LANE: i32, const ROWS: usize, const VECTORS: usize>(
    x: &[float32x4_t; ROWS],
    weights: *const f32,
    sums: &mut [[float32x4_t; VECTORS]; ROWS],
) {
    for j in 0..VECTORS {
        // SAFETY: the caller promises the weights of four steps.
        unsafe {
            let w = vld1q_f32(weights.add((LANE as usize * VECTORS + j) * Neon::LANES));
            for (sums, &x) in sums.iter_mut().zip(x) {
                sums[j] = vfmaq_laneq_f32::<LANE>(sums[j], w, x);
            }
        }
    }
}

// SAFETY, for all blocks below: the caller promises that the pointers reach as far as the trait says.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> float32x4_t {
        unsafe {
            let zero = vdupq_n_f32(0.0);
            match n {
                0 => zero,
                1 => vld1q_lane_f32::<0>(from, zero),
                2 => vcombine_f32(vld1_f32(from), vget_high_f32(zero)),
                _ => vld1q_lane_f32::<2>(from.add(2), vcombine_f32(vld1_f32(from), vget_high_f32(zero))),
            }
        }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(to, v) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, n: usize, v: float32x4_t) {
        unsafe {
            if n & 2 != 0 {
                vst1_f32(to, vget_low_f32(v));
            }
            match n {
                1 => vst1q_lane_f32::<0>(to, v),
                3 => vst1q_lane_f32::<2>(to.add(2), v),
                _ => {}
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // `fmax` would return NaN, and `fmaxnm` the number, whichever operand is NaN.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn times_power_of_two(a: float32x4_t, n: float32x4_t) -> float32x4_t {
        unsafe {
            let n = vminq_s32(vmaxq_s32(vcvtq_s32_f32(n), vdupq_n_s32(-127)), vdupq_n_s32(128));
            let exponent = vaddq_s32(n, vdupq_n_s32(127));
            vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        }
    }
    #[inline(always)]
    unsafe fn where_negative(x: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltzq_f32(x), a, b) }
    }
    #[inline(always)]
    unsafe fn sum(a: float32x4_t) -> f32 {
        unsafe { vpadds_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a))) }
    }
    #[inline(always)]
    unsafe fn all_below(a: float32x4_t, limit: f32) -> bool {
        unsafe { vminvq_u32(vcltq_f32(a, vdupq_n_f32(limit))) == u32::MAX }
    }
    #[inline(always)]
    unsafe fn largest(a: float32x4_t) -> f32 {
        unsafe { vmaxnmvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn four_steps<const ROWS: usize, const VECTORS: usize>(
        rows: &[*const f32; ROWS],
        k: usize,
        weights: *const f32,
        sums: &mut [[float32x4_t; VECTORS]; ROWS],
    ) {
        unsafe {
            let mut x = [vdupq_n_f32(0.0); ROWS];
            for (x, row) in x.iter_mut().zip(rows) {
                *x = vld1q_f32(row.add(k));
            }
            step::<0, ROWS, VECTORS>(&x, weights, sums);
            step::<1, ROWS, VECTORS>(&x, weights, sums);
            step::<2, ROWS, VECTORS>(&x, weights, sums);
            step::<3, ROWS, VECTORS>(&x, weights, sums);
        }
    }
}

kernels!(
    Isa::Neon,
    neon::Neon,
    simd::Plain,
    [],
    tiles: [(12, 1), (8, 2), (6, 3), (6, 4)],
    attend: [(6, 1), (6, 2), (6, 3), (6, 4)],
    narrow: [(6, 1), (6, 2), (4, 3)],
    peak: 24
);

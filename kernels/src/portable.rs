//! Portable code, as vectorized by the compiler.

use super::kernels;
use super::simd::Simd;

/// Four `f32` in an array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

const LANES: usize = 4;

#[inline(always)]
fn each(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Simd for Portable {
    type V = [f32; LANES];
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: guaranteed by the caller: four numbers can be read.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self::V {
        let mut v = [0.0; LANES];
        // SAFETY: guaranteed by the caller: `n` numbers can be read, and `n` is less than the vector's length.
        unsafe { std::ptr::copy_nonoverlapping(from, v.as_mut_ptr(), n) };
        v
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: guaranteed by the caller: four numbers can be written.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, n: usize, v: Self::V) {
        // SAFETY: guaranteed by the caller: `n` numbers can be written, and `n` is less than the vector's length.
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), to, n) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Two roundings: without FMA, a single rounding is a slow function call.
        each(each(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        // Adding and subtracting 1.5 * 2^23 leaves no bits for a fraction; exact up to 2^22.
        const NO_FRACTION: f32 = 12_582_912.0;
        a.map(|x| (x + NO_FRACTION) - NO_FRACTION)
    }
    #[inline(always)]
    unsafe fn times_power_of_two(a: Self::V, n: Self::V) -> Self::V {
        each(a, n, |a, n| a * f32::from_bits((((n as i32).clamp(-127, 128) + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn where_negative(x: Self::V, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if x[i] < 0.0 { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    unsafe fn all_below(a: Self::V, limit: f32) -> bool {
        a.iter().all(|&x| x < limit)
    }
    #[inline(always)]
    unsafe fn largest(a: Self::V) -> f32 {
        a[0].max(a[1]).max(a[2].max(a[3]))
    }
}

kernels!(
    Isa::Portable,
    portable::Portable,
    simd::Plain,
    [],
    tiles: [(8, 1), (4, 2)],
    attend: [(4, 1), (4, 2)],
    narrow: [(2, 1), (2, 2), (2, 3), (2, 4)],
    peak: 12
);

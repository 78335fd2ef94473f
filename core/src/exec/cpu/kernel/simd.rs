//! What the loops ask of a vector.

/// Vectors of `f32` of one instruction set.
///
/// Every function is unsafe because the processor must have the instructions; those with pointers need them to reach as
/// many numbers as they read or write. All are inlined into an entry point that is compiled with the instructions.
pub(super) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Its numbers.
    const LANES: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `n < LANES` numbers, and zeros.
    unsafe fn load_first(from: *const f32, n: usize) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// The first `n < LANES` numbers only.
    unsafe fn store_first(to: *mut f32, n: usize, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where one is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` where one is not a number.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest whole number.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^a` for whole numbers from -126 to 127.
    unsafe fn power_of_two(a: Self::V) -> Self::V;
    /// `a` where `x < 0`, else `b`.
    unsafe fn where_negative(x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// The sum of all numbers, in an order of its own that never changes.
    unsafe fn sum(a: Self::V) -> f32;
    /// The largest number.
    unsafe fn largest(a: Self::V) -> f32;
}

//! What the loops ask of a vector, and of the memory that values lie in.

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
    /// `a * 2^n` for whole `n` up to 127; zero where `n` is below -126.
    unsafe fn times_power_of_two(a: Self::V, n: Self::V) -> Self::V;
    /// `a` where `x < 0`, else `b`.
    unsafe fn where_negative(x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// The sum of all numbers, in an order of its own that never changes.
    unsafe fn sum(a: Self::V) -> f32;
    /// The largest number.
    unsafe fn largest(a: Self::V) -> f32;
}

/// How values lie in memory, and how they are multiplied there: as `f32` in [`Plain`], or narrower.
///
/// Sums, biases and statistics are `f32` in vectors of `S` whatever values are stored as. Functions are unsafe for the
/// reasons that those of [`Simd`] are.
pub(super) trait Storage<S: Simd>: Copy {
    /// A number in memory.
    type Stored: Copy;
    /// A vector of factors: [`GROUP`](Self::GROUP) numbers for each lane.
    type Factors: Copy;
    /// Numbers side by side that one instruction multiplies by as many and sums up in a lane.
    const GROUP: usize;
    /// Whether a few bits more or less of a number are lost when it is stored.
    const COARSE: bool;
    /// Whether sums are whole numbers of 32 bits, in the place of `f32`s.
    const WHOLE: bool = false;

    unsafe fn get(from: *const Self::Stored) -> S::V;
    /// The first `n < LANES` numbers, and zeros.
    unsafe fn get_first(from: *const Self::Stored, n: usize) -> S::V;
    unsafe fn put(to: *mut Self::Stored, v: S::V);
    /// The first `n < LANES` numbers only.
    unsafe fn put_first(to: *mut Self::Stored, n: usize, v: S::V);
    /// The same group in every lane.
    unsafe fn splat_group(from: *const Self::Stored) -> Self::Factors;
    /// The same for a group of which only the first `n` numbers are there, and zeros.
    unsafe fn splat_part(from: *const Self::Stored, n: usize) -> Self::Factors;
    /// A group for each lane.
    unsafe fn load_groups(from: *const Self::Stored) -> Self::Factors;
    /// `sum + a * b`, in each lane over its group.
    unsafe fn multiply(a: Self::Factors, b: Self::Factors, sum: S::V) -> S::V;
    /// What sums stand for, in `f32`.
    #[inline(always)]
    unsafe fn numbers(sums: S::V) -> S::V {
        sums
    }
}

/// Values are stored as they are calculated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

// SAFETY, for all blocks below: the caller's promises are those of `Simd`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
impl<S: Simd> Storage<S> for Plain {
    type Stored = f32;
    type Factors = S::V;
    const GROUP: usize = 1;
    const COARSE: bool = false;

    #[inline(always)]
    unsafe fn get(from: *const f32) -> S::V {
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn get_first(from: *const f32, n: usize) -> S::V {
        unsafe { S::load_first(from, n) }
    }
    #[inline(always)]
    unsafe fn put(to: *mut f32, v: S::V) {
        unsafe { S::store(to, v) }
    }
    #[inline(always)]
    unsafe fn put_first(to: *mut f32, n: usize, v: S::V) {
        unsafe { S::store_first(to, n, v) }
    }
    #[inline(always)]
    unsafe fn splat_group(from: *const f32) -> S::V {
        unsafe { S::splat(*from) }
    }
    #[inline(always)]
    unsafe fn splat_part(from: *const f32, _: usize) -> S::V {
        unsafe { S::splat(*from) }
    }
    #[inline(always)]
    unsafe fn load_groups(from: *const f32) -> S::V {
        unsafe { S::load(from) }
    }
    #[inline(always)]
    unsafe fn multiply(a: S::V, b: S::V, sum: S::V) -> S::V {
        unsafe { S::fma(a, b, sum) }
    }
}

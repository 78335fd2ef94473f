//! Traits of vectors, and of the storage format of values.

use super::tile;

/// Vectors of `f32` of one instruction set.
///
/// Every function is unsafe because the CPU must support the instructions; pointers must be valid for the number of
/// elements read or written. All are inlined into an entry point that is compiled with the instructions.
pub(super) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Number of elements.
    const LANES: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// Loads the first `n < LANES` elements, and zeros.
    unsafe fn load_first(from: *const f32, n: usize) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// Stores the first `n < LANES` elements only.
    unsafe fn store_first(to: *mut f32, n: usize, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The maximum; `b` if one is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The minimum; `b` if one is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Rounds to the nearest integer.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a * 2^n` for integers `n` and positive `a`; zero if `n` is below -126, and infinite if it is above 127.
    unsafe fn times_power_of_two(a: Self::V, n: Self::V) -> Self::V;
    /// `a` if `x < 0`, otherwise `b`.
    unsafe fn where_negative(x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// The sum of all elements, in a fixed order.
    unsafe fn sum(a: Self::V) -> f32;
    /// Whether all elements are less than `limit`.
    unsafe fn all_below(a: Self::V, limit: f32) -> bool;
    /// The maximum element.
    unsafe fn largest(a: Self::V) -> f32;
    /// See [`Storage::four_steps`], for values in [`Plain`]: overridden where an instruction multiplies by a lane of a
    /// vector, so that four elements of a row are loaded at once.
    #[inline(always)]
    unsafe fn four_steps<const ROWS: usize, const VECTORS: usize>(
        rows: &[*const f32; ROWS],
        k: usize,
        weights: *const f32,
        sums: &mut [[Self::V; VECTORS]; ROWS],
    ) {
        // SAFETY: guaranteed by the caller, passed on.
        unsafe { tile::four_steps::<Self, Plain, ROWS, VECTORS>(rows, k, weights, sums) }
    }
}

/// The storage format of values, and its multiplication: `f32` in [`Plain`], or narrower.
///
/// Sums, biases and statistics are `f32` in vectors of `S` for all formats. Functions are unsafe for the same reasons
/// as those of [`Simd`].
pub(super) trait Storage<S: Simd>: Copy {
    /// A stored element.
    type Stored: Copy;
    /// A vector of factors: [`GROUP`](Self::GROUP) elements per lane; or those of two rows or columns, for formats that
    /// are multiplied in blocks. These have no narrow products.
    type Factors: Copy;
    /// Number of elements that one instruction multiplies and sums.
    const GROUP: usize;
    /// Whether the format has so few bits that less accurate functions suffice.
    const COARSE: bool;
    /// Whether sums are 32-bit integers in place of `f32`s.
    const WHOLE: bool = false;
    /// Whether bytes of rows are stored as signed ones, 128 less than they are.
    const SIGNED: bool = false;

    unsafe fn get(from: *const Self::Stored) -> S::V;
    /// Loads the first `n < LANES` elements, and zeros.
    unsafe fn get_first(from: *const Self::Stored, n: usize) -> S::V;
    unsafe fn put(to: *mut Self::Stored, v: S::V);
    /// Stores two vectors, one after the other.
    #[inline(always)]
    unsafe fn put_two(to: *mut Self::Stored, first: S::V, second: S::V) {
        // SAFETY: guaranteed by the caller, who has memory for both.
        unsafe {
            Self::put(to, first);
            Self::put(to.add(S::LANES), second);
        }
    }
    /// Stores the first `n < LANES` elements only.
    unsafe fn put_first(to: *mut Self::Stored, n: usize, v: S::V);
    /// Broadcasts a group to all lanes.
    unsafe fn splat_group(from: *const Self::Stored) -> Self::Factors;
    /// The same for a group with only `n` elements, and zeros.
    unsafe fn splat_part(from: *const Self::Stored, n: usize) -> Self::Factors;
    /// Loads a group for each lane.
    unsafe fn load_groups(from: *const Self::Stored) -> Self::Factors;
    /// `sum + a * b`, in each lane over its group; for blocks, the sums over the groups of each row and column.
    unsafe fn multiply(a: Self::Factors, b: Self::Factors, sum: S::V) -> S::V;
    /// Adds the products of one group of channels to the sums of a tile: of those from `k` on, of which `n` are there
    /// (all, if the group is `WHOLE`). `weights` has a vector of groups for each vector of sums.
    #[inline(always)]
    unsafe fn step<const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
        rows: &[*const Self::Stored; ROWS],
        k: usize,
        n: usize,
        weights: *const Self::Stored,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        // SAFETY: guaranteed by the caller, passed on.
        unsafe { tile::step::<S, Self, ROWS, VECTORS, WHOLE>(rows, k, n, weights, sums) }
    }
    /// The same for four whole groups.
    #[inline(always)]
    unsafe fn four_steps<const ROWS: usize, const VECTORS: usize>(
        rows: &[*const Self::Stored; ROWS],
        k: usize,
        weights: *const Self::Stored,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        // SAFETY: guaranteed by the caller, passed on.
        unsafe { tile::four_steps::<S, Self, ROWS, VECTORS>(rows, k, weights, sums) }
    }
    /// Converts the sums of a tile from rows to the order in which steps add to them, and back.
    #[inline(always)]
    unsafe fn turn<const ROWS: usize, const VECTORS: usize>(_: &mut [[S::V; VECTORS]; ROWS]) {}
    /// Converts sums to `f32`.
    #[inline(always)]
    unsafe fn numbers(sums: S::V) -> S::V {
        sums
    }
}

/// Values are stored as `f32`.
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
    #[inline(always)]
    unsafe fn four_steps<const ROWS: usize, const VECTORS: usize>(
        rows: &[*const f32; ROWS],
        k: usize,
        weights: *const f32,
        sums: &mut [[S::V; VECTORS]; ROWS],
    ) {
        unsafe { S::four_steps(rows, k, weights, sums) }
    }
}

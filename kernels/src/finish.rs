//! Operations on results before they are stored.

use super::math::{gelu, sigmoid_times, soft_clamp};
use super::simd::{Simd, Storage};
use super::{Convert, Finish, Geglu, PostAt};
use crate::{Activation, MAX_POSTS};

/// A function of a vector, at a column of a row.
trait Each<S: Simd> {
    /// Called for a row before its columns.
    unsafe fn row(&mut self, row: usize);
    /// `n` is the number of remaining columns from this one on.
    unsafe fn at(&self, col: usize, n: usize, v: S::V) -> S::V;
}

/// The source of the vectors of a row.
trait From<S: Simd>: Copy {
    unsafe fn row(self, row: usize, ld: usize) -> Self;
    unsafe fn get(self, col: usize, n: usize) -> S::V;
}

/// Sums in scratch memory.
#[derive(Clone, Copy)]
struct Sums(*const f32);
/// A stored value.
struct Value<S: Simd, M: Storage<S>>(*const M::Stored);

impl<S: Simd, M: Storage<S>> Clone for Value<S, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: Simd, M: Storage<S>> Copy for Value<S, M> {}

struct Keep;
/// The first post adds another value, and the last may be ReLU.
struct AddOnly<'a, S: Simd, M: Storage<S>, const RELU: bool> {
    find: Operand<'a>,
    row: *const M::Stored,
}
/// Any posts.
struct Chain<'a, S: Simd, M: Storage<S>> {
    args: &'a Finish<'a>,
    rows: [*const M::Stored; MAX_POSTS],
}
struct TimesGelu<F> {
    gate: F,
    ld: usize,
    row: F,
}

/// An operand, and the indexing of its pixels.
#[derive(Clone, Copy)]
struct Operand<'a> {
    args: &'a Finish<'a>,
    from: *const u8,
    ld: usize,
    div: usize,
    modulo: usize,
}

// SAFETY, for all blocks below: the caller promises that the processor has the vectors, and that operands reach as far
// as rows and columns go.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
mod each {
    use super::*;

    impl<S: Simd> From<S> for Sums {
        #[inline(always)]
        unsafe fn row(self, row: usize, ld: usize) -> Self {
            unsafe { Self(self.0.add(row * ld)) }
        }
        #[inline(always)]
        unsafe fn get(self, col: usize, n: usize) -> S::V {
            unsafe { if n >= S::LANES { S::load(self.0.add(col)) } else { S::load_first(self.0.add(col), n) } }
        }
    }
    impl<S: Simd, M: Storage<S>> From<S> for Value<S, M> {
        #[inline(always)]
        unsafe fn row(self, row: usize, ld: usize) -> Self {
            unsafe { Self(self.0.add(row * ld)) }
        }
        #[inline(always)]
        unsafe fn get(self, col: usize, n: usize) -> S::V {
            unsafe { if n >= S::LANES { M::get(self.0.add(col)) } else { M::get_first(self.0.add(col), n) } }
        }
    }

    impl Operand<'_> {
        /// Returns its elements for those of a row.
        #[inline(always)]
        unsafe fn row<S: Simd, M: Storage<S>>(&self, row: usize) -> *const M::Stored {
            let mut pixel = self.args.first_pixel + row * self.args.pixel_step;
            if self.div > 1 {
                pixel /= self.div;
            }
            if pixel >= self.modulo {
                pixel %= self.modulo;
            }
            unsafe { self.from.cast::<M::Stored>().add(pixel * self.ld + self.args.first_channel) }
        }
    }

    impl<S: Simd> Each<S> for Keep {
        #[inline(always)]
        unsafe fn row(&mut self, _: usize) {}
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, v: S::V) -> S::V {
            v
        }
    }
    impl<S: Simd, M: Storage<S>, const RELU: bool> Each<S> for AddOnly<'_, S, M, RELU> {
        #[inline(always)]
        unsafe fn row(&mut self, row: usize) {
            self.row = unsafe { self.find.row::<S, M>(row) };
        }
        #[inline(always)]
        unsafe fn at(&self, col: usize, n: usize, v: S::V) -> S::V {
            unsafe {
                let sum = S::add(v, Value::<S, M>(self.row).get(col, n));
                if RELU { S::max(S::splat(0.0), sum) } else { sum }
            }
        }
    }
    impl<S: Simd, M: Storage<S>> Each<S> for Chain<'_, S, M> {
        #[inline(always)]
        unsafe fn row(&mut self, row: usize) {
            for (at, post) in self.rows.iter_mut().zip(self.args.posts) {
                if let PostAt::Add { from, ld, div, modulo } = *post {
                    *at = unsafe { Operand { args: self.args, from, ld, div, modulo }.row::<S, M>(row) };
                }
            }
        }
        #[inline(always)]
        unsafe fn at(&self, col: usize, n: usize, mut v: S::V) -> S::V {
            for (at, post) in self.rows.iter().zip(self.args.posts) {
                v = unsafe {
                    match *post {
                        PostAt::Add { .. } => S::add(v, Value::<S, M>(*at).get(col, n)),
                        PostAt::Activate(Activation::Silu) => sigmoid_times::<S>(v, 1.0),
                        PostAt::Activate(Activation::QuickGelu) => sigmoid_times::<S>(v, 1.702),
                        PostAt::Activate(Activation::Gelu) => gelu::<S>(v),
                        PostAt::Activate(Activation::Relu) => S::max(S::splat(0.0), v),
                        PostAt::Activate(Activation::ReluUpTo { limit }) => {
                            S::min(S::splat(limit), S::max(S::splat(0.0), v))
                        }
                        PostAt::Activate(Activation::LeakyRelu { slope }) => S::max(S::mul(v, S::splat(slope)), v),
                        PostAt::Activate(Activation::SoftClamp { limit }) => soft_clamp::<S>(v, limit),
                        PostAt::Affine { mul, add } => S::fma(v, S::splat(mul), S::splat(add)),
                    }
                };
            }
            v
        }
    }
    impl<S: Simd, F: From<S>> Each<S> for TimesGelu<F> {
        #[inline(always)]
        unsafe fn row(&mut self, row: usize) {
            self.row = unsafe { self.gate.row(row, self.ld) };
        }
        #[inline(always)]
        unsafe fn at(&self, col: usize, n: usize, v: S::V) -> S::V {
            unsafe { S::mul(v, gelu::<S>(self.row.get(col, n))) }
        }
    }
}

/// The destination of rows.
#[derive(Clone, Copy)]
struct Rows {
    from_ld: usize,
    out: *mut u8,
    out_ld: usize,
    rows: usize,
    cols: usize,
}

#[inline(always)]
unsafe fn pass<S: Simd, M: Storage<S>, F: From<S>>(from: F, over: Rows, mut f: impl Each<S>) {
    let whole = over.cols - over.cols % S::LANES;
    for row in 0..over.rows {
        // SAFETY: the caller promises `rows` rows of `cols` numbers at both pointers; the last vector of a row that is
        // not full is read and written in part.
        unsafe {
            let from = from.row(row, over.from_ld);
            let out = over.out.cast::<M::Stored>().add(row * over.out_ld);
            f.row(row);
            let mut col = 0;
            while col < whole {
                let n = over.cols - col;
                M::put(out.add(col), f.at(col, n, from.get(col, n)));
                col += S::LANES;
            }
            let rest = over.cols - whole;
            if rest > 0 {
                M::put_first(out.add(col), rest, f.at(col, rest, from.get(col, rest)));
            }
        }
    }
}

#[inline(always)]
unsafe fn finish_from<S: Simd, M: Storage<S>, F: From<S>>(from: F, args: &Finish<'_>) {
    let &Finish { from_ld, out, out_ld, rows, cols, .. } = args;
    let over = Rows { from_ld, out, out_ld, rows, cols };
    let operand = |post: &PostAt| match *post {
        PostAt::Add { from, ld, div, modulo } => Some(Operand { args, from, ld, div, modulo }),
        PostAt::Activate(_) | PostAt::Affine { .. } => None,
    };
    let (first, row) = (args.posts.first().and_then(operand), std::ptr::null());
    let relu = args.posts.get(1) == Some(&PostAt::Activate(Activation::Relu));
    // SAFETY: guaranteed by the caller, passed on. The most common posts have separate loops.
    unsafe {
        match (args.posts.len(), first) {
            (0, _) => pass::<S, M, F>(from, over, Keep),
            (1, Some(find)) => pass::<S, M, F>(from, over, AddOnly::<S, M, false> { find, row }),
            (2, Some(find)) if relu => pass::<S, M, F>(from, over, AddOnly::<S, M, true> { find, row }),
            _ => pass::<S, M, F>(from, over, Chain::<S, M> { args, rows: [row; MAX_POSTS] }),
        }
    }
}

/// See [`Finish`]: one pass, whatever the posts.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, M: Storage<S>>(args: &Finish<'_>) {
    // SAFETY: guaranteed by the caller, passed on.
    unsafe {
        if args.from_sums {
            finish_from::<S, M, _>(Sums(args.from.cast()), args);
        } else {
            finish_from::<S, M, _>(Value::<S, M>(args.from.cast()), args);
        }
    }
}

/// See [`Geglu`].
#[inline(always)]
pub(super) unsafe fn geglu<S: Simd, M: Storage<S>>(args: &Geglu) {
    let &Geglu { value, gate, ld, out, out_ld, rows, cols, from_sums } = args;
    let over = Rows { from_ld: ld, out, out_ld, rows, cols };
    // SAFETY: guaranteed by the caller, passed on.
    unsafe {
        if from_sums {
            let (value, gate) = (Sums(value.cast()), Sums(gate.cast()));
            pass::<S, M, _>(value, over, TimesGelu { gate, ld, row: gate });
        } else {
            let (value, gate) = (Value::<S, M>(value.cast()), Value::<S, M>(gate.cast()));
            pass::<S, M, _>(value, over, TimesGelu { gate, ld, row: gate });
        }
    }
}

/// See [`Convert`].
#[inline(always)]
pub(super) unsafe fn store<S: Simd, M: Storage<S>>(args: &Convert) {
    let over = Rows { from_ld: 0, out: args.to, out_ld: 0, rows: 1, cols: args.len };
    // SAFETY: guaranteed by the caller, passed on.
    unsafe { pass::<S, M, _>(Sums(args.from.cast()), over, Keep) }
}

/// See [`Convert`].
#[inline(always)]
pub(super) unsafe fn load<S: Simd, M: Storage<S>>(args: &Convert) {
    let over = Rows { from_ld: 0, out: args.to, out_ld: 0, rows: 1, cols: args.len };
    // SAFETY: guaranteed by the caller, passed on.
    unsafe { pass::<S, super::simd::Plain, _>(Value::<S, M>(args.from.cast()), over, Keep) }
}

//! What happens to numbers on their way into memory.

use super::math::{gelu, sigmoid_times, soft_clamp};
use super::simd::Simd;
use super::{Finish, Geglu, PostAt};
use crate::net::Activation;

/// A function of the vector at a row and a column.
trait Each<S: Simd> {
    /// `n` is the number of columns left from this one on.
    unsafe fn at(&self, row: usize, col: usize, n: usize, v: S::V) -> S::V;
}

struct Keep;
struct AddFrom {
    from: *const f32,
    ld: usize,
    div: usize,
    modulo: usize,
    first_pixel: usize,
    pixel_step: usize,
}
/// What another does, then the larger of that and zero.
struct ThenRelu<F>(F);
struct Silu;
struct QuickGelu;
struct Gelu;
struct Relu;
struct SoftClamp(f32);
struct Affine(f32, f32);
struct TimesGelu {
    gate: *const f32,
    ld: usize,
}

// SAFETY, for all blocks below: the caller promises that the processor has the vectors, and that operands reach as far
// as rows and columns go.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all, above")]
mod each {
    use super::*;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const f32, n: usize) -> S::V {
        unsafe { if n >= S::LANES { S::load(from) } else { S::load_first(from, n) } }
    }

    impl<S: Simd> Each<S> for Keep {
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, _: usize, v: S::V) -> S::V {
            v
        }
    }
    impl<S: Simd> Each<S> for AddFrom {
        #[inline(always)]
        unsafe fn at(&self, row: usize, col: usize, n: usize, v: S::V) -> S::V {
            let mut pixel = self.first_pixel + row * self.pixel_step;
            if self.div > 1 {
                pixel /= self.div;
            }
            if pixel >= self.modulo {
                pixel %= self.modulo;
            }
            unsafe { S::add(v, load::<S>(self.from.add(pixel * self.ld + col), n)) }
        }
    }
    impl<S: Simd, F: Each<S>> Each<S> for ThenRelu<F> {
        #[inline(always)]
        unsafe fn at(&self, row: usize, col: usize, n: usize, v: S::V) -> S::V {
            unsafe { S::max(S::splat(0.0), self.0.at(row, col, n, v)) }
        }
    }
    impl<S: Simd> Each<S> for Silu {
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, _: usize, v: S::V) -> S::V {
            unsafe { sigmoid_times::<S>(v, 1.0) }
        }
    }
    impl<S: Simd> Each<S> for QuickGelu {
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, _: usize, v: S::V) -> S::V {
            unsafe { sigmoid_times::<S>(v, 1.702) }
        }
    }
    impl<S: Simd> Each<S> for Gelu {
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, _: usize, v: S::V) -> S::V {
            unsafe { gelu::<S>(v) }
        }
    }
    impl<S: Simd> Each<S> for Relu {
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, _: usize, v: S::V) -> S::V {
            unsafe { S::max(S::splat(0.0), v) }
        }
    }
    impl<S: Simd> Each<S> for SoftClamp {
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, _: usize, v: S::V) -> S::V {
            unsafe { soft_clamp::<S>(v, self.0) }
        }
    }
    impl<S: Simd> Each<S> for Affine {
        #[inline(always)]
        unsafe fn at(&self, _: usize, _: usize, _: usize, v: S::V) -> S::V {
            unsafe { S::fma(v, S::splat(self.0), S::splat(self.1)) }
        }
    }
    impl<S: Simd> Each<S> for TimesGelu {
        #[inline(always)]
        unsafe fn at(&self, row: usize, col: usize, n: usize, v: S::V) -> S::V {
            unsafe { S::mul(v, gelu::<S>(load::<S>(self.gate.add(row * self.ld + col), n))) }
        }
    }
}

/// Rows of numbers to read, and where to write what becomes of them.
#[derive(Clone, Copy)]
struct Rows {
    from: *const f32,
    from_ld: usize,
    out: *mut f32,
    out_ld: usize,
    rows: usize,
    cols: usize,
}

#[inline(always)]
unsafe fn pass<S: Simd>(over: Rows, f: &impl Each<S>) {
    let whole = over.cols - over.cols % S::LANES;
    for row in 0..over.rows {
        // SAFETY: the caller promises `rows` rows of `cols` numbers at both pointers; the last vector of a row that is
        // not full is read and written in part.
        unsafe {
            let from = over.from.add(row * over.from_ld);
            let out = over.out.add(row * over.out_ld);
            let mut col = 0;
            while col < whole {
                S::store(out.add(col), f.at(row, col, over.cols - col, S::load(from.add(col))));
                col += S::LANES;
            }
            let rest = over.cols - whole;
            if rest > 0 {
                S::store_first(out.add(col), rest, f.at(row, col, rest, S::load_first(from.add(col), rest)));
            }
        }
    }
}

/// See [`Finish`]: the last post as the numbers are moved, those before it where the numbers are, as far as that is
/// allowed; else the first as they are moved.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(args: &Finish<'_>) {
    let &Finish { mut from, mut from_ld, spare, out, out_ld, rows, cols, first_pixel, pixel_step, .. } = args;
    let mut posts = args.posts;
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if posts.is_empty() && !std::ptr::eq(from, out) {
            pass::<S>(Rows { from, from_ld, out, out_ld, rows, cols }, &Keep);
        }
        while let Some((post, mut rest)) = posts.split_first() {
            // A residual with its ReLU is one pass.
            let relu = matches!((post, rest.first()), (PostAt::Add { .. }, Some(PostAt::Activate(Activation::Relu))));
            rest = &rest[usize::from(relu)..];
            let (to, to_ld) = if rest.is_empty() || spare.is_null() { (out, out_ld) } else { (spare, from_ld) };
            let over = Rows { from, from_ld, out: to, out_ld: to_ld, rows, cols };
            match *post {
                PostAt::Add { from, ld, div, modulo } => {
                    let from = from.add(args.first_channel);
                    let add = AddFrom { from, ld, div, modulo, first_pixel, pixel_step };
                    if relu { pass::<S>(over, &ThenRelu(add)) } else { pass::<S>(over, &add) }
                }
                PostAt::Activate(Activation::Silu) => pass::<S>(over, &Silu),
                PostAt::Activate(Activation::Gelu) => pass::<S>(over, &Gelu),
                PostAt::Activate(Activation::QuickGelu) => pass::<S>(over, &QuickGelu),
                PostAt::Activate(Activation::Relu) => pass::<S>(over, &Relu),
                PostAt::Activate(Activation::SoftClamp { limit }) => pass::<S>(over, &SoftClamp(limit)),
                PostAt::Affine { mul, add } => pass::<S>(over, &Affine(mul, add)),
            }
            (from, from_ld, posts) = (to, to_ld, rest);
        }
    }
}

/// See [`Geglu`].
#[inline(always)]
pub(super) unsafe fn geglu<S: Simd>(args: &Geglu) {
    let &Geglu { value, gate, ld, out, out_ld, rows, cols } = args;
    // SAFETY: the caller's promise, passed on.
    unsafe { pass::<S>(Rows { from: value, from_ld: ld, out, out_ld, rows, cols }, &TimesGelu { gate, ld }) }
}

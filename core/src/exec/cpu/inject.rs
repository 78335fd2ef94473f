//! Feature injection: replaces tokens, in part, by similar ones of earlier frames.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use dreamframe_kernels::{Convert, Kernels};

use super::elementwise;
use super::keys::{KeyLayout, KvCacheLayout};
use super::merge::Merge;
use super::nearest::{self, Candidates, Search, TOKENS};
use super::run::Run;
use super::span::Span;
use crate::net::Shape;

/// A compiled feature injection.
#[derive(Debug)]
pub(super) struct Inject {
    layout: KeyLayout,
    /// The offsets of its tokens, and of their inverse norms, in the memory of each frame.
    tokens: usize,
    norms: usize,
    /// How its tokens are merged.
    merge: Option<Merge>,
}

impl Inject {
    /// Compiles injection into a value of the shape `shape`, whose tokens are merged as `merge` says.
    pub(super) fn new(shape: Shape, merge: Option<Merge>, cache: &mut KvCacheLayout, kernels: &Kernels) -> Self {
        let layout = KeyLayout::of_tokens(shape.n, shape.pixels(), shape.c, kernels);
        let tokens = cache.add(&layout);
        let norms = cache.reserve(shape.n * layout.keys * size_of::<f32>() / kernels.size);
        Self { layout, tokens, norms, merge }
    }

    /// Elements of scratch memory per thread.
    pub(super) fn thread_scratch(&self) -> usize {
        Search::thread_scratch(self.layout.width)
    }

    pub(super) fn run(&self, run: &Run<'_>, x: Span, out: Span, scratch: *mut f32) {
        let frames = run.past.frames();
        if frames.is_empty() || run.past.injection.strength == 0.0 {
            elementwise::copy(run, x, out, 0);
        } else {
            self.inject(run, x, out, frames);
        }
        let Some(to) = run.past.keep() else { return };
        let packed = to.wrapping_add(self.tokens * self.layout.size);
        let kept = Span::new(packed, self.layout.size, self.layout.width, x.shape);
        let norms = to.wrapping_add(self.norms * self.layout.size).cast::<f32>();
        if let (Some(merge), Some(_)) = (&self.merge, run.past.merged) {
            for row in 0..self.layout.rows {
                let merged = merge.merge_tokens(run, &self.layout, row, [kept, x], to, scratch);
                let norms = Span::of_f32(norms.wrapping_add(row * self.layout.keys), merged.shape.with_c(1));
                nearest::inverse_norms(run, merged, norms);
            }
        } else {
            self.layout.pack(run, x, x, kept);
            nearest::inverse_norms(run, x, Span::of_f32(norms, x.shape.with_c(1)));
        }
    }

    fn inject(&self, run: &Run<'_>, x: Span, out: Span, frames: &[*mut u8]) {
        let layout = &self.layout;
        let blocks = layout.keys.div_ceil(TOKENS);
        // Copied for the threads.
        let past = run.past;
        let count = frames.len();
        run.pieces(layout.rows * blocks, &|piece, thread| {
            let (row, first) = (piece / blocks, piece % blocks * TOKENS);
            let count_of = TOKENS.min(layout.keys - first);
            let search = Search::new(run.scratch.of(thread), layout.width);
            let token = |i: usize| x.pixel(row * layout.keys + first + i).cast_const();
            let candidates = past.frames()[..count].iter().map(|&frame| self.candidates(frame, row));
            // SAFETY: the memory is this thread's; no thread writes `x` and earlier frames during this step.
            run.products(|| unsafe { search.run(run, layout, token, count_of, candidates) });
            for i in 0..count_of {
                let (best, index) = search.found(i);
                let frame = past.frames()[(index / layout.keys).min(count - 1)];
                let from = self.candidates(frame, row).packed;
                // SAFETY: as above; pieces write disjoint tokens of `out`.
                unsafe {
                    let to = out.pixel(row * layout.keys + first + i);
                    self.mix(run, &search, token(i), (best, from, index % layout.keys), to);
                }
            }
        });
    }

    /// Writes a token: mixed with the best candidate, if that is similar enough.
    ///
    /// # Safety
    ///
    /// The addresses are those of a token, of packed candidates, and of memory for a token that no other thread uses.
    unsafe fn mix(
        &self,
        run: &Run<'_>,
        search: &Search,
        x: *const u8,
        (best, from, index): (f32, *const u8, usize),
        to: *mut u8,
    ) {
        let (width, injection) = (self.layout.width, run.past.injection);
        // SAFETY: guaranteed by the caller; the memory of the search is this thread's.
        unsafe {
            let token = nearest::load(run, x, search.token(0), width);
            if best * nearest::inverse_norm(token) >= injection.threshold {
                let stored = search.token(1).cast::<u8>();
                self.layout.read_key(from, index, stored);
                let other = nearest::load(run, stored, search.token(2), width);
                token.iter_mut().zip(other).for_each(|(x, y)| *x += injection.strength * (*y - *x));
                (run.kernels.store)(&Convert { from: token.as_ptr().cast(), to, len: width });
            } else {
                std::ptr::copy_nonoverlapping(x, to, width * self.layout.size);
            }
        }
    }

    /// Returns the tokens of a row in the memory of a frame.
    fn candidates(&self, frame: *mut u8, row: usize) -> Candidates {
        let tokens = frame.wrapping_add(self.tokens * self.layout.size);
        let norms = frame.wrapping_add(self.norms * self.layout.size).cast::<f32>();
        Candidates {
            packed: self.layout.head(tokens, row, 0),
            inverse_norms: norms.wrapping_add(row * self.layout.keys),
        }
    }
}

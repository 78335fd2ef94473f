//! The most similar tokens: for each of some tokens, the one of others with the largest cosine.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use dreamframe_kernels::{Convert, Tile};

use super::keys::{KEYS, KeyLayout};
use super::run::Run;
use super::span::{LINE, Span};

/// Tokens per piece of work, a multiple of the rows of every tile.
pub(super) const TOKENS: usize = 96;
/// Maximum number of rows of a tile.
const MAX_ROWS: usize = 32;
/// Independent sums of a squared norm.
const SUMS: usize = 16;

/// Tokens to search: packed as keys of one head without values, and the inverse norm of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates {
    pub(super) packed: *const u8,
    pub(super) inverse_norms: *const f32,
}

/// Memory of a thread for a search, and for some tokens in `f32`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    scores: *mut f32,
    best: *mut f32,
    index: *mut u32,
    tokens: *mut f32,
    width: usize,
}

impl Search {
    /// Returns the elements of scratch memory per thread for tokens of `width` channels.
    pub(super) fn thread_scratch(width: usize) -> usize {
        MAX_ROWS * KEYS + 2 * TOKENS + 3 * width.next_multiple_of(LINE)
    }

    /// Takes its memory from `scratch`, of [`thread_scratch`](Self::thread_scratch) elements.
    pub(super) fn new(scratch: *mut f32, width: usize) -> Self {
        let best = scratch.wrapping_add(MAX_ROWS * KEYS);
        let index = best.wrapping_add(TOKENS).cast();
        Self { scores: scratch, best, index, tokens: best.wrapping_add(2 * TOKENS), width }
    }

    /// Returns memory for the channels of one of three tokens.
    pub(super) fn token(&self, which: usize) -> *mut f32 {
        self.tokens.wrapping_add(which * self.width.next_multiple_of(LINE))
    }

    /// Finds the most similar candidate of each of the first `count` tokens, at most [`TOKENS`], by the cosine times the
    /// token's norm. All candidates have the layout `layout`. [`found`](Self::found) returns the results.
    ///
    /// # Safety
    ///
    /// The addresses are those of tokens and candidates, which no thread writes, and no other thread uses this memory.
    pub(super) unsafe fn run(
        &self,
        run: &Run<'_>,
        layout: &KeyLayout,
        token: impl Fn(usize) -> *const u8,
        count: usize,
        candidates: impl Iterator<Item = Candidates>,
    ) {
        let height = run.kernels.attend[0].rows;
        for i in 0..count {
            // SAFETY: both have `TOKENS` elements.
            unsafe {
                *self.best.add(i) = f32::NEG_INFINITY;
                *self.index.add(i) = 0;
            }
        }
        for (number, some) in candidates.enumerate() {
            for first in (0..layout.keys).step_by(KEYS) {
                for at in (0..count).step_by(height) {
                    let rows = height.min(count - at);
                    let mut addresses = [std::ptr::null::<u8>(); MAX_ROWS];
                    for (i, address) in addresses.iter_mut().enumerate().take(height) {
                        *address = token(at + i.min(rows - 1));
                    }
                    // SAFETY: guaranteed by the caller.
                    unsafe {
                        self.scores(run, layout, &addresses, some.packed, first);
                        self.update([at, rows], number * layout.keys, some.inverse_norms, [first, layout.keys]);
                    }
                }
            }
        }
    }

    /// Computes the products of a tile of tokens with the candidates from `first` on, at most [`KEYS`].
    ///
    /// # Safety
    ///
    /// As `run`.
    unsafe fn scores(
        &self,
        run: &Run<'_>,
        layout: &KeyLayout,
        rows: &[*const u8; MAX_ROWS],
        packed: *const u8,
        first: usize,
    ) {
        let wide = layout.width.next_multiple_of(layout.group);
        for (column, width) in layout.panels(KEYS.min(layout.padded_keys() - first)) {
            let tile = Tile {
                rows: rows.as_ptr(),
                taps: 1,
                offset: 0,
                len: layout.width,
                panel: packed.wrapping_add((first + column) * wide * layout.size),
                tap_stride: 0,
                sums: self.scores.wrapping_add(column),
                sums_ld: KEYS,
                start: run.zeros,
                scaled: None,
            };
            // SAFETY: guaranteed by the caller.
            unsafe { (run.kernels.attend[width / layout.lanes - 1].run)(&tile) };
        }
    }

    /// Compares the products of a tile, whose first token is `at`, with the best so far; `before` is the number of the
    /// candidates' first one, and `first..end` are those of the products.
    ///
    /// # Safety
    ///
    /// As `run`.
    unsafe fn update(&self, [at, rows]: [usize; 2], before: usize, norms: *const f32, [first, end]: [usize; 2]) {
        let count = KEYS.min(end - first);
        for row in 0..rows {
            // SAFETY: a tile has this many products in a row, and each candidate a norm; guaranteed by the caller.
            let (scores, norms, best, index) = unsafe {
                let scores = std::slice::from_raw_parts(self.scores.add(row * KEYS), count);
                let norms = std::slice::from_raw_parts(norms.add(first), count);
                (scores, norms, &mut *self.best.add(at + row), &mut *self.index.add(at + row))
            };
            let cosine = |(score, norm): (&f32, &f32)| score * norm;
            // Rarely the case, so that most rows need this comparison only, which is compiled to vectors.
            let mut largest = [f32::NEG_INFINITY; SUMS];
            let parts = scores.chunks(SUMS).zip(norms.chunks(SUMS));
            for (scores, norms) in parts {
                for (largest, pair) in largest.iter_mut().zip(scores.iter().zip(norms)) {
                    *largest = largest.max(cosine(pair));
                }
            }
            if largest.iter().any(|largest| largest > best) {
                for (i, pair) in scores.iter().zip(norms).enumerate() {
                    let cosine = cosine(pair);
                    if cosine > *best {
                        (*best, *index) = (cosine, (before + first + i) as u32);
                    }
                }
            }
        }
    }

    /// Returns the result for token `i`: the cosine times its norm, and the number of the candidate, counted over all of
    /// them.
    pub(super) fn found(&self, i: usize) -> (f32, usize) {
        // SAFETY: both have `TOKENS` elements, which `run` initialised, and belong to this thread.
        unsafe { (*self.best.add(i), *self.index.add(i) as usize) }
    }
}

/// Reads a token as `f32`s to `to`; returns its channels.
///
/// # Safety
///
/// `from` has `len` stored elements, which no thread writes; `to` has as many, which no other thread uses.
pub(super) unsafe fn load<'a>(run: &Run<'_>, from: *const u8, to: *mut f32, len: usize) -> &'a mut [f32] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        (run.kernels.load)(&Convert { from, to: to.cast(), len });
        std::slice::from_raw_parts_mut(to, len)
    }
}

/// Returns the inverse of the norm of a token; 0 for a norm of 0.
pub(super) fn inverse_norm(token: &[f32]) -> f32 {
    let mut sums = [0.0_f32; SUMS];
    for some in token.chunks(SUMS) {
        sums.iter_mut().zip(some).for_each(|(sum, x)| *sum += x * x);
    }
    let norm = sums.iter().sum::<f32>().sqrt();
    if norm > 0.0 { norm.recip() } else { 0.0 }
}

/// Writes the inverse norms of all tokens of `x` to `to`.
pub(super) fn inverse_norms(run: &Run<'_>, x: Span, to: Span) {
    let width = x.shape.c;
    run.pieces(x.pixels().div_ceil(TOKENS), &|piece, thread| {
        let search = Search::new(run.scratch.of(thread), width);
        for token in piece * TOKENS..((piece + 1) * TOKENS).min(x.pixels()) {
            // SAFETY: the memory is this thread's; no thread writes `x`; each piece writes the norms of its tokens.
            unsafe {
                let channels = load(run, x.pixel(token), search.token(0), width);
                *to.ptr().cast::<f32>().add(token) = inverse_norm(channels);
            }
        }
    });
}

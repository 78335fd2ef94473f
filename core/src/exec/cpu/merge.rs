//! Token merging: the tokens of a frame and those that are kept become half as many.
//!
//! Half of them, chosen by a random order, are each merged into the most similar one of the other half. The similarity is
//! that of the keys in the layer; its values and injected tokens are merged alike.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use dreamframe_kernels::{Convert, Kernels};

use super::keys::{KeyLayout, KvCacheLayout};
use super::nearest::{self, Candidates, Search, TOKENS};
use super::run::Run;
use super::span::{LINE, Span};
use crate::exec::past::merge_order;
use crate::net::Shape;

/// No further token.
const END: u32 = u32::MAX;

/// How the tokens of a layer are merged. The memory of a frame has, for the layer: the numbers of all tokens, those that
/// are merged first; then for each row the first token that is merged into each of the others, and the next one that is
/// merged into the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    /// The offset of that in the memory of a frame.
    offset: usize,
    /// Number of tokens in a row.
    tokens: usize,
    /// Bytes per element.
    size: usize,
}

impl Merge {
    /// Plans it for a layer with keys of the layout `layout`.
    pub(super) fn new(layout: &KeyLayout, cache: &mut KvCacheLayout) -> Self {
        let numbers = 2 * layout.keys * (1 + layout.rows);
        let offset = cache.reserve(numbers * size_of::<u32>() / layout.size);
        Self { offset, tokens: layout.keys, size: layout.size }
    }

    /// Returns the elements of scratch memory for a layer with `tokens` tokens in a row, with keys and values of as many
    /// channels as `widths`.
    pub(super) fn scratch(tokens: usize, [keys, values]: [usize; 2], kernels: &Kernels) -> usize {
        let packed = KeyLayout::of_tokens(1, tokens, keys, kernels).len();
        let norms = (tokens * size_of::<f32>() / kernels.size).next_multiple_of(LINE);
        Self::lines_len(tokens, keys) + (packed + norms).max(Self::lines_len(tokens, values))
    }

    /// Elements of all tokens of a row, kept and new, of `width` channels.
    pub(super) fn lines_len(tokens: usize, width: usize) -> usize {
        (2 * tokens * width).next_multiple_of(LINE)
    }

    /// Merges the keys and values `own` of a run with those at `kept`, in the memory of the frame at `frame`.
    pub(super) fn merge_keys(
        &self,
        run: &Run<'_>,
        layout: &KeyLayout,
        [kept, own]: [Span; 2],
        frame: *mut u8,
        scratch: *mut f32,
    ) {
        let numbers = self.numbers(frame);
        if let Some(order) = run.past.merged {
            // SAFETY: the memory of the frame has these numbers; no other thread runs.
            merge_order(order, unsafe { std::slice::from_raw_parts_mut(numbers.ptr().cast(), 2 * self.tokens) });
        }
        let whole = |token: usize| if token < self.tokens { (kept, token) } else { (own, token - self.tokens) };
        let keys = self.lines(scratch.cast(), layout.heads * layout.width);
        let rest = keys.ptr().wrapping_add(Self::lines_len(self.tokens, keys.shape.c) * self.size);
        let values = self.lines(rest, layout.heads * layout.value_width);
        for row in 0..layout.rows {
            self.gather(run, numbers, keys, &|token, to| {
                let (whole, key) = whole(token);
                for head in 0..layout.heads {
                    let from = layout.head(whole.ptr(), row, head);
                    // SAFETY: the head has this layout, and no thread writes it in this job; `to` is a line.
                    unsafe { layout.read_key(from, key, to.wrapping_add(head * layout.width * self.size)) };
                }
            });
            self.assign(run, self.links(frame, row), keys, rest);
            self.average(run, self.links(frame, row), keys);
            self.gather(run, numbers, values, &|token, to| {
                let (whole, key) = whole(token);
                for head in 0..layout.heads {
                    let from = layout.head(whole.ptr(), row, head);
                    let to = to.wrapping_add(head * layout.value_width * self.size);
                    // SAFETY: as above.
                    unsafe { layout.read_value(from, key, to) };
                }
            });
            self.average(run, self.links(frame, row), values);
            let [k, v] = [keys, values].map(|lines| self.remaining(lines));
            layout.of_row().pack(run, k, v, Span::new(layout.head(kept.ptr(), row, 0), self.size, k.ld, k.shape));
        }
    }

    /// Merges the tokens `own` of a run in row `row` with those at `kept`, packed as keys of one head, as the keys of the
    /// layer were; returns them.
    pub(super) fn merge_tokens(
        &self,
        run: &Run<'_>,
        layout: &KeyLayout,
        row: usize,
        [kept, own]: [Span; 2],
        frame: *mut u8,
        scratch: *mut f32,
    ) -> Span {
        let lines = self.lines(scratch.cast(), layout.width);
        self.gather(run, self.numbers(frame), lines, &|token, to| {
            // SAFETY: the tokens have this layout, and no thread writes them in this job; `to` is a line.
            unsafe {
                if token < self.tokens {
                    layout.read_key(layout.head(kept.ptr(), row, 0), token, to);
                } else {
                    let from = own.pixel(row * self.tokens + token - self.tokens);
                    std::ptr::copy_nonoverlapping(from.cast_const(), to, layout.width * self.size);
                }
            }
        });
        self.average(run, self.links(frame, row), lines);
        let merged = self.remaining(lines);
        layout.of_row().pack(
            run,
            merged,
            merged,
            Span::new(layout.head(kept.ptr(), row, 0), self.size, merged.ld, merged.shape),
        );
        merged
    }

    /// Returns the numbers of all tokens.
    fn numbers(&self, frame: *mut u8) -> Span {
        let at = frame.wrapping_add(self.offset * self.size);
        Span::new(at, size_of::<u32>(), 1, Shape::tokens(1, 2 * self.tokens, 1))
    }

    /// Returns the links of a row: for each remaining token the first one that is merged into it, and for each of these the
    /// next one.
    fn links(&self, frame: *mut u8, row: usize) -> Span {
        let numbers = self.numbers(frame);
        let bytes = 2 * self.tokens * (1 + row) * size_of::<u32>();
        Span::new(numbers.ptr().wrapping_add(bytes), size_of::<u32>(), 1, numbers.shape)
    }

    /// Returns memory for all tokens of a row.
    fn lines(&self, at: *mut u8, width: usize) -> Span {
        Span::new(at, self.size, width, Shape::tokens(1, 2 * self.tokens, width))
    }

    /// Returns the tokens that others are merged into.
    fn remaining(&self, lines: Span) -> Span {
        let shape = Shape::tokens(1, self.tokens, lines.shape.c);
        Span::new(lines.pixel(self.tokens), self.size, lines.ld, shape)
    }

    /// Calls `read` with each token and the address of its line.
    fn gather(&self, run: &Run<'_>, numbers: Span, lines: Span, read: &(dyn Fn(usize, *mut u8) + Sync)) {
        let count = 2 * self.tokens;
        run.pieces(count.div_ceil(TOKENS), &|piece, _| {
            for i in piece * TOKENS..((piece + 1) * TOKENS).min(count) {
                // SAFETY: there are as many numbers, which no thread writes in this job.
                let token = unsafe { *numbers.pixel(i).cast::<u32>() };
                read(token as usize, lines.pixel(i));
            }
        });
    }

    /// Finds the remaining token that each of the others is merged into, by the keys in `lines`; `memory` is scratch memory.
    fn assign(&self, run: &Run<'_>, links: Span, lines: Span, memory: *mut u8) {
        let (width, tokens) = (lines.shape.c, self.tokens);
        let layout = KeyLayout::of_tokens(1, tokens, width, run.kernels);
        let remaining = self.remaining(lines);
        let packed = Span::new(memory, self.size, width, remaining.shape);
        layout.pack(run, remaining, remaining, packed);
        let norms = memory.wrapping_add(layout.len() * self.size);
        let norms = Span::new(norms, size_of::<f32>(), 1, Shape::tokens(1, tokens, 1));
        nearest::inverse_norms(run, remaining, norms);
        run.pieces(tokens.div_ceil(TOKENS), &|piece, thread| {
            let first = piece * TOKENS;
            let count = TOKENS.min(tokens - first);
            let search = Search::new(run.scratch.of(thread), width);
            let token = |i: usize| lines.pixel(first + i).cast_const();
            let candidates = Candidates { packed: packed.ptr(), inverse_norms: norms.ptr().cast() };
            // SAFETY: the memory of the search is this thread's; no thread writes lines and candidates in this job.
            run.products(|| unsafe { search.run(run, &layout, token, count, std::iter::once(candidates)) });
            for i in 0..count {
                // SAFETY: each piece writes the links of its tokens.
                unsafe { *links.pixel(tokens + first + i).cast::<u32>() = search.found(i).1 as u32 };
            }
        });
        // SAFETY: the memory of a frame has these links for each row; no other thread runs.
        let links = unsafe { std::slice::from_raw_parts_mut(links.ptr().cast::<u32>(), 2 * tokens) };
        let (firsts, nexts) = links.split_at_mut(tokens);
        firsts.fill(END);
        // Backwards, so that tokens are summed in order.
        for (token, next) in nexts.iter_mut().enumerate().rev() {
            *next = std::mem::replace(&mut firsts[*next as usize], token as u32);
        }
    }

    /// Replaces each remaining token of `lines` by the mean of it and all that are merged into it.
    fn average(&self, run: &Run<'_>, links: Span, lines: Span) {
        let (width, tokens) = (lines.shape.c, self.tokens);
        run.pieces(tokens.div_ceil(TOKENS), &|piece, thread| {
            let search = Search::new(run.scratch.of(thread), width);
            for i in piece * TOKENS..((piece + 1) * TOKENS).min(tokens) {
                // SAFETY: the links are those of this row, below the number of tokens; no thread writes them and merged tokens in
                // this job; each piece writes its own remaining tokens.
                unsafe {
                    let mut next = *links.pixel(i).cast::<u32>();
                    if next == END {
                        continue;
                    }
                    let at = lines.pixel(tokens + i);
                    let sum = nearest::load(run, at, search.token(0), width);
                    let mut count = 1.0;
                    while next != END {
                        let token = nearest::load(run, lines.pixel(next as usize), search.token(1), width);
                        sum.iter_mut().zip(token).for_each(|(sum, x)| *sum += *x);
                        count += 1.0;
                        next = *links.pixel(tokens + next as usize).cast::<u32>();
                    }
                    sum.iter_mut().for_each(|sum| *sum /= count);
                    (run.kernels.store)(&Convert { from: sum.as_ptr().cast(), to: at, len: width });
                }
            }
        });
    }
}

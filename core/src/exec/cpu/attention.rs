//! Attention without materializing its matrix: for each block of keys, each query updates the sum of its weights and its
//! weighted sum of values.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use dreamframe_kernels::{Divide, HIDDEN, Softmax, Tile};

use super::keys::{KEYS, KeyLayout};
use super::merge::Merge;
use super::nearest::Search;
use super::past::PastAt;
use super::run::Run;
use super::span::{LINE, Span};

/// Maximum number of queries per piece of work, a multiple of the rows of every tile.
const QUERIES: usize = 96;
/// Queries of the smallest pieces: with fewer, reading the keys dominates.
const FEWEST_QUERIES: usize = 24;
/// Maximum number of rows of a tile.
const MAX_ROWS: usize = 32;

/// A compiled attention step.
#[derive(Debug)]
pub(super) struct Attention {
    pub(super) keys: KeyLayout,
    pub(super) causal: bool,
    pub(super) kv_row: Vec<usize>,
    /// For cached attention: the offset of its keys and values in the memory of each frame.
    pub(super) past: Option<usize>,
    /// How its keys and values are merged with cached ones.
    pub(super) merge: Option<Merge>,
}

/// A block of keys and their values.
#[derive(Clone, Copy)]
struct Block {
    /// Keys and values of the head.
    head: *const u8,
    /// The block's first key.
    first: usize,
    /// Whether it is the first block.
    fresh: bool,
}

/// Some queries of one head.
struct Piece<'a> {
    run: &'a Run<'a>,
    layout: &'a KeyLayout,
    scores: *mut f32,
    weights: *mut u8,
    /// The weighted sums of values.
    gathered: *mut f32,
    largest: *mut f32,
    /// The sums of weights, a vector for each query.
    sums: *mut f32,
}

impl Attention {
    /// Elements of scratch memory per thread.
    pub(super) fn thread_scratch(&self) -> usize {
        // Scores and weights of a tile; values, a score and a vector of sums for each query.
        let of_query = self.keys.padded_values() + 1 + self.keys.lanes;
        let attention = 2 * MAX_ROWS * KEYS + (QUERIES + MAX_ROWS) * of_query + 2 * LINE;
        let widest = self.keys.heads * self.keys.width.max(self.keys.value_width);
        attention.max(if self.merge.is_some() { Search::thread_scratch(widest) } else { 0 })
    }

    pub(super) fn run(&self, run: &Run<'_>, [q, packed, out]: [Span; 3], scratch: *mut f32) {
        let layout = &self.keys;
        let tokens = q.shape.pixels();
        let fewest = FEWEST_QUERIES.next_multiple_of(run.kernels.attend[0].rows);
        let queries = run.items(tokens, [fewest, QUERIES], q.shape.n * layout.heads);
        let blocks = tokens.div_ceil(queries);
        let past = self.past.map_or(PastAt::NONE, |first| run.past.layer(first * layout.size));
        run.pieces(q.shape.n * layout.heads * blocks, &|piece, thread| {
            let (row, head, block) = (piece / (layout.heads * blocks), piece / blocks % layout.heads, piece % blocks);
            let scores = run.scratch.of(thread);
            let weights = scores.wrapping_add(MAX_ROWS * KEYS);
            let largest = weights.wrapping_add(MAX_ROWS * KEYS);
            let sums = largest.wrapping_add((QUERIES + MAX_ROWS).next_multiple_of(LINE));
            let gathered = sums.wrapping_add(((QUERIES + MAX_ROWS) * layout.lanes).next_multiple_of(LINE));
            let piece = Piece { run, layout, scores, weights: weights.cast(), gathered, largest, sums };
            let first = block * queries;
            let count = queries.min(tokens - first);
            let whole = std::iter::once(packed.ptr()).chain(past.frames().iter().copied());
            let heads = whole.map(|keys| layout.head(keys, self.kv_row[row], head).cast_const());
            // SAFETY: pieces have disjoint rows, heads and queries; `scratch` has the size that `thread_scratch`
            // returns; no thread writes keys and values during this step.
            run.products(|| unsafe { piece.run([q, out], row * tokens, [head, first, count], heads, self.causal) });
        });
        if let (Some(merge), Some(_), Some(to), Some(frame)) = (&self.merge, past.merged, past.keep(), run.past.keep())
        {
            let kept = Span::new(to, layout.size, packed.ld, packed.shape);
            merge.merge_keys(run, layout, [kept, packed], frame, scratch);
        } else if let Some(to) = past.keep() {
            let to = Span::new(to, layout.size, packed.ld, packed.shape);
            let len = layout.head_len() * layout.size;
            run.pieces(layout.rows * layout.heads, &|piece, _| {
                let (from, to) = (packed.ptr().wrapping_add(piece * len), to.ptr().wrapping_add(piece * len));
                // SAFETY: both contain all heads, and each piece copies one; all queries are done.
                unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
            });
        }
    }
}

impl Piece<'_> {
    /// # Safety
    ///
    /// The addresses are those of the named operands, and no other thread uses these queries of `out`.
    unsafe fn run(
        &self,
        [q, out]: [Span; 2],
        row: usize,
        [head, first, count]: [usize; 3],
        keys: impl Iterator<Item = *const u8>,
        causal: bool,
    ) {
        let (layout, kernels, queries) = (self.layout, self.run.kernels, first..first + count);
        let height = kernels.attend[0].rows;
        let wide = layout.padded_values();
        let blocks = keys.flat_map(|head| (0..layout.keys).step_by(KEYS).map(move |first| (head, first)));
        for (i, (of, first_key)) in blocks.enumerate() {
            let block = Block { head: of, first: first_key, fresh: i == 0 };
            for (tile, query) in queries.clone().step_by(height).enumerate() {
                let count = height.min(queries.end - query);
                if causal && first_key > query + count - 1 {
                    continue;
                }
                let mut rows = [std::ptr::null::<u8>(); MAX_ROWS];
                for (i, address) in rows.iter_mut().enumerate().take(height) {
                    *address = q.channel(row + query + i.min(count - 1), head * layout.width);
                }
                // SAFETY: guaranteed by the caller; `rows` are addresses of the head's channels of queries.
                unsafe { self.block(&rows, block, [tile * height, count], causal.then_some(query)) };
            }
        }
        for (i, query) in queries.enumerate() {
            let to = out.channel(row + query, head * layout.value_width);
            // SAFETY: as above.
            unsafe {
                let (from, parts) = (self.gathered.add(i * wide), self.sums.add(i * layout.lanes));
                (kernels.divide)(&Divide { from, out: to, len: layout.value_width, parts });
            }
        }
    }

    /// Processes one block of keys for one tile of queries, starting at the piece's query `at`.
    ///
    /// # Safety
    ///
    /// As `run`; `rows` are addresses of `width` elements for all rows of a tile.
    unsafe fn block(&self, rows: &[*const u8; MAX_ROWS], block: Block, [at, count]: [usize; 2], causal: Option<usize>) {
        let (layout, kernels, first_key) = (self.layout, self.run.kernels, block.first);
        let block_values = block.head.wrapping_add(layout.keys_len() * layout.size);
        let padded = KEYS.min(layout.padded_keys() - first_key);
        let keys = KEYS.min(layout.keys - first_key);
        let wide = layout.padded_values();
        let (height, zeros) = (kernels.attend[0].rows, self.run.zeros);
        let wide_keys = layout.width.next_multiple_of(layout.group);
        let gathered = self.gathered.wrapping_add(at * wide);
        // SAFETY: guaranteed by the caller; the layout of keys and values is `layout`'s.
        unsafe {
            for (first, width) in layout.panels(padded) {
                let panel = block.head.add((first_key + first) * wide_keys * layout.size);
                let sums = self.scores.add(first);
                let (rows, len) = (rows.as_ptr(), layout.width);
                let tile = Tile {
                    rows,
                    taps: 1,
                    offset: 0,
                    len,
                    panel,
                    tap_stride: 0,
                    sums,
                    sums_ld: KEYS,
                    start: zeros,
                    scaled: None,
                };
                (kernels.attend[width / layout.lanes - 1].run)(&tile);
            }
            for i in 0..count {
                let seen = causal.map_or(keys, |query| keys.min((query + i + 1).saturating_sub(first_key)));
                for key in seen..padded {
                    *self.scores.add(i * KEYS + key) = HIDDEN;
                }
            }
            let scale = std::f32::consts::LOG2_E / (layout.width as f32).sqrt();
            (kernels.softmax)(&Softmax {
                scores: self.scores,
                weights: self.weights,
                ld: KEYS,
                rows: count,
                keys: padded,
                scale,
                first: block.fresh,
                largest: self.largest.add(at),
                sums: self.sums.add(at * layout.lanes),
                gathered,
                gathered_len: wide,
            });
            let mut weights = [std::ptr::null::<u8>(); MAX_ROWS];
            for (i, address) in weights.iter_mut().enumerate().take(height) {
                *address = self.weights.add(i * KEYS * layout.size);
            }
            for (first, width) in layout.panels(wide) {
                let panel = block_values.add((first * layout.grouped_keys() + first_key * width) * layout.size);
                let start = if block.fresh { zeros } else { std::ptr::null() };
                let (rows, sums) = (weights.as_ptr(), gathered.add(first));
                let tile = Tile {
                    rows,
                    taps: 1,
                    offset: 0,
                    len: keys,
                    panel,
                    tap_stride: 0,
                    sums,
                    sums_ld: wide,
                    start,
                    scaled: None,
                };
                (kernels.attend[width / layout.lanes - 1].run)(&tile);
            }
        }
    }
}

//! 3x3 convolutions by Winograd's algorithm, with fewer multiplications.
//!
//! The output is divided into square tiles. The input of a tile is transformed to several points per channel (16 for
//! tiles of 2x2 output pixels, 36 for 4x4). At each point there is one product of tiles and channels, as in a linear
//! layer. The sums at the points are transformed to output pixels. This needs 2.25 or 4 times fewer multiplications,
//! some more additions, and weights that are 1.8 or 4 times as large.
//!
//! No sum depends on the division into blocks or threads, so the result does not depend on the number of threads.

#![allow(unsafe_code, reason = "hands addresses to kernels")]

use std::ops::Range;
use std::sync::Arc;

use dreamframe_kernels::{Finish, FromPoints, Kernels, MOST_SIDE, Panel, PostAt, Tile, ToPoints, row_addresses};

use super::pack::Packed;
use super::product::CACHED;
use super::run::Run;
use super::span::{LINE, Span};
use super::winograd_policy::Form;
use crate::exec::Region;
use crate::net::Shape;

/// Tiles that are transformed at a time: they fit into the L1 cache.
const TILES: usize = 16;
/// Channels per piece of work of the input transform: the smallest number, and the largest.
const CHANNELS: [usize; 2] = [64, 256];
/// Tiles of the smallest pieces of a shared block: whole micro-kernels of every width. With fewer, reading the weights
/// dominates.
const FEWEST_TILES: usize = 96;
/// The same for blocks of each thread's own.
const FEWEST_OWN_TILES: usize = 12;
/// Maximum number of rows of a micro-kernel.
const MAX_ROWS: usize = 32;

/// The memory layout of a block: its tiles at each point, and its sums of some panels.
#[derive(Debug, Clone, Copy)]
struct BlockMemory {
    points: usize,
    /// Stored elements between tiles.
    row: usize,
    /// Stored elements between points.
    point: usize,
    /// `f32` elements of the tiles at all points.
    tiles_len: usize,
    /// `f32` elements between the sums of two points.
    sums_point: usize,
}

impl BlockMemory {
    fn new(form: Form, c_in: usize, c_out: usize, kernels: &Kernels) -> Self {
        let line = LINE * size_of::<f32>() / kernels.size;
        // An odd number of cache lines, so that points do not map to the same cache sets.
        let odd = |len: usize, line: usize| (len.div_ceil(line) | 1) * line;
        let row = c_in.next_multiple_of(line);
        let points = (form.side + 2) * (form.side + 2);
        let point = odd(form.tiles * row, line);
        let widest = c_out.next_multiple_of(kernels.lanes).min(kernels.tiles.len() * kernels.lanes);
        let tiles_len = points * point * kernels.size / size_of::<f32>();
        // The last micro-kernel may write beyond the last tile.
        let sums_point = odd((form.tiles + MAX_ROWS) * widest, LINE);
        Self { points, row, point, tiles_len, sums_point }
    }

    /// Total number of `f32` elements.
    fn len(&self, panels: usize) -> usize {
        self.tiles_len + panels * self.points * self.sums_point
    }
}

/// `f32` elements that all threads share for a convolution from `c_in` channels to `out`.
pub(super) fn scratch(form: Form, c_in: usize, out: Shape, kernels: &Kernels) -> usize {
    let panels = out.c.div_ceil(kernels.tiles.len() * kernels.lanes);
    if form.shared { BlockMemory::new(clamped(form, out), c_in, out.c, kernels).len(panels) } else { 0 }
}

/// Returns the parameters with blocks no larger than the image.
fn clamped(form: Form, out: Shape) -> Form {
    let tiles = out.n * out.h.div_ceil(form.side) * out.w.div_ceil(form.side);
    Form { tiles: form.tiles.clamp(1, tiles.max(1)), ..form }
}

/// A compiled convolution.
#[derive(Debug)]
pub(super) struct Winograd {
    packed: Arc<Vec<Packed>>,
    form: Form,
    /// Whether the image is upsampled by two first.
    upsample: bool,
    memory: BlockMemory,
    /// Tiles per line, and lines of tiles.
    grid: [usize; 2],
    /// Parts of the sum, as ranges of channels, in order.
    channel_ranges: Vec<Range<usize>>,
}

/// Adjacent tiles of a block.
struct Strip {
    /// The index of the first one in the block.
    at: usize,
    tiles: usize,
    /// Row of the batch.
    row: usize,
    /// The first output pixel.
    y: usize,
    x: usize,
}

impl Winograd {
    /// Compiles the convolution to `out`; with `upsample`, of an image of half the width and height.
    pub(super) fn new(packed: Arc<Vec<Packed>>, form: Form, upsample: bool, out: Shape, kernels: &Kernels) -> Self {
        let (form, c_in) = (clamped(form, out), packed[0].c_in);
        let memory = BlockMemory::new(form, c_in, out.c, kernels);
        let widest = packed[0].panels.first().map_or(1, |panel| panel.vectors * kernels.lanes);
        let parts = (c_in * widest * kernels.size).div_ceil(CACHED).max(1);
        let step = c_in.div_ceil(parts).next_multiple_of(4 * kernels.group);
        let channel_ranges = (0..c_in).step_by(step).map(|c| c..(c + step).min(c_in)).collect();
        let grid = [out.w.div_ceil(form.side), out.h.div_ceil(form.side)];
        Self { packed, form, upsample, memory, grid, channel_ranges }
    }

    /// Bytes of its weights.
    pub(super) fn weight_bytes(&self) -> usize {
        self.packed.iter().map(Packed::bytes).sum()
    }

    /// Output pixels on a side of a tile.
    pub(super) fn tile_side(&self) -> usize {
        self.form.side
    }

    /// Elements of scratch memory per thread.
    pub(super) fn thread_scratch(&self) -> usize {
        if self.form.shared { 0 } else { self.memory.len(1) }
    }

    /// Runs the convolution; `shared` has the number of elements that [`scratch`] returns.
    pub(super) fn run(&self, run: &Run<'_>, x: Span, out: Span, posts: &[PostAt], shared: *mut f32) {
        let grid = self.tiles_of(run.region);
        let tiles = x.shape.n * grid.pixels();
        let most = self.form.tiles;
        let each = if self.form.shared { most } else { run.items(tiles, [FEWEST_OWN_TILES.min(most), most], 1) };
        let blocks = tiles.div_ceil(each);
        let panels = &self.packed[0].panels;
        let block = |i: usize, block_memory: *mut f32| {
            let tiles = i * each..((i + 1) * each).min(tiles);
            Block {
                of: self,
                run,
                x,
                out,
                posts,
                grid: &grid,
                tiles,
                at_points: block_memory,
                sums: block_memory.wrapping_add(self.memory.tiles_len),
            }
        };
        if !self.form.shared {
            // With too few blocks, several threads transform the input of one, each for some of its panels.
            let each = run.items(panels.len(), [1, panels.len()], blocks);
            let parts = panels.len().div_ceil(each);
            run.pieces(blocks * parts, &|i, thread| {
                let block = block(i / parts, run.scratch.of(thread));
                let first = i % parts * each;
                let panels = &panels[first..(first + each).min(panels.len())];
                run.products(|| block.run_on_one_thread(panels));
            });
            return;
        }
        for i in 0..blocks {
            let block = block(i, shared);
            let chunks = block.tiles.len().div_ceil(TILES);
            let chunk = |i: usize| i * TILES..((i + 1) * TILES).min(block.tiles.len());
            let (count, channels) = (block.tiles.len(), run.items(x.shape.c, CHANNELS, chunks));
            let parts = x.shape.c.div_ceil(channels);
            // SAFETY: the pieces of a job have disjoint tiles and channels, points and panels, or tiles and panels, and
            // a job starts after the previous one is done.
            run.pieces(chunks * parts, &|piece, _| unsafe {
                let first = piece % parts * channels;
                block.transform_input(chunk(piece / parts), first..(first + channels).min(x.shape.c));
            });
            let products = self.memory.points * panels.len();
            let each = run.items(count, [FEWEST_TILES.min(count), count], products);
            // SAFETY: as above.
            run.pieces(products * count.div_ceil(each), &|piece, _| {
                let (product, first) = (piece % products, piece / products * each);
                let (point, panel) = (product / panels.len(), product % panels.len());
                let tiles = first..(first + each).min(count);
                // SAFETY: as above.
                run.products(|| unsafe { block.multiply(point, tiles, panels[panel], panel) });
            });
            // SAFETY: as above.
            run.pieces(chunks * panels.len(), &|piece, _| unsafe {
                block.transform_output(chunk(piece / panels.len()), panels[piece % panels.len()], piece % panels.len());
            });
        }
    }

    /// Returns the tiles to compute: those of a region of the output, or all.
    fn tiles_of(&self, region: Option<&Region>) -> Region {
        let [wide, tall] = self.grid;
        region.map_or(Region { x: 0..wide, y: 0..tall }, |region| region.in_squares(self.form.side))
    }
}

/// Tiles that are processed together.
struct Block<'a> {
    of: &'a Winograd,
    run: &'a Run<'a>,
    x: Span,
    out: Span,
    posts: &'a [PostAt],
    /// The tiles of each row of the batch that are computed.
    grid: &'a Region,
    /// The indices of its tiles among those of all rows.
    tiles: Range<usize>,
    at_points: *mut f32,
    sums: *mut f32,
}

// SAFETY: addresses; the unsafe code that uses them ensures that threads access disjoint memory.
unsafe impl Sync for Block<'_> {}

impl Block<'_> {
    /// Processes some panels of a block on one thread: its tiles stay in the L2 cache.
    fn run_on_one_thread(&self, panels: &[Panel]) {
        // SAFETY: the block's memory is this thread's; no other thread has these tiles of these panels of the output.
        unsafe {
            self.transform_input(0..self.tiles.len(), 0..self.x.shape.c);
            for &panel in panels {
                (0..self.of.memory.points).for_each(|point| self.multiply(point, 0..self.tiles.len(), panel, 0));
                for first in (0..self.tiles.len()).step_by(TILES) {
                    self.transform_output(first..(first + TILES).min(self.tiles.len()), panel, 0);
                }
            }
        }
    }

    /// Splits some tiles of the block at the ends of lines.
    fn strips(&self, tiles: Range<usize>) -> impl Iterator<Item = Strip> {
        let (Region { x, y }, side) = (self.grid, self.of.form.side);
        let (wide, tall, mut at) = (x.len(), y.len(), tiles.start);
        std::iter::from_fn(move || {
            let next = self.tiles.start + at;
            let (line, column) = (next / wide, next % wide);
            let count = (wide - column).min(tiles.end - at);
            let (line_of_tiles, x) = (y.start + line % tall, (x.start + column) * side);
            let strip = Strip { at, tiles: count, row: line / tall, y: line_of_tiles * side, x };
            at += count;
            (count > 0).then_some(strip)
        })
    }

    /// Transforms the input of some tiles of the block, for some channels.
    ///
    /// # Safety
    ///
    /// No other thread uses these channels of these tiles.
    unsafe fn transform_input(&self, tiles: Range<usize>, channels: Range<usize>) {
        let (x, out, memory, side) = (self.x, self.out.shape, &self.of.memory, self.of.form.side);
        let halve = u32::from(self.of.upsample);
        for strip in self.strips(tiles) {
            let line = |i: usize| match (strip.y + i).checked_sub(1) {
                Some(y) if y < out.h => {
                    let first = (strip.row * x.shape.h + (y >> halve)) * x.shape.w;
                    (x.channel(first, channels.start).cast_const(), x.ld)
                }
                _ => (self.run.zeros.cast(), 0),
            };
            let mut lines = [(self.run.zeros.cast(), 0); MOST_SIDE + 2];
            lines.iter_mut().take(side + 2).enumerate().for_each(|(i, to)| *to = line(i));
            let first = strip.at * memory.row + channels.start;
            // SAFETY: lines have all pixels of the image and its channels, zeros at least as many channels; the block
            // has memory for its tiles at all points.
            unsafe {
                (self.run.kernels.to_points[side / 2 - 1])(&ToPoints {
                    lines,
                    width: out.w,
                    halve,
                    first: strip.x as isize - 1,
                    tiles: strip.tiles,
                    channels: channels.len(),
                    out: self.at_points.cast::<u8>().wrapping_add(first * x.size()),
                    out_ld: memory.row,
                    point_stride: memory.point,
                });
            }
        }
    }

    /// Multiplies some tiles of the block at a point by a panel; `index` is the index of its sums.
    ///
    /// # Safety
    ///
    /// The tiles have been transformed; no other thread uses these sums. Only the last tiles of a block may be fewer
    /// than whole micro-kernels.
    unsafe fn multiply(&self, point: usize, some: Range<usize>, panel: Panel, index: usize) {
        let (memory, packed, kernels) = (&self.of.memory, &self.of.packed[0], self.run.kernels);
        let (kernel, width) = packed.kernel(panel, kernels);
        let sums = self.sums.wrapping_add((index * memory.points + point) * memory.sums_point);
        let tiles = self.at_points.cast::<u8>().wrapping_add(point * memory.point * kernels.size);
        let mut rows = [std::ptr::null::<u8>(); MAX_ROWS];
        for (part, range) in self.of.channel_ranges.iter().enumerate() {
            let first = point * packed.tap_len(width) + range.start * width;
            for tile in some.clone().step_by(kernel.rows) {
                let step = memory.row * kernels.size;
                let row = tiles.wrapping_add(tile * step);
                // SAFETY: no tile has more than `MAX_ROWS` rows; rows have all channels; the panel has weights for all
                // of them at each point; there is memory for the sums of one more micro-kernel than there are tiles;
                // there are as many zeros as a panel is wide.
                unsafe {
                    row_addresses(row, step, some.end - tile, kernel.rows, rows.as_mut_ptr());
                    (kernel.run)(&Tile {
                        rows: rows.as_ptr(),
                        taps: 1,
                        offset: range.start,
                        len: range.len(),
                        panel: packed.panel(panel, first),
                        tap_stride: 0,
                        sums: sums.wrapping_add(tile * width),
                        sums_ld: width,
                        start: if part == 0 { self.run.zeros } else { std::ptr::null() },
                        scaled: None,
                    });
                }
            }
        }
    }

    /// Transforms the sums with index `index`, of `panel`, to pixels of some tiles and stores them.
    ///
    /// # Safety
    ///
    /// All points of the panel have been multiplied; no other thread uses these tiles of it, or of the output.
    unsafe fn transform_output(&self, tiles: Range<usize>, panel: Panel, index: usize) {
        let (memory, packed, kernels) = (&self.of.memory, &self.of.packed[0], self.run.kernels);
        let (side, shape, width) = (self.of.form.side, self.out.shape, panel.vectors * kernels.lanes);
        let sums = self.sums.wrapping_add(index * memory.points * memory.sums_point);
        for strip in self.strips(tiles) {
            let sums = sums.wrapping_add(strip.at * width);
            // SAFETY: guaranteed by the caller; a panel has a bias for each column.
            unsafe {
                (kernels.from_points[side / 2 - 1])(&FromPoints {
                    sums,
                    point_stride: memory.sums_point,
                    tiles: strip.tiles,
                    width,
                    bias: packed.biases(panel),
                });
            }
            for pixel in 0..side * side {
                let (y, x) = (strip.y + pixel / side, strip.x + pixel % side);
                if y >= shape.h || x >= shape.w {
                    continue;
                }
                let first_pixel = (strip.row * shape.h + y) * shape.w + x;
                // SAFETY: guaranteed by the caller; operands of posts have the shape of `out` by the plan. Tiles whose
                // pixel is outside the image are skipped.
                unsafe {
                    (kernels.finish)(&Finish {
                        from: sums.wrapping_add(pixel * memory.sums_point).cast(),
                        from_ld: width,
                        from_sums: true,
                        out: self.out.channel(first_pixel, panel.channel),
                        out_ld: self.out.ld * side,
                        rows: strip.tiles.min((shape.w - x).div_ceil(side)),
                        cols: panel.channels,
                        first_pixel,
                        pixel_step: side,
                        first_channel: panel.channel,
                        posts: self.posts,
                    });
                }
            }
        }
    }
}

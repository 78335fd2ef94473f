//! Convolutions and linear layers: one loop over tiles of output pixels and panels of output channels.
//!
//! Inputs are not copied. For each tile a table has, for each tap, the address of the input pixel of each output pixel,
//! or of a row of zeros outside the image. No sum is split between threads, so the result does not depend on their
//! number.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use std::ops::Range;
use std::sync::Arc;

use dreamframe_kernels::{Finish, Geglu, Kernels, Panel, PostAt, Tile};

use super::conv_window::ConvWindow;
use super::pack::Packed;
use super::run::Run;
use super::span::{Aligned, LINE, Span};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Region;
use crate::net::bytes::ByteScale;
use crate::net::steps::Product as Geometry;
use crate::net::{Padding, Shape};

/// Bytes of weights of one panel that are processed at a time: they stay in the L2 cache while all tiles use them.
pub(super) const CACHED: usize = 384 * 1024;
/// Maximum number of pixels per piece of work; a multiple of the rows of every tile.
const ROWS: usize = 96;
/// Pixels of the smallest pieces: with fewer, reading the weights dominates.
const FEWEST_ROWS: usize = 24;

/// A compiled convolution or linear layer.
#[derive(Debug)]
pub(super) struct Product {
    /// One; or four for a convolution over an upsampled image, each over the input image for a quarter of the output:
    /// the upper left pixel of each four, the upper right, the lower left, the lower right.
    packed: Arc<Vec<Packed>>,
    geometry: Geometry,
    /// Parts of the sum, in order.
    blocks: Vec<Block>,
    /// Whether consecutive pieces have the same pixels (and different panels).
    panels_inside: bool,
    /// Pixels per piece of work: the smallest number, and the largest.
    rows: [usize; 2],
    /// For products of bytes, one for each of `packed`.
    bytes: Vec<Bytes>,
}

/// A part of the sum: some taps, some channels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    taps: Range<usize>,
    channels: Range<usize>,
}

impl Block {
    /// Whether it consists of whole lines of the kernel.
    fn has_lines(&self, side: usize, c_in: usize) -> bool {
        self.channels.len() == c_in && self.taps.start.is_multiple_of(side) && self.taps.len().is_multiple_of(side)
    }
}

impl Product {
    /// Whether it is faster as four convolutions, see [`Product`].
    pub(super) fn in_phases(geometry: &Geometry) -> bool {
        let plain = geometry.kernel == 3 && geometry.stride == 1 && geometry.dilation == 1;
        geometry.upsample && plain && geometry.padding == Padding::all(1)
    }

    pub(super) fn new(
        packed: Arc<Vec<Packed>>,
        mut geometry: Geometry,
        input: Shape,
        kernels: &Kernels,
    ) -> Result<Self> {
        if Self::in_phases(&geometry) {
            (geometry.kernel, geometry.upsample) = (2, false);
        }
        let first = &packed[0];
        let widest = first.panels.first().map_or(1, |panel| panel.vectors * kernels.lanes);
        let blocks = blocks(first.taps, first.c_in, CACHED / first.size() / widest, first.group());
        // Consecutive pieces share the larger operand, which is then read from memory once.
        let panels_inside = input.len() * first.size() > first.bytes();
        let tiles = first.panels.iter().map(|&panel| first.kernel(panel, kernels).0.rows);
        let rows = if packed.len() > 1 && input.w < ROWS {
            // Tiles end with the lines of the image: as many lines as there is memory for sums.
            let tallest = tiles.max().unwrap_or(1);
            [input.w, (ROWS / input.w.next_multiple_of(tallest)).max(1) * input.w]
        } else {
            // Whole tiles of all panels.
            let whole =
                |rows: &usize| ROWS.is_multiple_of(*rows) && tiles.clone().all(|tile| rows.is_multiple_of(tile));
            [(FEWEST_ROWS..=ROWS).find(whole).unwrap_or(ROWS), ROWS]
        };
        let scale = geometry.bytes.into_iter();
        let bytes = scale.flat_map(|scale| packed.iter().map(move |packed| (packed, scale)));
        let bytes = bytes.filter_map(|(packed, scale)| Bytes::new(packed, scale, geometry.kernel).transpose());
        let bytes = bytes.collect::<Result<_>>()?;
        Ok(Self { packed, geometry, blocks, panels_inside, rows, bytes })
    }

    /// Bytes of its weights.
    pub(super) fn weight_bytes(&self) -> usize {
        self.packed.iter().map(Packed::bytes).sum()
    }

    /// Elements of scratch memory per thread.
    pub(super) fn thread_scratch(&self, kernels: &Kernels) -> usize {
        let first = &self.packed[0];
        let widest = first.panels.iter().map(|panel| panel.vectors * kernels.lanes).max().unwrap_or(0);
        table_len(first.taps, kernels) + (ROWS + tallest(kernels)) * widest
    }

    pub(super) fn run(&self, run: &Run<'_>, x: Span, out: Span, posts: &[PostAt]) {
        // Bytes are contiguous.
        let x = if self.geometry.bytes.is_some() { Span::new(x.ptr(), 1, x.shape.c, x.shape) } else { x };
        let (phases, panels) = (self.packed.len(), self.packed[0].panels.len());
        let lines = Lines::new(run.region, out, (phases > 1).then_some(x.shape.w));
        let pieces = match run.region {
            Some(_) => self.pieces_of_lines(run, &lines, phases * panels),
            None => PixelPieces { each: run.items(lines.pixels, self.rows, phases * panels), per_line: None },
        };
        let groups = pieces.count(&lines);
        run.pieces(phases * groups * panels, &|piece, thread| {
            let (group, panel, phase) = if self.panels_inside {
                (piece / (panels * phases), piece / phases % panels, piece % phases)
            } else {
                (piece % groups, piece / groups % panels, piece / (groups * panels))
            };
            let piece = Piece::new(self, run, [x, out], posts, phase, thread);
            run.products(|| piece.run(&lines, pieces.pixels(group, &lines), self.packed[phase].panels[panel]));
        });
    }

    /// Divides the lines of a region: into parts of lines, or several lines for whose tiles a thread has memory.
    fn pieces_of_lines(&self, run: &Run<'_>, lines: &Lines, others: usize) -> PixelPieces {
        if lines.len > ROWS {
            return PixelPieces { each: ROWS, per_line: Some(lines.len.div_ceil(ROWS)) };
        }
        let first = &self.packed[0];
        let in_tiles = |&panel| lines.len.next_multiple_of(first.kernel(panel, run.kernels).0.rows);
        let longest = first.panels.iter().map(in_tiles).max().unwrap_or(ROWS);
        let most = (ROWS / longest).max(1);
        let count = run.items(lines.pixels / lines.len.max(1), [1, most], others);
        PixelPieces { each: count * lines.len, per_line: None }
    }
}

/// The output pixels to compute, counted line by line: all as one line, those of a quarter of the output, or those of a
/// region.
struct Lines {
    /// Number of pixels.
    pixels: usize,
    /// Pixels of a line.
    len: usize,
    /// The index of the first one in the image.
    first: usize,
    /// The difference between the indices of the first pixels of two lines.
    stride: usize,
}

impl Lines {
    /// For a quarter of the output, its width is given.
    fn new(region: Option<&Region>, out: Span, quarter: Option<usize>) -> Self {
        let wide = quarter.unwrap_or(out.shape.w);
        match (region, quarter) {
            (Some(region), _) => {
                let region = if quarter.is_some() { region.in_squares(2) } else { region.clone() };
                let first = region.y.start * wide + region.x.start;
                Self { pixels: region.pixels(), len: region.x.len(), first, stride: wide }
            }
            (None, Some(wide)) => Self { pixels: out.pixels() / 4, len: wide, first: 0, stride: wide },
            (None, None) => Self { pixels: out.pixels(), len: out.pixels(), first: 0, stride: 0 },
        }
    }

    /// Returns the index in the image of pixel `at`, and the number of pixels from it to the end of its line.
    fn place(&self, at: usize) -> (usize, usize) {
        let (line, column) = (at / self.len, at % self.len);
        (self.first + line * self.stride + column, self.len - column)
    }
}

/// The division of pixels into pieces of work.
struct PixelPieces {
    /// Pixels of each, except for the last of a line or of all.
    each: usize,
    /// If pieces end with lines: the number of pieces of a line.
    per_line: Option<usize>,
}

impl PixelPieces {
    fn count(&self, lines: &Lines) -> usize {
        self.per_line.map_or_else(|| lines.pixels.div_ceil(self.each), |parts| lines.pixels / lines.len * parts)
    }

    /// The pixels of piece `i`.
    fn pixels(&self, i: usize, lines: &Lines) -> Range<usize> {
        match self.per_line {
            Some(parts) => {
                let (line, part) = (i / parts * lines.len, i % parts * self.each);
                line + part..line + (part + self.each).min(lines.len)
            }
            None => i * self.each..((i + 1) * self.each).min(lines.pixels),
        }
    }
}

/// Parameters of a product of bytes: sums of `w * (x - zero)` start with `-zero` times the sum of the weights, and are
/// scaled at the end. One value for each column of each panel.
#[derive(Debug)]
struct Bytes {
    /// Initial sums: integers, stored in place of `f32`s.
    starts: Aligned,
    /// Scales of the sums.
    scales: Aligned,
    /// The input of taps outside the image: a line of bytes of 0.
    zeros: Aligned,
}

impl Bytes {
    /// `None` for weights other than bytes.
    fn new(packed: &Packed, scale: ByteScale, side: usize) -> Result<Option<Self>> {
        let Some((scales_in, sums)) = packed.scales_and_sums() else { return Ok(None) };
        let zero = i32::from(scale.zero()) - packed.less();
        let out_of_memory = || Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {} scales", sums.len()));
        let mut starts = Aligned::zeros::<f32>(sums.len()).ok_or_else(out_of_memory)?;
        let mut scales = Aligned::zeros::<f32>(sums.len()).ok_or_else(out_of_memory)?;
        let mut zeros = Aligned::zeros::<i8>(side * packed.c_in).ok_or_else(out_of_memory)?;
        for (start, &sum) in starts.elements_mut::<f32>().iter_mut().zip(sums) {
            *start = f32::from_bits((-zero * sum as i32) as u32);
        }
        scales.elements_mut().iter_mut().zip(scales_in).for_each(|(to, from)| *to = from * scale.scale());
        zeros.elements_mut::<i8>().fill(zero as i8);
        Ok(Some(Self { starts, scales, zeros }))
    }

    fn starts(&self, panel: Panel) -> *const f32 {
        self.starts.elements::<f32>()[panel.bias..].as_ptr()
    }

    fn scales(&self, panel: Panel) -> *const f32 {
        self.scales.elements::<f32>()[panel.bias..].as_ptr()
    }
}

/// The common parameters of the tiles of a piece of work.
struct Piece<'a> {
    product: &'a Product,
    run: &'a Run<'a>,
    packed: &'a Packed,
    bytes: Option<&'a Bytes>,
    window: ConvWindow,
    out: Span,
    posts: &'a [PostAt],
    /// Which of the four, and the width of a quarter of the output, if there are four.
    phase: Option<(usize, usize)>,
    table: *mut *const u8,
    sums: *mut f32,
}

impl<'a> Piece<'a> {
    fn new(
        product: &'a Product,
        run: &'a Run<'a>,
        [x, out]: [Span; 2],
        posts: &'a [PostAt],
        phase: usize,
        thread: usize,
    ) -> Self {
        let (packed, bytes) = (&product.packed[phase], product.bytes.get(phase));
        let (mut shape, mut geometry) = (out.shape, product.geometry);
        let phase = (product.packed.len() > 1).then_some((phase, x.shape.w));
        if let Some((phase, _)) = phase {
            shape = shape_of_quarter(shape);
            geometry.padding = Padding { top: 1 - phase / 2, left: 1 - phase % 2, bottom: 1, right: 1 };
        }
        let table = run.scratch.of(thread);
        let sums = table.wrapping_add(table_len(packed.taps, run.kernels));
        let zeros = bytes.map_or(run.zeros.cast(), |bytes| bytes.zeros.ptr());
        let window = ConvWindow { x, out: shape, geometry, zeros };
        Self { product, run, packed, bytes, window, out, posts, phase, table: table.cast(), sums }
    }

    /// Computes some pixels of `lines` of one panel.
    fn run(&self, lines: &Lines, rows: Range<usize>, panel: Panel) {
        let (kernel, _) = self.packed.kernel(panel, self.run.kernels);
        let width = panel.vectors * self.run.kernels.lanes;
        let blocks = &self.product.blocks;
        for (at, block) in blocks.iter().enumerate() {
            let (mut next, mut tile) = (rows.start, 0);
            while next < rows.end {
                let (pixel, left) = lines.place(next);
                let count = kernel.rows.min(left).min(rows.end - next);
                // A single tile is finished immediately and its sums reused; several blocks need all sums of the piece.
                let slot = if blocks.len() == 1 { 0 } else { tile };
                let sums = self.sums.wrapping_add(slot * kernel.rows * width);
                // SAFETY: the scratch memory has sums for all tiles of a piece; pixels and channels are this piece's.
                unsafe {
                    self.add(block, panel, [pixel, count, at], sums);
                    if at + 1 == blocks.len() {
                        self.finish(panel, [pixel, count, width], sums);
                    }
                }
                (next, tile) = (next + count, tile + 1);
            }
        }
    }

    /// Adds block `at` to the sums of a tile.
    ///
    /// # Safety
    ///
    /// `sums` has memory for all rows of the panel's tile.
    unsafe fn add(&self, block: &Block, panel: Panel, [pixel, count, at]: [usize; 3], sums: *mut f32) {
        let (kernel, width) = self.packed.kernel(panel, self.run.kernels);
        let (side, c_in, taps) = (self.window.geometry.kernel, self.packed.c_in, block.taps.clone());
        let tap_len = self.packed.tap_len(width);
        let first = block.taps.start * tap_len + block.channels.start * width;
        let whole_lines = self.window.has_lines() && block.has_lines(side, c_in) && !self.packed.is_padded();
        let biases = self.packed.biases(panel);
        let start = self.bytes.map_or(biases, |bytes| bytes.starts(panel));
        let scaled =
            self.bytes.filter(|_| at + 1 == self.product.blocks.len()).map(|bytes| [bytes.scales(panel), biases]);
        // SAFETY: the table has entries for the taps of all rows of a tile; `window` writes addresses of pixels of `x`
        // or of zeros, with `c_in` channels each (`side * c_in` for lines); the panel has the weights of all taps,
        // those of a line contiguously.
        unsafe {
            let lines = whole_lines && self.window.lines(pixel, count, kernel.rows, taps.clone(), self.table);
            let (taps, len, tap_stride) = if lines {
                (taps.len() / side, side * c_in, side * tap_len)
            } else {
                self.window.addresses(pixel, count, kernel.rows, taps.clone(), self.table);
                (taps.len(), block.channels.len(), tap_len)
            };
            (kernel.run)(&Tile {
                rows: self.table,
                taps,
                offset: block.channels.start,
                len,
                panel: self.packed.panel(panel, first),
                tap_stride,
                sums,
                sums_ld: panel.vectors * self.run.kernels.lanes,
                start: if at == 0 { start } else { std::ptr::null() },
                scaled,
            });
        }
    }

    /// Stores the sums of a tile.
    ///
    /// # Safety
    ///
    /// `sums` has `count` rows of `width` elements, and no other thread uses these pixels and channels of `out`.
    unsafe fn finish(&self, panel: Panel, [pixel, rows, width]: [usize; 3], sums: *mut f32) {
        let (first_pixel, pixel_step) = match self.phase {
            // Every second pixel of every second line.
            Some((phase, w)) => ((2 * (pixel / w) + phase / 2) * 2 * w + 2 * (pixel % w) + phase % 2, 2),
            None => (pixel, 1),
        };
        let out = self.out.channel(first_pixel, panel.channel);
        let (out_ld, cols) = (self.out.ld * pixel_step, panel.channels);
        // SAFETY: guaranteed by the caller; operands of posts have the shape of `out` by the plan.
        unsafe {
            if self.packed.geglu {
                let (value, gate, from_sums) = (sums.cast(), sums.add(width / 2).cast(), true);
                (self.run.kernels.geglu)(&Geglu { value, gate, ld: width, from_sums, out, out_ld, rows, cols });
            } else {
                (self.run.kernels.finish)(&Finish {
                    from: sums.cast(),
                    from_ld: width,
                    from_sums: true,
                    out,
                    out_ld,
                    rows,
                    cols,
                    first_pixel,
                    pixel_step,
                    first_channel: panel.channel,
                    posts: self.posts,
                });
            }
        }
    }
}

/// The shape of every second pixel of every second line.
fn shape_of_quarter(shape: Shape) -> Shape {
    Shape { h: shape.h / 2, w: shape.w / 2, ..shape }
}

fn tallest(kernels: &Kernels) -> usize {
    kernels.tiles.iter().chain(kernels.narrow).map(|tile| tile.rows).max().unwrap_or(0)
}

/// Elements of a table of addresses, for the tallest tile.
fn table_len(taps: usize, kernels: &Kernels) -> usize {
    (tallest(kernels) * taps * size_of::<*const u8>()).div_ceil(size_of::<f32>()).next_multiple_of(LINE)
}

/// Splits the sum into parts of at most `limit` channels over all taps: into whole taps if possible, otherwise into
/// whole groups of `group` channels.
fn blocks(taps: usize, c_in: usize, limit: usize, group: usize) -> Vec<Block> {
    if taps * c_in <= limit {
        return vec![Block { taps: 0..taps, channels: 0..c_in }];
    }
    let mut blocks = Vec::new();
    if c_in <= limit {
        let count = (taps * c_in).div_ceil(limit);
        let step = taps.div_ceil(count);
        // Whole lines of the kernel if possible, see `ConvWindow::lines`.
        let line = taps.isqrt();
        let step = if step >= line { step / line * line } else { step };
        for tap in (0..taps).step_by(step) {
            blocks.push(Block { taps: tap..(tap + step).min(taps), channels: 0..c_in });
        }
    } else {
        let step = c_in.div_ceil(c_in.div_ceil(limit)).next_multiple_of(group.max(4));
        for tap in 0..taps {
            for c in (0..c_in).step_by(step) {
                blocks.push(Block { taps: tap..tap + 1, channels: c..(c + step).min(c_in) });
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_tap_and_channel_once() {
        for (taps, c_in, limit, group) in [
            (9, 64, 1000, 1),
            (9, 320, 1000, 2),
            (9, 1280, 1000, 4),
            (1, 5120, 1000, 8),
            (1, 7, 1000, 8),
            (9, 1001, 1000, 8),
        ] {
            let mut seen = vec![0; taps * c_in];
            for block in blocks(taps, c_in, limit, group) {
                assert!(block.taps.len() * block.channels.len() <= limit + group.max(4));
                assert!(block.channels.start.is_multiple_of(group), "{block:?}");
                for tap in block.taps {
                    block.channels.clone().for_each(|c| seen[tap * c_in + c] += 1);
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{taps} {c_in}");
        }
    }
}

//! Mapping of output pixels to input pixels.

#![allow(unsafe_code, reason = "fills tables of addresses")]

use std::ops::Range;

use dreamframe_kernels::row_addresses;

use super::span::Span;
use crate::net::Shape;
use crate::net::steps::Product as Geometry;

/// The mapping of output pixels to input pixels for each tap.
pub(super) struct ConvWindow {
    pub(super) x: Span,
    /// The shape of the output, or of a quarter of it.
    pub(super) out: Shape,
    pub(super) geometry: Geometry,
    /// Zeros, as many as the elements that a line of the kernel reads.
    pub(super) zeros: *const u8,
}

impl ConvWindow {
    /// Whether input pixels that are adjacent in a line of the kernel are contiguous in memory.
    pub(super) fn has_lines(&self) -> bool {
        let Geometry { kernel, dilation, upsample, .. } = self.geometry;
        kernel > 1 && dilation == 1 && !upsample && self.x.ld == self.x.shape.c
    }

    /// Writes, for each line of taps and each of `height` rows of a tile, the address of its input pixels, which are
    /// then treated as one pixel with more channels. Returns false if the tile crosses the end of a line of the image,
    /// or reads beyond its left or right side.
    ///
    /// # Safety
    ///
    /// `table` has memory for `taps.len() * height` addresses, and [`has_lines`](Self::has_lines) holds.
    pub(super) unsafe fn lines(
        &self,
        pixel: usize,
        count: usize,
        height: usize,
        taps: Range<usize>,
        table: *mut *const u8,
    ) -> bool {
        let Geometry { kernel, stride, padding, .. } = self.geometry;
        let Shape { h, w, .. } = self.x.shape;
        let (row, rest) = (pixel / self.out.pixels(), pixel % self.out.pixels());
        let (y, x) = (rest / self.out.w, rest % self.out.w);
        let last = (x + count - 1) * stride + kernel;
        if x + count > self.out.w || x * stride < padding.left || last > w + padding.left {
            return false;
        }
        let step = stride * self.x.ld * self.x.size();
        for (line, ty) in (taps.start / kernel..taps.end / kernel).enumerate() {
            let sy = y * stride + ty;
            let inside = sy >= padding.top && sy < h + padding.top;
            let (seen, step) = if inside {
                let first = (row * h + sy - padding.top) * w + x * stride - padding.left;
                (self.x.pixel(first).cast_const(), step)
            } else {
                (self.zeros, 0)
            };
            // SAFETY: within `taps.len() * height` addresses.
            unsafe { row_addresses(seen, step, count, height, table.add(line * height)) };
        }
        true
    }

    /// Writes, for each tap and each of `height` rows of a tile, the address of the input pixel; rows from `count` on
    /// repeat the last one.
    ///
    /// # Safety
    ///
    /// `table` has memory for `taps.len() * height` addresses.
    pub(super) unsafe fn addresses(
        &self,
        pixel: usize,
        count: usize,
        height: usize,
        taps: Range<usize>,
        table: *mut *const u8,
    ) {
        let Geometry { kernel, stride, dilation, padding, upsample, .. } = self.geometry;
        let reach = (kernel - 1) * dilation + 1;
        if kernel == 1 && stride == 1 && !upsample && padding.top + padding.left + padding.bottom + padding.right == 0 {
            // SAFETY: one tap, `height` addresses.
            return unsafe { row_addresses(self.x.pixel(pixel), self.x.ld * self.x.size(), count, height, table) };
        }
        let Shape { h, w, .. } = self.x.shape;
        let (tall, wide) = if upsample { (2 * h, 2 * w) } else { (h, w) };
        let (mut row, mut y, mut x) = {
            let (row, rest) = (pixel / self.out.pixels(), pixel % self.out.pixels());
            (row, rest / self.out.w, rest % self.out.w)
        };
        for i in 0..height {
            if i < count && i > 0 {
                x += 1;
                if x == self.out.w {
                    (x, y) = (0, y + 1);
                    if y == self.out.h {
                        (y, row) = (0, row + 1);
                    }
                }
            }
            let (top, left) =
                ((y * stride) as isize - padding.top as isize, (x * stride) as isize - padding.left as isize);
            let inside = top >= 0 && left >= 0 && top as usize + reach <= tall && left as usize + reach <= wide;
            let image = row * h * w;
            let (mut ty, mut tx) = (taps.start / kernel, taps.start % kernel);
            let base = image as isize + top * w as isize + left;
            for tap in 0..taps.len() {
                let seen = if inside && !upsample {
                    self.x.pixel((base + ((ty * w + tx) * dilation) as isize) as usize).cast_const()
                } else {
                    let (sy, sx) = (top + (ty * dilation) as isize, left + (tx * dilation) as isize);
                    if sy < 0 || sx < 0 || sy as usize >= tall || sx as usize >= wide {
                        self.zeros
                    } else {
                        let halve = usize::from(upsample);
                        self.x.pixel(image + (sy as usize >> halve) * w + (sx as usize >> halve)).cast_const()
                    }
                };
                // SAFETY: within `taps.len() * height` addresses.
                unsafe { *table.add(tap * height + i) = seen };
                tx += 1;
                if tx == kernel {
                    (tx, ty) = (0, ty + 1);
                }
            }
        }
    }
}

//! Steps that compute each pixel from a few others: depthwise convolution, products, pooling, resizing, mirroring.

#![allow(unsafe_code, reason = "reads and writes values that threads share")]

use dreamframe_kernels::{Gather, How, PostAt};

use super::pointwise::finish_in_place;
use super::run::Run;
use super::span::{Aligned, Span};
use crate::net::steps::{Depthwise, Repeat};
use crate::net::{ImageOp, bilinear};

/// Maximum number of input pixels of an output pixel: those of a 7x7 kernel.
const MAX_TAPS: usize = 49;

/// Returns whether a kernel of this side is supported.
pub(super) fn is_supported(kernel: usize) -> bool {
    kernel * kernel <= MAX_TAPS
}

/// Depthwise convolution. `table` has the biases and then, tap after tap, the weights of all channels.
pub(super) fn depthwise(
    run: &Run<'_>,
    Depthwise { kernel, stride, padding, .. }: Depthwise,
    table: &Aligned,
    [x, out]: [Span; 2],
    posts: &[PostAt],
) {
    lines(run, out, posts, |row, y, column, to| {
        let mut pixels = [run.zeros.cast::<u8>(); MAX_TAPS];
        let taps = &mut pixels[..kernel * kernel];
        for (tap, seen) in taps.iter_mut().enumerate() {
            let (sy, sx) = (y * stride + tap / kernel, column * stride + tap % kernel);
            let (sy, sx) = (sy.wrapping_sub(padding.top), sx.wrapping_sub(padding.left));
            if sy < x.shape.h && sx < x.shape.w {
                *seen = x.pixel((row * x.shape.h + sy) * x.shape.w + sx).cast_const();
            }
        }
        let how = How::ByChannel(table.elements::<f32>().as_ptr());
        // SAFETY: zeros and pixels of `x` have all its channels, and the table too.
        unsafe { (run.kernels.gather)(&Gather { pixels: taps, how, out: to, channels: x.shape.c }) }
    });
}

/// Multiplies pixels by those of another image, of which a single pixel, a single row, or both are repeated.
pub(super) fn mul(run: &Run<'_>, [a, b, out]: [Span; 3], posts: &[PostAt]) {
    let repeat = Repeat::of(out.shape, b.shape);
    lines(run, out, posts, |row, y, column, to| {
        let pixel = y * out.shape.w + column;
        let at = row * out.shape.pixels() + pixel;
        let of_b = match repeat {
            Repeat::None => at,
            Repeat::Pixels => row,
            Repeat::Rows => pixel,
            Repeat::Both => 0,
        };
        let pixels = [a.pixel(at).cast_const(), b.pixel(of_b).cast_const()];
        // SAFETY: pixels of `a` and `b` have all its channels.
        unsafe { (run.kernels.gather)(&Gather { pixels: &pixels, how: How::Product, out: to, channels: out.shape.c }) }
    });
}

/// Resizes, pools or mirrors.
pub(super) fn image(run: &Run<'_>, op: ImageOp, [x, out]: [Span; 2], posts: &[PostAt]) {
    let (h, w) = (x.shape.h, x.shape.w);
    let at = |row: usize, y: usize, column: usize| x.pixel((row * h + y) * w + column).cast_const();
    lines(run, out, posts, |row, y, column, to| match op {
        ImageOp::MaxPool => {
            let (y, column) = (2 * y, 2 * column);
            let (below, beside) = ((y + 1).min(h - 1), (column + 1).min(w - 1));
            let pixels = [at(row, y, column), at(row, y, beside), at(row, below, column), at(row, below, beside)];
            let gather = Gather { pixels: &pixels, how: How::Largest, out: to, channels: x.shape.c };
            // SAFETY: pixels of `x` have all its channels.
            unsafe { (run.kernels.gather)(&gather) }
        }
        ImageOp::Resize { align_corners } => {
            let (top, low) = bilinear(y, h, out.shape.h, align_corners);
            let (left, right) = bilinear(column, w, out.shape.w, align_corners);
            let (below, beside) = ((top + 1).min(h - 1), (left + 1).min(w - 1));
            let pixels = [at(row, top, left), at(row, top, beside), at(row, below, left), at(row, below, beside)];
            let weights = [(1.0 - low) * (1.0 - right), (1.0 - low) * right, low * (1.0 - right), low * right];
            let how = How::Weighted(weights.as_ptr());
            // SAFETY: pixels of `x` have all its channels, and there are as many weights.
            unsafe { (run.kernels.gather)(&Gather { pixels: &pixels, how, out: to, channels: x.shape.c }) }
        }
        ImageOp::DepthToSpace { side } => {
            let part = (y % side * side + column % side) * out.shape.c;
            // SAFETY: `x` has as many channels as all its parts.
            unsafe { copy(x.channel((row * h + y / side) * w + column / side, part), to, out) }
        }
        ImageOp::Refold => {
            let pixel = y * out.shape.w + column;
            let inside = pixel < x.shape.pixels();
            let from = if inside { x.pixel(row * x.shape.pixels() + pixel).cast_const() } else { run.zeros.cast() };
            // SAFETY: `out` has the channels of `x`, and there are as many zeros.
            unsafe { copy(from, to, out) }
        }
        ImageOp::Reflect { border } => {
            let (y, column) = (mirrored(y, border, h), mirrored(column, border, w));
            // SAFETY: `out` has the channels of `x`.
            unsafe { copy(at(row, y, column), to, out) }
        }
    });
}

/// Returns the source index of the pixel at `at` of a line with a mirrored border.
fn mirrored(at: usize, border: usize, len: usize) -> usize {
    let inside = at.abs_diff(border);
    if inside < len { inside } else { 2 * (len - 1) - inside }
}

/// Copies the channels of a pixel of `out`.
///
/// # Safety
///
/// `from` has as many elements, and no other thread uses `to`.
unsafe fn copy(from: *const u8, to: *mut u8, out: Span) {
    // SAFETY: guaranteed by the caller; an output never lies over an input of these steps.
    unsafe { std::ptr::copy_nonoverlapping(from, to, out.shape.c * out.size()) }
}

/// Calls `pixel(row, line, column, address)` for each pixel of `out`, and applies the posts line by line.
fn lines(run: &Run<'_>, out: Span, posts: &[PostAt], pixel: impl Fn(usize, usize, usize, *mut u8) + Sync) {
    let (h, w) = (out.shape.h, out.shape.w);
    run.pieces(out.shape.n * h, &|line, _| {
        for column in 0..w {
            pixel(line / h, line % h, column, out.pixel(line * w + column));
        }
        // SAFETY: lines have disjoint pixels.
        unsafe { finish_in_place(run, out, line * w, w, posts) }
    });
}

//! Group norm and layer norm.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use std::sync::Arc;

use super::kernel::{Finish, LayerNorm, Moments, Normalise, PostAt};
use super::network::Run;
use super::span::Span;
use crate::net::{Activation, Shape};

/// Numbers of a stretch that is gone over several times: it stays in the first cache.
const CACHED: usize = 4096;
/// Pixels that are summed in `f32` before their sums go into an `f64`; more where a row has many, so that a row has at
/// most [`MOST_CHUNKS`].
const CHUNK: usize = 128;
const MOST_CHUNKS: usize = 64;

/// A norm's numbers.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Arc<Vec<f32>>,
    pub(super) bias: Arc<Vec<f32>>,
    pub(super) eps: f32,
}

/// Pixels of a chunk, and how many chunks there are.
fn chunks(shape: Shape) -> (usize, usize) {
    let pixels = shape.pixels();
    let chunk = CHUNK.max(pixels.div_ceil(MOST_CHUNKS));
    (chunk, pixels.div_ceil(chunk))
}

/// Scratch numbers of a group norm.
pub(super) fn group_norm_scratch(shape: Shape) -> usize {
    shape.n * (chunks(shape).1 + 1) * 2 * shape.c
}

/// Normalises groups of channels over the pixels of each row: sums of chunks, then their mean and variance, then the
/// numbers themselves.
pub(super) fn group_norm(
    run: &Run<'_>,
    norm: &Norm,
    groups: usize,
    [x, out]: [Span; 2],
    scratch: *mut f32,
    posts: &[PostAt],
) {
    let Shape { n, c, .. } = x.shape;
    let pixels = x.shape.pixels();
    let (chunk, count) = chunks(x.shape);
    let scratch = Span::new(scratch, 2 * c, Shape::new(n, count + 1, 1, 2 * c));
    run.pieces(n * count, &|piece, _| {
        let (row, first) = (piece / count, piece % count * chunk);
        let sums = scratch.pixel(row * (count + 1) + piece % count);
        let pixels = chunk.min(pixels - first);
        let at = x.pixel(row * x.shape.pixels() + first);
        // SAFETY: sums of this chunk are this piece's; the shift is the row's first pixel.
        unsafe {
            (run.kernels.moments)(&Moments {
                x: at,
                ld: x.ld,
                pixels,
                channels: c,
                shift: x.pixel(row * x.shape.pixels()),
                sums,
                squares: sums.add(c),
            });
        }
    });
    for row in 0..n {
        // SAFETY: no piece is at work between the two jobs.
        let (shift, scales) = unsafe { (x.read(row * pixels), scratch.write(row * (count + 1) + count)) };
        // SAFETY: as above.
        let sums = (0..count).map(|chunk| unsafe { scratch.read(row * (count + 1) + chunk) });
        scales_of(norm, groups, pixels, shift, sums, scales);
    }
    // SiLU happens with the scaling, what else there is in the cache.
    let silu = matches!(posts.first(), Some(PostAt::Activate(Activation::Silu)));
    let posts = &posts[usize::from(silu)..];
    each_stretch(run, x.shape, |row, first, count_of| {
        let at = row * pixels + first;
        let scales = scratch.pixel(row * (count + 1) + count);
        // SAFETY: the stretches divide the pixels among themselves; nobody writes scales any more.
        unsafe {
            (run.kernels.normalise)(&Normalise {
                x: x.pixel(at),
                ld: x.ld,
                out: out.pixel(at),
                out_ld: out.ld,
                pixels: count_of,
                channels: c,
                mean: scales,
                factor: scales.add(c),
                shift: norm.bias.as_ptr(),
                silu,
            });
            finish_in_place(run, out, at, count_of, posts);
        }
    });
}

/// From the sums of the chunks, the mean and the factor of each channel. `scales` has both, side by side.
fn scales_of<'a>(
    norm: &Norm,
    groups: usize,
    pixels: usize,
    shift: &[f32],
    chunks: impl Iterator<Item = &'a [f32]> + Clone,
    scales: &mut [f32],
) {
    let (c, count) = (shift.len(), pixels as f64);
    let wide = c / groups;
    for group in 0..groups {
        let channels = group * wide..(group + 1) * wide;
        let of = |channel: usize| {
            let sums = chunks.clone().fold((0.0, 0.0), |(sum, square), chunk| {
                (sum + f64::from(chunk[channel]), square + f64::from(chunk[c + channel]))
            });
            let mean = sums.0 / count;
            (f64::from(shift[channel]) + mean, (sums.1 - sums.0 * mean).max(0.0))
        };
        let mut total = 0.0;
        for channel in channels.clone() {
            total += of(channel).0;
        }
        let mean = total / wide as f64;
        let mut squares = 0.0;
        for channel in channels.clone() {
            let (own, square) = of(channel);
            squares += square + count * (own - mean) * (own - mean);
        }
        let factor = 1.0 / (squares / (count * wide as f64) + f64::from(norm.eps)).sqrt();
        for channel in channels {
            scales[channel] = mean as f32;
            scales[c + channel] = (f64::from(norm.weight[channel]) * factor) as f32;
        }
    }
}

/// Normalises the channels of each pixel.
pub(super) fn layer_norm(run: &Run<'_>, norm: &Norm, [x, out]: [Span; 2], posts: &[PostAt]) {
    let pixels = x.shape.pixels();
    each_stretch(run, x.shape, |row, first, count| {
        let at = row * pixels + first;
        // SAFETY: the stretches divide the pixels among themselves.
        unsafe {
            (run.kernels.layer_norm)(&LayerNorm {
                x: x.pixel(at),
                ld: x.ld,
                out: out.pixel(at),
                out_ld: out.ld,
                pixels: count,
                channels: x.shape.c,
                weight: norm.weight.as_ptr(),
                bias: norm.bias.as_ptr(),
                eps: norm.eps,
            });
            finish_in_place(run, out, at, count, posts);
        }
    });
}

/// Does the posts alone.
pub(super) fn pointwise(run: &Run<'_>, x: Span, out: Span, posts: &[PostAt]) {
    let pixels = x.shape.pixels();
    each_stretch(run, x.shape, |row, first, count| {
        let at = row * pixels + first;
        let (from, from_ld) = (x.pixel(at).cast_const(), x.ld);
        // SAFETY: the stretches divide the pixels among themselves.
        unsafe { finish_from(run, from, from_ld, out, at, count, posts) };
    });
}

/// # Safety
///
/// Nobody else uses these pixels of `out`.
unsafe fn finish_in_place(run: &Run<'_>, out: Span, first: usize, count: usize, posts: &[PostAt]) {
    if !posts.is_empty() {
        // SAFETY: the caller's promise.
        unsafe { finish_from(run, out.pixel(first), out.ld, out, first, count, posts) };
    }
}

/// # Safety
///
/// `from` has as many pixels and channels as are written, and nobody else uses these pixels of `out`.
unsafe fn finish_from(
    run: &Run<'_>,
    from: *const f32,
    from_ld: usize,
    out: Span,
    first: usize,
    rows: usize,
    posts: &[PostAt],
) {
    let (to, out_ld, cols) = (out.pixel(first), out.ld, out.shape.c);
    // SAFETY: the caller's promise; operands have the shape of `out` by the plan.
    unsafe {
        (run.kernels.finish)(&Finish {
            from,
            from_ld,
            spare: std::ptr::null_mut(),
            out: to,
            out_ld,
            rows,
            cols,
            first_pixel: first,
            pixel_step: 1,
            first_channel: 0,
            posts,
        });
    }
}

/// Calls `f(row, first pixel, pixels)` for stretches that fit into the first cache, some of them in each piece of work.
pub(super) fn each_stretch(run: &Run<'_>, shape: Shape, f: impl Fn(usize, usize, usize) + Sync) {
    const STRETCHES: usize = 8;
    let pixels = shape.pixels();
    let stretch = (CACHED / shape.c.max(1)).clamp(1, pixels.max(1));
    let piece = stretch * STRETCHES;
    let pieces = pixels.div_ceil(piece);
    run.pieces(shape.n * pieces, &|i, _| {
        let (row, start) = (i / pieces, i % pieces * piece);
        let end = (start + piece).min(pixels);
        for first in (start..end).step_by(stretch) {
            f(row, first, stretch.min(end - first));
        }
    });
}

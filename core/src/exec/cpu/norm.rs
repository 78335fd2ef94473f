//! Group norm and layer norm.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use std::sync::Arc;

use dreamframe_kernels::{Convert, LayerNorm, Moments, Normalise, PostAt};

use super::pointwise::{finish_in_place, for_each_block};
use super::run::Run;
use super::span::{Aligned, Span};
use crate::net::{Activation, Shape};

/// Pixels that are summed in `f32` before their sums are added in `f64`; more for long rows, so that a row has at
/// most [`MAX_CHUNKS`].
const CHUNK: usize = 128;
const MAX_CHUNKS: usize = 64;

/// The parameters of a norm.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Arc<Aligned>,
    pub(super) bias: Arc<Aligned>,
    pub(super) eps: f32,
}

/// Returns the pixels per chunk, and the number of chunks.
fn chunks(shape: Shape) -> (usize, usize) {
    let pixels = shape.pixels();
    let chunk = CHUNK.max(pixels.div_ceil(MAX_CHUNKS));
    (chunk, pixels.div_ceil(chunk))
}

/// Returns the elements of scratch memory of a group norm.
pub(super) fn group_norm_scratch(shape: Shape) -> usize {
    shape.n * (chunks(shape).1 + 1) * 2 * shape.c
}

/// Normalizes groups of channels over the pixels of each row: computes sums of chunks, then mean and variance, then the
/// normalized elements.
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
    let scratch = Span::of_f32(scratch, Shape::new(n, count + 1, 1, 2 * c));
    run.pieces(n * count, &|piece, _| {
        let (row, first) = (piece / count, piece % count * chunk);
        let sums = scratch.pixel(row * (count + 1) + piece % count).cast::<f32>();
        let some = chunk.min(pixels - first);
        // SAFETY: sums of this chunk are this piece's; the shift is the row's first pixel.
        unsafe {
            (run.kernels.moments)(&Moments {
                x: x.pixel(row * pixels + first),
                ld: x.ld,
                pixels: some,
                channels: c,
                shift: x.pixel(row * pixels),
                sums,
                squares: sums.add(c),
            });
        }
    });
    for row in 0..n {
        let scales = scratch.pixel(row * (count + 1) + count).cast::<f32>();
        // SAFETY: no piece runs between the two jobs; the last entry of a row has twice as many elements as channels.
        let scales = unsafe { std::slice::from_raw_parts_mut(scales, 2 * c) };
        // The means replace the shift, which is no longer needed.
        let shift = Convert { from: x.pixel(row * pixels), to: scales.as_mut_ptr().cast(), len: c };
        // SAFETY: a pixel has as many channels.
        unsafe { (run.kernels.load)(&shift) };
        // SAFETY: as above.
        let sums = (0..count).map(|chunk| unsafe { scratch.read_f32(row * (count + 1) + chunk) });
        scales_of(norm, groups, pixels, sums, scales);
    }
    // SiLU is applied with the scaling, other posts while the elements are in the cache.
    let silu = posts.first() == Some(&PostAt::Activate(Activation::Silu));
    let posts = &posts[usize::from(silu)..];
    for_each_block(run, x.shape, |row, first, count_of| {
        let at = row * pixels + first;
        let scales = scratch.pixel(row * (count + 1) + count).cast::<f32>();
        // SAFETY: the blocks have disjoint pixels; nothing writes scales any more.
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
                shift: norm.bias.elements().as_ptr(),
                silu,
            });
            finish_in_place(run, out, at, count_of, posts);
        }
    });
}

/// Computes mean and factor of each channel from the sums of the chunks. `scales` receives both, side by side. On entry
/// it has, in place of the means, the shift that was subtracted from each channel before summing.
fn scales_of<'a>(
    norm: &Norm,
    groups: usize,
    pixels: usize,
    chunks: impl Iterator<Item = &'a [f32]> + Clone,
    scales: &mut [f32],
) {
    let (c, count) = (scales.len() / 2, pixels as f64);
    let wide = c / groups;
    let weight = norm.weight.elements::<f32>();
    for group in 0..groups {
        let channels = group * wide..(group + 1) * wide;
        let of = |shift: &[f32], channel: usize| {
            let sums = chunks.clone().fold((0.0, 0.0), |(sum, square), chunk| {
                (sum + f64::from(chunk[channel]), square + f64::from(chunk[c + channel]))
            });
            let mean = sums.0 / count;
            (f64::from(shift[channel]) + mean, (sums.1 - sums.0 * mean).max(0.0))
        };
        let mut total = 0.0;
        for channel in channels.clone() {
            total += of(scales, channel).0;
        }
        let mean = total / wide as f64;
        let mut squares = 0.0;
        for channel in channels.clone() {
            let (own, square) = of(scales, channel);
            squares += square + count * (own - mean) * (own - mean);
        }
        let factor = 1.0 / (squares / (count * wide as f64) + f64::from(norm.eps)).sqrt();
        for channel in channels {
            scales[channel] = mean as f32;
            scales[c + channel] = (f64::from(weight[channel]) * factor) as f32;
        }
    }
}

/// Normalizes the channels of each pixel.
pub(super) fn layer_norm(run: &Run<'_>, norm: &Norm, [x, out]: [Span; 2], posts: &[PostAt]) {
    let pixels = x.shape.pixels();
    for_each_block(run, x.shape, |row, first, count| {
        let at = row * pixels + first;
        // SAFETY: the blocks have disjoint pixels.
        unsafe {
            (run.kernels.layer_norm)(&LayerNorm {
                x: x.pixel(at),
                ld: x.ld,
                out: out.pixel(at),
                out_ld: out.ld,
                pixels: count,
                channels: x.shape.c,
                weight: norm.weight.elements().as_ptr(),
                bias: norm.bias.elements().as_ptr(),
                eps: norm.eps,
            });
            finish_in_place(run, out, at, count, posts);
        }
    });
}

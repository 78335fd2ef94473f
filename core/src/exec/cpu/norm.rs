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
/// Channels of the smallest piece of a chunk: whole cache lines, several vectors of each instruction set.
const FEWEST_CHANNELS: usize = 64;
/// Sums of chunks in the smallest piece of the work between the two passes: about 10 microseconds.
const FEWEST_SUMS: usize = 4096;

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
    let count = chunks(x.shape).1;
    let scratch = Span::of_f32(scratch, Shape::new(n, count + 1, 1, 2 * c));
    sum_chunks(run, x, scratch);
    scale_groups(run, norm, groups, x, scratch);
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

/// Computes the sum and the sum of squares of each channel of each chunk.
fn sum_chunks(run: &Run<'_>, x: Span, scratch: Span) {
    let Shape { n, c, .. } = x.shape;
    let pixels = x.shape.pixels();
    let (chunk, count) = chunks(x.shape);
    let wide = run.items(c, [FEWEST_CHANNELS, c], n * count);
    let parts = c.div_ceil(wide);
    run.pieces(n * count * parts, &|piece, _| {
        let (row, index, channel) = (piece / (count * parts), piece / parts % count, piece % parts * wide);
        let sums = scratch.channel(row * (count + 1) + index, channel).cast::<f32>();
        // SAFETY: sums of these channels of this chunk are this piece's; the shift is the row's first pixel.
        unsafe {
            (run.kernels.moments)(&Moments {
                x: x.channel(row * pixels + index * chunk, channel),
                ld: x.ld,
                pixels: chunk.min(pixels - index * chunk),
                channels: wide.min(c - channel),
                shift: x.channel(row * pixels, channel),
                sums,
                squares: sums.add(c),
            });
        }
    });
}

/// Computes mean and factor of each channel of each row from the sums of its chunks.
fn scale_groups(run: &Run<'_>, norm: &Norm, groups: usize, x: Span, scratch: Span) {
    let Shape { n, c, .. } = x.shape;
    let pixels = x.shape.pixels();
    let (count, wide) = (chunks(x.shape).1, c / groups);
    let each = run.items(groups, [FEWEST_SUMS.div_ceil(count * wide).min(groups), groups], n);
    let parts = groups.div_ceil(each);
    run.pieces(n * parts, &|piece, _| {
        let (row, first) = (piece / parts, piece % parts * each);
        for group in first..(first + each).min(groups) {
            let channels = group * wide..(group + 1) * wide;
            let scales = scratch.channel(row * (count + 1) + count, channels.start).cast::<f32>();
            // SAFETY: the last entry of a row has twice as many elements as channels, and each piece has its own
            // channels.
            let scales = [scales, scales.wrapping_add(c)].map(|at| unsafe { std::slice::from_raw_parts_mut(at, wide) });
            // The means replace the shift, which is no longer needed.
            let (from, to) = (x.channel(row * pixels, channels.start), scales[0].as_mut_ptr().cast());
            // SAFETY: a pixel has these channels.
            unsafe { (run.kernels.load)(&Convert { from, to, len: wide }) };
            // SAFETY: the sums of all chunks are done.
            let sums = (0..count).map(|chunk| unsafe { scratch.read_f32(row * (count + 1) + chunk) });
            let sums = sums.map(|sums| [&sums[channels.clone()], &sums[c..][channels.clone()]]);
            scales_of(&norm.weight.elements()[channels.clone()], scales, [f64::from(norm.eps), pixels as f64], sums);
        }
    });
}

/// Computes mean and factor of each channel of a group from the sums and sums of squares of the chunks. On entry,
/// `means` has the shift that was subtracted from each channel before summing.
fn scales_of<'a>(
    weight: &[f32],
    [means, factors]: [&mut [f32]; 2],
    [eps, count]: [f64; 2],
    chunks: impl Iterator<Item = [&'a [f32]; 2]> + Clone,
) {
    let wide = means.len() as f64;
    let of = |shift: &[f32], channel: usize| {
        let sums = chunks.clone().fold((0.0, 0.0), |(sum, square), [sums, squares]| {
            (sum + f64::from(sums[channel]), square + f64::from(squares[channel]))
        });
        let mean = sums.0 / count;
        (f64::from(shift[channel]) + mean, (sums.1 - sums.0 * mean).max(0.0))
    };
    let mut total = 0.0;
    for channel in 0..means.len() {
        total += of(means, channel).0;
    }
    let mean = total / wide;
    let mut squares = 0.0;
    for channel in 0..means.len() {
        let (own, square) = of(means, channel);
        squares += square + count * (own - mean) * (own - mean);
    }
    let factor = 1.0 / (squares / (count * wide) + eps).sqrt();
    means.fill(mean as f32);
    factors.iter_mut().zip(weight).for_each(|(to, weight)| *to = (f64::from(*weight) * factor) as f32);
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

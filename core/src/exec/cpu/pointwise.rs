//! Elementwise operations, after another operation or alone, on blocks that fit into the L1 cache.

#![allow(unsafe_code, reason = "hands addresses to micro-kernels")]

use dreamframe_kernels::{Finish, PostAt};

use super::run::Run;
use super::span::Span;
use crate::net::Shape;

/// Elements of a block that is processed several times: it fits into the L1 cache.
const CACHED: usize = 4096;

/// Applies posts alone.
pub(super) fn pointwise(run: &Run<'_>, x: Span, out: Span, posts: &[PostAt]) {
    let alone = !posts.iter().any(|post| matches!(post, PostAt::Add { .. }));
    let (x, out) = if alone && run.region.is_none() { flattened(x, out) } else { (x, out) };
    let pixels = x.shape.pixels();
    for_each_block(run, x.shape, |row, first, count| {
        let at = row * pixels + first;
        // SAFETY: the blocks have disjoint pixels.
        unsafe { finish_from(run, x, out, at, count, posts) };
    });
}

/// # Safety
///
/// No other thread accesses these pixels of `out`.
pub(super) unsafe fn finish_in_place(run: &Run<'_>, out: Span, first: usize, count: usize, posts: &[PostAt]) {
    if !posts.is_empty() {
        // SAFETY: guaranteed by the caller.
        unsafe { finish_from(run, out, out, first, count, posts) };
    }
}

/// # Safety
///
/// `from` has as many pixels and channels as are written, and no other thread accesses these pixels of `out`.
unsafe fn finish_from(run: &Run<'_>, from: Span, out: Span, first: usize, rows: usize, posts: &[PostAt]) {
    // SAFETY: guaranteed by the caller; operands have the shape of `out` by the plan.
    unsafe {
        (run.kernels.finish)(&Finish {
            from: from.pixel(first),
            from_ld: from.ld,
            from_sums: false,
            out: out.pixel(first),
            out_ld: out.ld,
            rows,
            cols: out.shape.c,
            first_pixel: first,
            pixel_step: 1,
            first_channel: 0,
            posts,
        });
    }
}

/// Reshapes both values to fewer pixels with more channels if they are contiguous, since images have few channels and
/// vectors many lanes.
pub(super) fn flattened(x: Span, out: Span) -> (Span, Span) {
    const MOST: usize = 256;
    let Shape { n, h, w, c } = x.shape;
    if x.shape != out.shape || x.ld != c || out.ld != c {
        return (x, out);
    }
    // The largest number of whole pixels that divides a row.
    let together = (1..=(MOST / c.max(1)).max(1)).rev().find(|&together| (h * w).is_multiple_of(together)).unwrap_or(1);
    let shape = Shape::new(n, 1, h * w / together, c * together);
    let flat = |span: Span| Span::new(span.ptr(), span.size(), shape.c, shape);
    (flat(x), flat(out))
}

/// Calls `f(row, first pixel, pixels)` for blocks that fit into the L1 cache, several of them per piece of work
/// unless the threads need smaller ones; for those of the run's region, if there is one.
pub(super) fn for_each_block(run: &Run<'_>, shape: Shape, f: impl Fn(usize, usize, usize) + Sync) {
    const BLOCKS: usize = 8;
    let pixels = shape.pixels();
    let block = (CACHED / shape.c.max(1)).clamp(1, pixels.max(1));
    if let Some(region) = run.region {
        let lines = run.items(region.y.len(), [1, (BLOCKS * block / region.x.len().max(1)).max(1)], 1);
        return run.pieces(region.y.len().div_ceil(lines), &|i, _| {
            let first = region.y.start + i * lines;
            for y in first..(first + lines).min(region.y.end) {
                for x in region.x.clone().step_by(block) {
                    f(0, y * shape.w + x, block.min(region.x.end - x));
                }
            }
        });
    }
    let piece = run.items(pixels, [block, block * BLOCKS], shape.n);
    let pieces = pixels.div_ceil(piece);
    run.pieces(shape.n * pieces, &|i, _| {
        let (row, start) = (i / pieces, i % pieces * piece);
        let end = (start + piece).min(pixels);
        for first in (start..end).step_by(block) {
            f(row, first, block.min(end - first));
        }
    });
}

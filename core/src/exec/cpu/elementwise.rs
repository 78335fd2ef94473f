//! Steps that copy or convert elements, and others without a kernel.

#![allow(unsafe_code, reason = "reads and writes values that threads share")]

use dreamframe_kernels::{Convert, Geglu, ToBytes};

use super::pointwise::{flattened, for_each_block};
use super::run::Run;
use super::span::Span;
use crate::error::{Error, ErrorKind, Result};
use crate::net::bytes::ByteScale;

/// Multiplies the first half of the channels by the GELU of the second.
pub(super) fn geglu(run: &Run<'_>, x: Span, out: Span) {
    let pixels = x.shape.pixels();
    let half = out.shape.c;
    for_each_block(run, x.shape, |row, first, rows| {
        let at = row * pixels + first;
        let (value, gate, ld, from_sums) = (x.pixel(at).cast_const(), x.channel(at, half).cast_const(), x.ld, false);
        let (to, out_ld) = (out.pixel(at), out.ld);
        // SAFETY: the blocks have disjoint pixels; nothing writes `x`.
        unsafe {
            (run.kernels.geglu)(&Geglu { value, gate, ld, from_sums, out: to, out_ld, rows, cols: half });
        }
    });
}

/// Copies `x` to the channels of `out` from `start` on.
pub(super) fn copy(run: &Run<'_>, x: Span, out: Span, start: usize) {
    let pixels = x.shape.pixels();
    for_each_block(run, x.shape, |row, first, count| {
        for at in row * pixels + first..row * pixels + first + count {
            // SAFETY: the blocks have disjoint pixels; nothing writes `x`.
            let (from, to) = unsafe { (x.read(at), out.write(at)) };
            to[start * x.size()..][..from.len()].copy_from_slice(from);
        }
    });
}

/// Quantizes elements to bytes, with contiguous pixels.
pub(super) fn to_bytes(run: &Run<'_>, x: Span, out: Span, scale: ByteScale) -> Result<()> {
    let bytes = run
        .kernels
        .bytes
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the instruction set has no kernels for int8"))?;
    let (pixels, ld, channels) = (x.shape.pixels(), x.ld, x.shape.c);
    let (inverse, zero) = (1.0 / scale.scale(), f32::from(scale.zero()));
    for_each_block(run, x.shape, |row, first, count| {
        let at = row * pixels + first;
        let (from, to) = (x.pixel(at).cast_const(), out.ptr().wrapping_add(at * channels));
        // SAFETY: the blocks have disjoint pixels; nothing writes `x`.
        unsafe { (bytes.to_bytes)(&ToBytes { x: from, ld, to, pixels: count, channels, inverse, zero }) }
    });
    Ok(())
}

/// Repeats every pixel twice in both directions.
pub(super) fn upsample(run: &Run<'_>, x: Span, out: Span) {
    let (w, wide) = (x.shape.w, out.shape.w);
    let (columns, lines) = match run.region {
        Some(region) => (region.x.clone(), region.y.clone()),
        None => (0..wide, 0..out.shape.n * out.shape.h),
    };
    run.pieces(lines.len(), &|line, _| {
        let line = lines.start + line;
        let (row, y) = (line / out.shape.h, line % out.shape.h);
        for column in columns.clone() {
            // SAFETY: lines have disjoint pixels; nothing writes `x`.
            unsafe {
                let from = x.read((row * x.shape.h + y / 2) * w + column / 2);
                out.write(line * wide + column).copy_from_slice(from);
            }
        }
    });
}

/// Converts between `f32` and the storage format, as `convert` does. Pixels are contiguous in both.
pub(super) fn convert(run: &Run<'_>, x: Span, out: Span, convert: unsafe fn(&Convert)) {
    let (x, out) = if run.region.is_none() { flattened(x, out) } else { (x, out) };
    let pixels = x.shape.pixels();
    for_each_block(run, x.shape, |row, first, count| {
        let at = row * pixels + first;
        for pixel in at..at + count {
            // SAFETY: the blocks have disjoint pixels; nothing writes `x`.
            unsafe { convert(&Convert { from: x.pixel(pixel), to: out.pixel(pixel), len: x.shape.c }) };
        }
    });
}

/// Looks up rows of a table by index.
pub(super) fn embed(ids: Span, out: Span, table: &[u8]) -> Result<()> {
    let len = out.shape.c * out.size();
    for at in 0..ids.pixels() {
        // SAFETY: one thread; nothing writes `ids`, which are `f32`s.
        let (id, to) = unsafe { (ids.read_f32(at)[0], out.write(at)) };
        let entry = to_integer(id, table.len() / len, "token id")?;
        to.copy_from_slice(&table[entry * len..][..len]);
    }
    Ok(())
}

/// Selects the token `index` of each row.
pub(super) fn take_token(x: Span, index: Span, out: Span) -> Result<()> {
    let tokens = x.shape.pixels();
    for row in 0..x.shape.n {
        // SAFETY: one thread; nothing writes `x` and `index`.
        unsafe {
            let token = to_integer(index.read_f32(row)[0], tokens, "token index")?;
            out.write(row).copy_from_slice(x.read(row * tokens + token));
        }
    }
    Ok(())
}

/// Converts an `f32` to an integer below `bound`.
fn to_integer(x: f32, bound: usize, what: &str) -> Result<usize> {
    if x >= 0.0 && x.fract() == 0.0 && (x as usize) < bound {
        return Ok(x as usize);
    }
    Err(Error::new(ErrorKind::InvalidArgument, format!("{what}: got {x}, expected a whole number below {bound}")))
}

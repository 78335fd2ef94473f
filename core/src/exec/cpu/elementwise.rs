//! Steps that move numbers, and the few that no kernel is needed for.

#![allow(unsafe_code, reason = "reads and writes values that threads share")]

use super::kernel::Geglu;
use super::network::Run;
use super::norm::each_stretch;
use super::span::Span;
use crate::error::{Error, ErrorKind, Result};

/// The first half of the channels times the GELU of the second.
pub(super) fn geglu(run: &Run<'_>, x: Span, out: Span) {
    let pixels = x.shape.pixels();
    let half = out.shape.c;
    each_stretch(run, x.shape, |row, first, rows| {
        let at = row * pixels + first;
        let value = x.pixel(at).cast_const();
        // SAFETY: the stretches divide the pixels among themselves; nobody writes `x`.
        unsafe {
            let gate = value.add(half);
            (run.kernels.geglu)(&Geglu { value, gate, ld: x.ld, out: out.pixel(at), out_ld: out.ld, rows, cols: half });
        }
    });
}

/// Copies `x` to the channels of `out` from `start` on.
pub(super) fn copy(run: &Run<'_>, x: Span, out: Span, start: usize) {
    let pixels = x.shape.pixels();
    each_stretch(run, x.shape, |row, first, count| {
        for at in row * pixels + first..row * pixels + first + count {
            // SAFETY: the stretches divide the pixels among themselves; nobody writes `x`.
            let (from, to) = unsafe { (x.read(at), out.write(at)) };
            to[start..start + from.len()].copy_from_slice(from);
        }
    });
}

/// Repeats every pixel into two by two.
pub(super) fn upsample(run: &Run<'_>, x: Span, out: Span) {
    let (w, wide) = (x.shape.w, out.shape.w);
    run.pieces(out.shape.n * out.shape.h, &|line, _| {
        let (row, y) = (line / out.shape.h, line % out.shape.h);
        for column in 0..wide {
            // SAFETY: lines divide the pixels among themselves; nobody writes `x`.
            unsafe {
                let from = x.read((row * x.shape.h + y / 2) * w + column / 2);
                out.write(line * wide + column).copy_from_slice(from);
            }
        }
    });
}

/// Adds the first tokens of a table to every row.
pub(super) fn add_table(run: &Run<'_>, x: Span, out: Span, table: &[f32]) {
    let (pixels, c) = (x.shape.pixels(), x.shape.c);
    each_stretch(run, x.shape, |row, first, count| {
        for token in first..first + count {
            // SAFETY: the stretches divide the pixels among themselves; nobody writes `x`.
            let (from, to) = unsafe { (x.read(row * pixels + token), out.write(row * pixels + token)) };
            for ((to, from), add) in to.iter_mut().zip(from).zip(&table[token * c..][..c]) {
                *to = from + add;
            }
        }
    });
}

/// Rows of a table, by number.
pub(super) fn embed(ids: Span, out: Span, table: &[f32]) -> Result<()> {
    let c = out.shape.c;
    for at in 0..ids.pixels() {
        // SAFETY: one thread; nobody writes `ids`.
        let (id, to) = unsafe { (ids.read(at)[0], out.write(at)) };
        let entry = whole(id, table.len() / c, "token id")?;
        to.copy_from_slice(&table[entry * c..][..c]);
    }
    Ok(())
}

/// Of each row the token that `index` names.
pub(super) fn take_token(x: Span, index: Span, out: Span) -> Result<()> {
    let tokens = x.shape.pixels();
    for row in 0..x.shape.n {
        // SAFETY: one thread; nobody writes `x` and `index`.
        unsafe {
            let token = whole(index.read(row)[0], tokens, "token index")?;
            out.write(row).copy_from_slice(x.read(row * tokens + token));
        }
    }
    Ok(())
}

/// A whole number below `bound` out of an `f32`.
fn whole(x: f32, bound: usize, what: &str) -> Result<usize> {
    if x >= 0.0 && x.fract() == 0.0 && (x as usize) < bound {
        return Ok(x as usize);
    }
    Err(Error::new(ErrorKind::InvalidArgument, format!("{what} {x} must be a whole number below {bound}")))
}

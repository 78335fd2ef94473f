//! Random programs, for tests.

use super::builder::broadcasts;
use super::{Activation, Padding, ProgramBuilder, Rate, Shape, ValueId};

/// Builds a program of `len` random operations; `pick(n)` returns a number below `n`.
pub(crate) fn random_program(len: usize, pick: &mut dyn FnMut(usize) -> usize) -> ProgramBuilder {
    let mut b = ProgramBuilder::new("random");
    let shape = Shape::new(1 + pick(2), 2 + pick(4), 2 + pick(4), 2 * (1 + pick(12)));
    let mut values = vec![
        b.input("x", shape, Rate::Frame),
        b.input("y", shape, Rate::Frame),
        b.input("c", Shape::vector(shape.n, shape.c), Rate::Constant),
        b.input("d", shape, Rate::Constant),
        b.input("e", Shape::vector(1, shape.c), Rate::Constant),
    ];
    for i in 0..len {
        // Prefers recent values, so that chains of operations grow long.
        let x = values[values.len() - 1 - pick(values.len().min(4))];
        let other = values[pick(values.len())];
        let name = format!("w{i}");
        let s = b.shape(x);
        let y = match pick(17) {
            0 | 1 => b.conv2d(&name, x, s.c, 1, 1, Padding::all(0), false, true),
            2 | 3 => b.conv3x3(&name, x, shape.c),
            4 => b.linear(&name, x, 2 * s.c, pick(2) == 0),
            5 => b.group_norm(&name, x, 2, 1e-3),
            6 => b.layer_norm(&name, x, 1e-3),
            7 => b.silu(x),
            8 => image(&mut b, x, pick(6), &name),
            9 => b.affine(x, 0.5, 0.25),
            10 if s.c.is_multiple_of(4) && s.c > 4 => b.geglu(x),
            11 if s.c > 4 => b.slice(x, 2, s.c / 4 * 2),
            12 if s.pixels() < 40 => b.upsample(x),
            13 => b.attention([x, x, x], 2, pick(2) == 0, (0..s.n).map(|row| (row + pick(2)) % s.n).collect()),
            14 if (s.n, s.h, s.w) == (b.shape(other).n, b.shape(other).h, b.shape(other).w) && s.c < 80 => {
                b.concat(x, other)
            }
            15 => add(&mut b, x, other),
            _ => mul(&mut b, x, other),
        };
        values.push(y);
    }
    let outputs = 1 + pick(3);
    for i in 0..outputs {
        let value = if i == 0 { values[values.len() - 1] } else { values[pick(values.len())] };
        b.output(format!("out{i}"), value);
    }
    b
}

/// Adds a random operation on pixels.
fn image(b: &mut ProgramBuilder, x: ValueId, which: usize, name: &str) -> ValueId {
    let s = b.shape(x);
    match which {
        0 => b.max_pool(x),
        1 if s.h > 1 && s.w > 1 && s.pixels() < 60 => b.reflect(x, 1),
        2 => b.depthwise(name, x, 3, 1, Padding::all(1), true),
        3 => b.resize(x, s.w, s.h, s.c > 8),
        4 => {
            let gate = b.activate(x, Activation::SoftClamp { limit: 1.0 });
            b.mul(x, gate)
        }
        _ => b.activate(x, Activation::Relu),
    }
}

fn add(b: &mut ProgramBuilder, x: ValueId, other: ValueId) -> ValueId {
    if broadcasts(b.shape(other), b.shape(x)) { b.add(x, other) } else { b.affine(x, -1.0, 0.0) }
}

/// Multiplies by a bounded value, so that products of many values stay finite.
fn mul(b: &mut ProgramBuilder, x: ValueId, other: ValueId) -> ValueId {
    if !broadcasts(b.shape(other), b.shape(x)) {
        return b.affine(x, -1.0, 0.0);
    }
    let factor = b.activate(other, Activation::SoftClamp { limit: 1.0 });
    b.mul(x, factor)
}

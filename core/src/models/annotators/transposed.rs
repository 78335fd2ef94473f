//! Transposed convolutions of side 4, step 2 and padding 1, as convolutions of side 2: each for one of the four pixels
//! that one becomes.

use super::derived::Derived;
use crate::error::Result;
use crate::net::{Padding, ProgramBuilder, ValueId, elements};

/// The side of the kernel.
const SIDE: usize = 4;

/// Returns the transposed convolution `name` of `x`, twice as large.
pub(super) fn transposed(b: &mut ProgramBuilder, name: &str, x: ValueId, channels: usize) -> ValueId {
    let mut part = |part: usize| {
        let (lower, right) = (part / 2, part % 2);
        let padding = Padding { top: 1 - lower, left: 1 - right, bottom: lower, right };
        b.conv2d(&format!("{name}.{part}"), x, channels, 2, 1, padding, false, true)
    };
    let [upper, lower] = [[part(0), part(1)], [part(2), part(3)]].map(|[left, right]| b.concat(left, right));
    let all = b.concat(upper, lower);
    b.depth_to_space(all, 2)
}

/// Adds the weights of the transposed convolution `name` of a program, which is `theirs` in the file. The program has
/// the output channels `kept` of the file's, in this order, of `all`.
pub(super) fn transposed_weights(weights: &mut Derived, name: &str, theirs: &str, kept: &[usize], all: usize) {
    for part in 0..SIDE {
        let (own, file_name) = (kept.to_vec(), format!("{theirs}.bias"));
        weights.rule(format!("{name}.{part}.bias"), move |file, _| {
            let biases = file.read(&file_name, &[all])?;
            Ok(own.iter().filter_map(|&channel| biases.get(channel).copied()).collect())
        });
        let (own, file_name) = (kept.to_vec(), format!("{theirs}.weight"));
        weights.rule(format!("{name}.{part}.weight"), move |file, shape| {
            let c_in = shape[1];
            quarter(&file.read(&file_name, &[c_in, all, SIDE, SIDE])?, [c_in, all], &own, part)
        });
    }
}

/// Returns the part of a transposed convolution that computes one of four pixels: of `[c_in, c_out, 4, 4]`,
/// `[kept, c_in, 2, 2]`.
fn quarter(numbers: &[f32], [c_in, c_out]: [usize; 2], kept: &[usize], part: usize) -> Result<Vec<f32>> {
    // Which tap a pixel sees the two pixels next to it through, in one direction; by which of two it is.
    const SEEN: [[usize; 2]; 2] = [[3, 1], [2, 0]];
    let mut out = elements::with_capacity(SIDE * c_in * kept.len())?;
    for output in kept {
        for input in 0..c_in {
            let taps = &numbers[(input * c_out + output) * SIDE * SIDE..][..SIDE * SIDE];
            for y in SEEN[part / 2] {
                out.extend(SEEN[part % 2].map(|x| taps[SIDE * y + x]));
            }
        }
    }
    Ok(out)
}

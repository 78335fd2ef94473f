//! The motion between two pictures: optical flow of both directions, at a reduced size.

use crate::error::Result;
use crate::preprocess::{DenseFlow, FlowSource, Image, Interpolation, Resizer, sample};

/// The shorter side at which motion is estimated, in pixels.
const SIDE: usize = 128;
/// The difference of two pixels, of values in 0..1, up to which a flow is not improved.
const GOOD: f32 = 0.02;
/// How much smaller the difference of another flow must be, so that unclear pixels keep theirs.
const BETTER: f32 = 0.8;

/// The motion between two pictures, with its scratch memory.
#[derive(Debug, Default)]
pub(super) struct Motion {
    source: DenseFlow,
    resizer: Resizer,
    /// Both pictures at the reduced size, the older one first.
    small: [Image; 2],
    /// For each of the two, where its pixels are in the other: `[height, width, 2]`, in pixels of the reduced size.
    flows: [Image; 2],
    /// For each of the two, how much its pixels differ from those of the other at these places: `[height, width, 1]`.
    errors: [Image; 2],
}

impl Motion {
    /// Estimates the motion between two pictures of the same size, and returns the mean difference of a value, in 0..1,
    /// that it leaves.
    ///
    /// # Errors
    ///
    /// Those of the flow.
    pub(super) fn estimate(&mut self, older: &Image, newer: &Image) -> Result<f32> {
        let size = reduced((older.width(), older.height()));
        for (small, image) in self.small.iter_mut().zip([older, newer]) {
            self.resizer.resize(Interpolation::Area, image, size, small);
        }
        let mut total = 0.0;
        for way in 0..2 {
            let (from, to) = (&self.small[way], &self.small[1 - way]);
            let (flow, errors) = (&mut self.flows[way], &mut self.errors[way]);
            self.source.flow(from, to, flow)?;
            measure(from, to, flow, errors);
            total += mean(errors);
            spread(from, to, flow, errors);
        }
        Ok(total / 2.0)
    }

    /// Returns the flow of the older picture, and that of the newer one.
    pub(super) fn flows(&self) -> &[Image; 2] {
        &self.flows
    }

    /// Returns the differences that the two flows leave.
    pub(super) fn errors(&self) -> &[Image; 2] {
        &self.errors
    }
}

/// Returns the size at which the motion of pictures of a size is estimated.
fn reduced((width, height): (usize, usize)) -> (usize, usize) {
    let scale = (SIDE as f64 / width.min(height).max(1) as f64).min(1.0);
    let side = |side: usize| ((side as f64 * scale) as usize).max(1);
    (side(width), side(height))
}

fn mean(image: &Image) -> f32 {
    // In `f64`, so that the sum of many pixels is exact enough.
    let sum: f64 = image.pixels().iter().map(|&value| f64::from(value)).sum();
    (sum / image.pixels().len().max(1) as f64) as f32
}

/// Returns how much a pixel and its four neighbours differ from those at a distance of `flow`, as the mean of all values.
fn difference(from: &Image, to: &Image, (x, y): (usize, usize), [u, v]: [f32; 2]) -> f32 {
    let (width, height) = (from.width(), from.height());
    let pixels = from.pixels().as_chunks::<3>().0;
    let around = [
        (x, y),
        (x.saturating_sub(1), y),
        ((x + 1).min(width - 1), y),
        (x, y.saturating_sub(1)),
        (x, (y + 1).min(height - 1)),
    ];
    let mut sum = 0.0;
    for (x, y) in around {
        let own = pixels.get(y * width + x).copied().unwrap_or_default();
        let other = sample::<3>(to, x as f32 + u, y as f32 + v);
        sum += (0..3).map(|i| (own[i] - other[i]).abs()).sum::<f32>();
    }
    sum / 15.0
}

/// Writes the difference that a flow leaves at each pixel.
fn measure(from: &Image, to: &Image, flow: &Image, errors: &mut Image) {
    let width = from.width();
    errors.resize(width, from.height(), 1);
    for (place, (error, flow)) in errors.pixels_mut().iter_mut().zip(flow.pixels().as_chunks::<2>().0).enumerate() {
        *error = difference(from, to, (place % width, place / width), *flow);
    }
}

/// Lets pixels whose flow leaves a difference take the flow of a neighbour, if that leaves less. A flow is smooth; by
/// this it has edges where the objects have theirs. Once from the upper left, and once from the lower right.
fn spread(from: &Image, to: &Image, flow: &mut Image, errors: &mut Image) {
    let (width, height) = (from.width(), from.height());
    let flow = flow.pixels_mut().as_chunks_mut::<2>().0;
    let errors = errors.pixels_mut();
    let mut improve = |x: usize, y: usize, near: [Option<usize>; 2]| {
        let place = y * width + x;
        let (Some(&error), Some(&own)) = (errors.get(place), flow.get(place)) else { return };
        if error <= GOOD {
            return;
        }
        let mut best = (error * BETTER, own);
        let near = near.into_iter().flatten().filter_map(|near| flow.get(near).copied());
        for candidate in near.chain([[0.0; 2]]).filter(|candidate| *candidate != own) {
            let error = difference(from, to, (x, y), candidate);
            if error < best.0 {
                best = (error, candidate);
            }
        }
        if best.1 != own {
            (errors[place], flow[place]) = best;
        }
    };
    for y in 0..height {
        for x in 0..width {
            let place = y * width + x;
            improve(x, y, [(x > 0).then(|| place - 1), (y > 0).then(|| place - width)]);
        }
    }
    for y in (0..height).rev() {
        for x in (0..width).rev() {
            let place = y * width + x;
            improve(x, y, [(x + 1 < width).then(|| place + 1), (y + 1 < height).then(|| place + width)]);
        }
    }
}

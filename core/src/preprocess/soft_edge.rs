//! `soft_edge`: smoothed gradients at three scales, normalized by the maximum of the frame.

use serde_json::{Map, Value};

use super::filter::{Border, Filter, Size, luma};
use super::{Context, Image, Preprocessor};
use crate::error::Result;

/// A gradient filter: a sum of separable kernels, a factor, and the weight of its magnitude.
struct Scale {
    kernels: &'static [(&'static [f32], &'static [f32])],
    factor: f32,
    weight: f32,
}

/// The 3x3 Sobel filter and its 5x5 and 7x7 variants, whose rows are sums of two kernels.
const SCALES: [Scale; 3] = [
    Scale { kernels: &[(&[-1.0, 0.0, 1.0], &[1.0, 2.0, 1.0])], factor: 1.0, weight: 0.5 },
    Scale {
        kernels: &[
            (&[-1.0, -2.0, 0.0, 2.0, 1.0], &[1.0, 0.0, 1.0, 0.0, 1.0]),
            (&[-2.0, -3.0, 0.0, 3.0, 2.0], &[0.0, 1.0, 1.0, 1.0, 0.0]),
        ],
        factor: 1.0 / 16.0,
        weight: 0.3,
    },
    Scale {
        kernels: &[
            (&[-1.0, -2.0, -3.0, 0.0, 3.0, 2.0, 1.0], &[1.0; 7]),
            (&[-1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0], &[0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0]),
        ],
        factor: 1.0 / 32.0,
        weight: 0.2,
    },
];

/// The binomial coefficients, divided by their sum.
const SMOOTH: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

#[derive(Debug, Default)]
pub(super) struct SoftEdge {
    filter: Filter,
    luma: Vec<f32>,
    across: Vec<f32>,
    down: Vec<f32>,
    edges: Vec<f32>,
}

impl SoftEdge {
    /// Adds the weighted magnitude of the gradient at one scale to `edges`.
    fn add_scale(&mut self, scale: &Scale, size: Size) {
        let Self { filter, luma, across, down, edges } = self;
        across.fill(0.0);
        down.fill(0.0);
        for &(slope, smooth) in scale.kernels {
            filter.add(luma, size, (slope, smooth), Border::Zero, across);
            filter.add(luma, size, (smooth, slope), Border::Zero, down);
        }
        for ((edge, across), down) in edges.iter_mut().zip(across.iter()).zip(down.iter()) {
            let (across, down) = (across * scale.factor, down * scale.factor);
            *edge += scale.weight * (across * across + down * down).sqrt();
        }
    }
}

impl Preprocessor for SoftEdge {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        let size = Size { channels: 1, ..input.size() };
        luma(input.pixels(), &mut self.luma);
        for buffer in [&mut self.across, &mut self.down, &mut self.edges] {
            buffer.resize(self.luma.len(), 0.0);
        }
        self.edges.fill(0.0);
        for scale in &SCALES {
            self.add_scale(scale, size);
        }
        self.filter.blur(&self.edges, size, &SMOOTH, Border::Zero, &mut self.across);
        // The small summand avoids a division by zero for a black frame.
        let strongest = self.across.iter().fold(0.0, |max: f32, &edge| max.max(edge)) + 1e-8;
        output.resize(size.width, size.height, 3);
        for (pixel, edge) in output.pixels_mut().as_chunks_mut::<3>().0.iter_mut().zip(&self.across) {
            *pixel = [1.0 / (1.0 + (3.0 - 6.0 * edge / strongest).exp()); 3];
        }
        Ok(())
    }

    fn configure(&mut self, _: &Map<String, Value>) {}
}

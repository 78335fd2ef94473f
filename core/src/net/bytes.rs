//! Quantization of layers to int8: which layers support it, and the quantization parameters of their inputs.
//!
//! An input byte `b` represents `scale * (b - zero)`, one scale and zero point for all of a layer's input. Weights have
//! a scale for each output channel and no zero point. The products are summed in 32-bit integers, so the rounding of
//! inputs and weights is the only error.

use std::collections::{BTreeMap, BTreeSet};

pub use dreamframe_kernels::{ByteScale, weight_bytes};

use super::{Op, OpKind, Padding, Program, ValueId, WeightId};

/// Kernels multiply input channels in groups of four.
const GROUP: usize = 4;
/// Minimum number of input and output channels: with fewer, quantizing the input costs more than it gains.
const MIN_CHANNELS: usize = 32;
/// Maximum number of products in a sum: that many times `255 * 127` is below `2^31`.
const MAX_SUM: usize = i32::MAX as usize / (255 * 127);

/// A layer that can be computed in int8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The weight, which identifies the layer.
    pub weight: WeightId,
    /// The input value.
    pub input: ValueId,
    /// The output value.
    pub output: ValueId,
    /// The side of the kernel.
    pub kernel: usize,
    /// The stride, in pixels.
    pub stride: usize,
    /// The zero padding of the input.
    pub padding: Padding,
    /// Whether the input is first upsampled by two.
    pub upsample: bool,
}

/// Returns the layers of `program` that can be computed in int8: those that run for every frame and have enough
/// channels.
pub fn candidates(program: &Program) -> Vec<Candidate> {
    let of = |op: &Op| {
        let (input, output) = (*op.inputs.first()?, op.output);
        let candidate = match op.kind {
            OpKind::Conv2d { weight, kernel, stride, dilation: 1, padding, upsample, .. } => {
                Candidate { weight, input, output, kernel, stride, padding, upsample }
            }
            OpKind::Linear { weight, .. } => {
                Candidate { weight, input, output, kernel: 1, stride: 1, padding: Padding::all(0), upsample: false }
            }
            OpKind::Conv2d { .. }
            | OpKind::Depthwise { .. }
            | OpKind::Image(_)
            | OpKind::GroupNorm { .. }
            | OpKind::LayerNorm { .. }
            | OpKind::Attention { .. }
            | OpKind::Inject { .. }
            | OpKind::Activate(_)
            | OpKind::Affine { .. }
            | OpKind::Add
            | OpKind::Mul
            | OpKind::Geglu
            | OpKind::Concat
            | OpKind::Upsample
            | OpKind::Slice { .. }
            | OpKind::Embed { .. }
            | OpKind::AddWeight { .. }
            | OpKind::TakeToken => return None,
        };
        let (c_in, c_out) = (program.shape(input).c, program.shape(output).c);
        let fits = c_in.is_multiple_of(GROUP)
            && c_in.min(c_out) >= MIN_CHANNELS
            && c_in * candidate.kernel * candidate.kernel <= MAX_SUM;
        (fits && !program.is_constant(input)).then_some(candidate)
    };
    program.ops().iter().filter_map(of).collect()
}

/// The quantization parameters of the inputs of int8 layers, by the names of the layers' weights.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ByteScales(BTreeMap<String, ByteScale>);

impl ByteScales {
    /// Returns the quantization of the input of the layer with `weight`; `None` if the layer is not quantized.
    pub fn get(&self, weight: &str) -> Option<ByteScale> {
        self.0.get(weight).copied()
    }

    /// Returns a copy without the layers whose weights are in `names`.
    #[must_use]
    pub fn without(&self, names: &BTreeSet<String>) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| !names.contains(*name))
                .map(|(name, scale)| (name.clone(), *scale))
                .collect(),
        )
    }

    /// Returns the number of layers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for ByteScales {
    type Item = (String, ByteScale);
    type IntoIter = std::collections::btree_map::IntoIter<String, ByteScale>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(String, ByteScale)> for ByteScales {
    fn from_iter<T: IntoIterator<Item = (String, ByteScale)>>(layers: T) -> Self {
        Self(layers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::{ProgramBuilder, Rate, Shape};

    #[test]
    fn constant_layers_and_layers_with_few_channels_are_not_candidates() {
        let mut builder = ProgramBuilder::new("test");
        let x = builder.input("x", Shape::new(1, 8, 8, 4), Rate::Frame);
        let text = builder.input("text", Shape::tokens(1, 7, 64), Rate::Constant);
        let k = builder.linear("key", text, 64, false);
        let x = builder.conv3x3("conv_in", x, 64);
        let x = builder.conv3x3("conv", x, 64);
        let q = builder.linear("query", x, 64, false);
        let x = builder.attention([q, k, k], 2, false, vec![0]);
        let x = builder.conv1x1("odd", x, 66);
        let x = builder.conv1x1("even", x, 64);
        let big = builder.upsample(x);
        let x = builder.conv3x3("big", big, 64);
        let x = builder.conv2d("bigger", x, 64, 3, 1, Padding::all(1), true, true);
        let x = builder.conv3x3("conv_out", x, 4);
        builder.output("x", x);
        let program = builder.finish().unwrap();
        let names: Vec<_> =
            candidates(&program).iter().map(|found| program.weight(found.weight).name.clone()).collect();
        assert_eq!(names, ["conv.weight", "query.weight", "odd.weight", "big.weight", "bigger.weight"]);
    }

    #[test]
    fn an_outlier_does_not_coarsen_the_quantization_of_other_values() {
        let sample: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin()).collect();
        let fit = ByteScale::fit(-1.0, 30.0, &sample, 10_000_000);
        assert!(fit.scale() < 0.5 * 31.0 / 255.0, "{fit:?}");
        assert_eq!(ByteScale::fit(-1.0, 1.0, &sample, 10_000_000).scale(), 2.0 / 255.0);
    }

    #[test]
    fn invalid_scales_are_rejected() {
        for wrong in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-30] {
            assert_eq!(ByteScale::new(wrong, 3), None, "{wrong}");
        }
        assert!(ByteScale::fit(0.0, 0.0, &[], 0).number(0).is_finite());
        assert!(ByteScale::fit(f32::MIN, f32::MAX, &[1.0], 1).scale().is_finite());
    }

    proptest! {
        #[test]
        fn values_in_range_round_trip_within_one_step(
            low in -1e3_f32..0.0, width in 1e-3_f32..1e3, part in 0.0_f32..1.0
        ) {
            let high = (low + width).max(0.0);
            let fit = ByteScale::between(low, high);
            let x = low + part * (high - low);
            // The zero point is rounded, so either end may lose half a step more.
            prop_assert!((fit.number(fit.byte(x)) - x).abs() <= 1.001 * fit.scale(), "{fit:?} {x}");
            prop_assert_eq!(fit.number(fit.byte(0.0)), 0.0);
        }

        #[test]
        fn weights_round_trip_within_half_a_step(row in proptest::collection::vec(-1e3_f32..1e3, 1..40)) {
            let mut bytes = vec![0; row.len()];
            let scale = weight_bytes(&row, &mut bytes);
            for (x, byte) in row.iter().zip(bytes) {
                prop_assert!((x - scale * f32::from(byte)).abs() <= 0.5001 * scale);
            }
        }
    }
}

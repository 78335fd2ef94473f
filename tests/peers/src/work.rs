//! How much arithmetic a program is.

use dreamframe::net::{OpKind, Program};

/// The operations of convolutions, linear layers and attention, in billions: two for each multiplication with its
/// addition, in the direct form, constant values among them. It does not depend on how an executor goes about it, so
/// that all sides are measured by the same number.
pub(crate) fn gflop(program: &Program) -> f64 {
    let multiplications = program.ops().iter().map(|op| {
        let shape = |index: usize| op.inputs.get(index).map_or(0, |input| program.shape(*input).c);
        let out = program.shape(op.output);
        #[allow(clippy::wildcard_enum_match_arm, reason = "all others are a few operations a number")]
        match &op.kind {
            OpKind::Conv2d { kernel, .. } => out.len() * shape(0) * kernel * kernel,
            OpKind::Linear { .. } => out.len() * shape(0),
            OpKind::Attention { .. } => {
                let keys = op.inputs.get(1).map_or(0, |keys| program.shape(*keys).pixels());
                2 * out.len() * keys
            }
            _ => 0,
        }
    });
    2e-9 * multiplications.sum::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use crate::case::{Case, Dtype};

    /// As hooks on every convolution, linear layer and attention of the diffusers modules count them.
    #[test]
    fn networks_are_as_much_work_as_diffusers_counts() {
        for (model, counted) in [("sd-turbo", 804.3), ("taesd-encoder", 122.3), ("taesd-decoder", 141.4)] {
            let model = model.parse().unwrap();
            let case = Case { model, dtype: Dtype::F32, size: 512, rows: 1, threads: NonZeroUsize::MIN };
            let gflop = case.gflop().unwrap();
            assert!((gflop - counted).abs() < 0.1, "{model}: {gflop}, but {counted} were counted");
        }
    }
}

//! The UNet of a pipeline: a compiled network for each call of a frame, and its constants.

use std::sync::Arc;

use super::conditioning::Conditioning;
use super::context::{BuildContext, Compiler};
use super::lora::UnetWeights;
use super::models::Models;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::shared_pass::{ConstantInputs, Owner, PassMember};
use crate::exec::{Constants, Network};
use crate::models::{
    Prediction, UnetConfig, UnetPart, UnetShape, time_ids_embedding, timestep_embedding, unet_program,
};
use crate::net::{Rate, Shape};
use crate::params::CfgType;
use crate::schedule::StepTable;
use crate::stream::guidance::{TextRow, UnetRow, rows, stage_rows};

/// The UNet rows of every call of a frame: one call with batching, one a stage without.
pub(crate) type CallRows = Vec<Vec<UnetRow>>;

/// The rows of a stream of `stages` stages.
pub(crate) fn call_rows(cfg_type: CfgType, active: bool, batched: bool, stages: usize) -> CallRows {
    if batched {
        vec![rows(cfg_type, active, stages)]
    } else {
        (0..stages).map(|stage| stage_rows(cfg_type, active, stage)).collect()
    }
}

/// Whether any row attends to the negative prompt.
pub(crate) fn wants_negative(call_rows: &CallRows) -> bool {
    call_rows.iter().flatten().any(|row| row.text == TextRow::Negative)
}

/// Optional inputs of a UNet in addition to latents, timesteps and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    /// Whether it adds residuals of ControlNets.
    pub(crate) residuals: bool,
    /// Whether rows attend to earlier frames.
    pub(crate) cached_attention: bool,
    /// Whether tokens of earlier frames are injected.
    pub(crate) feature_injection: bool,
    /// Whether tokens of earlier frames are merged.
    pub(crate) token_merging: bool,
    /// Number of image tokens that rows attend to in addition to their text.
    pub(crate) image_tokens: usize,
    /// Whether features of the deep layers are used again for later frames.
    pub(crate) feature_reuse: bool,
}

impl Extras {
    /// Returns `plain` with these inputs.
    fn shape(self, plain: UnetShape) -> UnetShape {
        let Self { residuals, cached_attention, feature_injection, token_merging, image_tokens, .. } = self;
        UnetShape { residuals, cached_attention, feature_injection, token_merging, image_tokens, ..plain }
    }
}

/// The compiled networks, one for each call; calls with the same texts share one.
#[derive(Debug)]
pub(crate) struct UnetNetworks {
    call_rows: CallRows,
    networks: Vec<Arc<dyn Network>>,
    /// The last layers alone, of each call, for features that are used again; empty without.
    shallow: Vec<Arc<dyn Network>>,
    /// The place of each call among the engines that run the network together; none if they do not.
    members: Vec<Option<PassMember>>,
}

/// The networks of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallNetworks<'a> {
    pub(crate) full: &'a Arc<dyn Network>,
    /// The last layers alone.
    pub(crate) shallow: Option<&'a Arc<dyn Network>>,
    /// Its place among the engines that run the full network together.
    pub(crate) member: Option<&'a PassMember>,
}

/// The constants of the networks of a call.
#[derive(Debug)]
pub(crate) struct CallConstants {
    pub(crate) full: Constants,
    pub(crate) shallow: Option<Constants>,
    /// The inputs of `full`, for passes together with other engines.
    pub(crate) inputs: Option<Arc<ConstantInputs>>,
}

impl UnetNetworks {
    /// Compiles what `call_rows` needs over `weights`, for latents of the shape `latent`, with `extras`.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(crate) fn compile(
        models: &Models,
        weights: &UnetWeights,
        compiler: &Compiler<'_>,
        call_rows: &CallRows,
        latent: Shape,
        extras: Extras,
    ) -> Result<Self> {
        let compile = |part| {
            compile_calls(call_rows, |CallTexts { text_rows, text_of_row }| {
                let plain = extras.shape(UnetShape::new(text_of_row.len(), latent.h, latent.w));
                let shape = UnetShape { text_rows, text_of_row, prediction: models.prediction, part, ..plain };
                let program = weights.branches.add_to(unet_program(&models.unet, &shape)?)?;
                compiler.compile(program, &weights.weights)
            })
        };
        let (networks, shallow) = match extras.feature_reuse {
            true => (compile(UnetPart::KeepingDeep)?, compile(UnetPart::Shallow)?),
            false => (compile(UnetPart::Full)?, Vec::new()),
        };
        Ok(Self { call_rows: call_rows.clone(), networks, shallow, members: Vec::new() })
    }

    /// Joins the engines that run the same networks over `weights`, as far as their passes can be shared.
    #[must_use]
    pub(crate) fn joined(self, context: &BuildContext, weights: &UnetWeights) -> Self {
        let (executor, owner, limit) = (&context.executor, Owner::new(), context.options.batch_wait);
        let join = |network: &Arc<dyn Network>| {
            let joined = PassMember::join(executor, &**network, &weights.weights, owner, limit);
            // Without memory or a thread for it, the engine runs alone.
            joined.unwrap_or_else(|error| {
                tracing::debug!(%error, "the UNet is not run together with other engines");
                None
            })
        };
        let members = self.networks.iter().map(join).collect();
        Self { members, ..self }
    }

    /// Computes what depends on prompt, schedule and `further` inputs of the rows alone: one set of constants for each
    /// call. `size` is that of the picture, in pixels.
    ///
    /// # Errors
    ///
    /// Those of [`Network::constants`].
    pub(crate) fn constants(
        &self,
        models: &Models,
        conditioning: &Conditioning,
        table: &StepTable,
        size: (u32, u32),
        further: impl Fn(&[UnetRow]) -> Vec<Vec<f32>>,
    ) -> Result<Vec<CallConstants>> {
        let of_rows = |call: &[UnetRow]| {
            let mut inputs = prediction_weights(models.prediction, call, table, models.unet.out_channels);
            inputs.extend(further(call));
            inputs
        };
        let calls = call_inputs(&models.unet, &self.call_rows, conditioning, table, size, of_rows);
        let of_call = |(index, inputs): (usize, Vec<Vec<f32>>)| {
            let networks = self.call(index).ok_or_else(|| Error::new(ErrorKind::Internal, "a call has no network"))?;
            let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let shallow = |network: &Arc<dyn Network>| {
                let named = || networks.full.program().inputs_at(Rate::Constant).zip(&slices);
                let own = |name: &str| named().find(|(input, _)| input.name == name).map(|(_, data)| *data);
                let inputs = network.program().inputs_at(Rate::Constant).filter_map(|input| own(&input.name));
                network.constants(&inputs.collect::<Vec<_>>())
            };
            let shallow = networks.shallow.map(shallow).transpose()?;
            let full = networks.full.constants(&slices)?;
            let inputs = networks.member.map(|_| Arc::new(ConstantInputs::new(inputs)));
            Ok(CallConstants { full, shallow, inputs })
        };
        calls.enumerate().map(of_call).collect()
    }

    /// Returns the networks of full runs, one for each call.
    pub(crate) fn networks(&self) -> &[Arc<dyn Network>] {
        &self.networks
    }

    /// Returns all networks.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Network>> {
        self.networks.iter().chain(&self.shallow)
    }

    /// Returns the networks of a call.
    pub(crate) fn call(&self, call: usize) -> Option<CallNetworks<'_>> {
        let member = self.members.get(call).and_then(Option::as_ref);
        Some(CallNetworks { full: self.networks.get(call)?, shallow: self.shallow.get(call), member })
    }

    /// Returns the networks of the last layers alone, one for each call; none without reuse.
    pub(crate) fn shallow(&self) -> &[Arc<dyn Network>] {
        &self.shallow
    }

    /// Returns how many UNet rows a call has; 0 if there is no such call.
    pub(crate) fn rows(&self, call: usize) -> usize {
        self.call_rows.get(call).map_or(0, Vec::len)
    }

    /// Returns how many UNet rows are evaluated for a frame.
    pub(crate) fn evaluations(&self) -> usize {
        self.call_rows.iter().map(Vec::len).sum()
    }

    /// Returns the bytes of scratch memory that the largest call needs.
    pub(crate) fn scratch_bytes(&self) -> usize {
        self.all().map(|network| network.scratch_bytes()).max().unwrap_or(0)
    }
}

/// The text of each row of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallTexts {
    pub(super) text_rows: usize,
    pub(super) text_of_row: Vec<usize>,
}

/// Compiles a network for each call by `compile`; calls with the same texts share one.
///
/// # Errors
///
/// Those of `compile`.
pub(super) fn compile_calls(
    call_rows: &CallRows,
    mut compile: impl FnMut(CallTexts) -> Result<Arc<dyn Network>>,
) -> Result<Vec<Arc<dyn Network>>> {
    let text_rows = if wants_negative(call_rows) { 2 } else { 1 };
    let mut made: Vec<(CallTexts, Arc<dyn Network>)> = Vec::new();
    let mut networks = Vec::with_capacity(call_rows.len());
    for call in call_rows {
        let texts = CallTexts { text_rows, text_of_row: call.iter().map(|row| text_row(row.text)).collect() };
        let known = made.iter().find(|(known, _)| *known == texts).map(|(_, network)| network.clone());
        let network = match known {
            Some(network) => network,
            None => {
                let network = compile(texts.clone())?;
                made.push((texts, network.clone()));
                network
            }
        };
        networks.push(network);
    }
    Ok(networks)
}

/// Computes the constants of a UNet, or of its first half, for each call, with the `further` inputs of its rows. `size`
/// is the picture's, in pixels.
///
/// # Errors
///
/// Those of [`Network::constants`].
pub(super) fn call_constants(
    config: &UnetConfig,
    call_rows: &CallRows,
    networks: &[Arc<dyn Network>],
    conditioning: &Conditioning,
    table: &StepTable,
    size: (u32, u32),
    further: impl Fn(&[UnetRow]) -> Vec<Vec<f32>>,
) -> Result<Vec<Constants>> {
    let calls = call_inputs(config, call_rows, conditioning, table, size, further);
    let one = |(inputs, network): (Vec<Vec<f32>>, &Arc<dyn Network>)| {
        network.constants(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    };
    calls.zip(networks).map(one).collect()
}

/// Returns the constant inputs of each call, in order.
fn call_inputs<'a>(
    config: &'a UnetConfig,
    call_rows: &'a CallRows,
    conditioning: &'a Conditioning,
    table: &'a StepTable,
    (width, height): (u32, u32),
    further: impl Fn(&[UnetRow]) -> Vec<Vec<f32>> + 'a,
) -> impl Iterator<Item = Vec<Vec<f32>>> + 'a {
    let mut states = conditioning.prompt.states.clone();
    if wants_negative(call_rows) {
        states.extend_from_slice(&conditioning.negative.states);
    }
    let (width, height) = (width as f32, height as f32);
    call_rows.iter().map(move |call| {
        let timesteps: Vec<f32> =
            call.iter().filter_map(|row| table.steps().get(row.stage)).map(|step| step.timestep as f32).collect();
        let mut inputs = vec![states.clone(), timestep_embedding(&timesteps, config)];
        if config.added.is_some() {
            inputs.push(pooled(call, conditioning));
            let sizes = vec![[height, width, 0.0, 0.0, height, width]; call.len()];
            inputs.push(time_ids_embedding(&sizes, config));
        }
        inputs.extend(further(call));
        inputs
    })
}

/// The weights of prediction and sample in the noise of each row, in every channel; none if the noise is predicted.
fn prediction_weights(prediction: Prediction, call: &[UnetRow], table: &StepTable, channels: usize) -> Vec<Vec<f32>> {
    let weights: fn(f64, f64) -> (f64, f64) = match prediction {
        Prediction::Noise => return Vec::new(),
        Prediction::Velocity => |alpha, beta| (alpha, beta),
        Prediction::Clean => |alpha, beta| (-alpha / beta, 1.0 / beta),
    };
    let steps = call.iter().filter_map(|row| table.steps().get(row.stage));
    let (predicted, sample) = steps.map(|step| weights(step.sqrt_alpha, step.sqrt_beta)).unzip();
    let of_rows = |weights: Vec<f64>| weights.iter().flat_map(|&weight| vec![weight as f32; channels]).collect();
    [predicted, sample].map(of_rows).into()
}

/// The pooled text of each row of a call.
fn pooled(call: &[UnetRow], conditioning: &Conditioning) -> Vec<f32> {
    let of_row = |row: &UnetRow| match row.text {
        TextRow::Prompt => &conditioning.prompt.pooled,
        TextRow::Negative => &conditioning.negative.pooled,
    };
    call.iter().flat_map(of_row).copied().collect()
}

/// The index of a text in the UNet's input: the prompt first.
fn text_row(text: TextRow) -> usize {
    match text {
        TextRow::Prompt => 0,
        TextRow::Negative => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Executor as _;
    use crate::exec::cpu::{CpuExecutor, CpuOptions};
    use crate::exec::{Dtype, RunArgs, Scratch};
    use crate::load::RandomWeights;
    use crate::net::Weights;
    use crate::schedule::{Betas, Spacing, UpdateRule, grid};

    /// Runs the UNet of `config` on `sample`, with constants besides texts and timesteps.
    fn predict(config: &UnetConfig, prediction: Prediction, further: &[Vec<f32>], sample: &[f32]) -> Vec<f32> {
        let shape = UnetShape { text_tokens: 3, prediction, ..UnetShape::new(2, 4, 4) };
        let program = Arc::new(unet_program(config, &shape).unwrap());
        let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights())));
        let executor = CpuExecutor::new(CpuOptions { dtype: Dtype::F32, ..CpuOptions::default() }).unwrap();
        let network = executor.compile(&program, &weights).unwrap();
        let (text, time) = (vec![0.3; 3 * config.text_dim], timestep_embedding(&[800.0, 300.0], config));
        let inputs: Vec<&[f32]> = [&*text, &*time].into_iter().chain(further.iter().map(Vec::as_slice)).collect();
        let constants = network.constants(&inputs).unwrap();
        let mut eps = vec![0.0; sample.len()];
        let (mut scratch, views) = (Scratch::new(), &mut [(&mut eps).into()]);
        network.run(RunArgs::new(&constants, &mut scratch, &[sample.into()], views)).unwrap();
        eps
    }

    #[test]
    fn every_prediction_becomes_the_noise_at_the_level_of_each_row() {
        let config = UnetConfig::from_json(
            r#"{"block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 1, "norm_num_groups": 4,
                "cross_attention_dim": 8, "attention_head_dim": 4}"#,
        )
        .unwrap();
        let alphas = Betas::default().alphas_cumprod().unwrap();
        let table =
            StepTable::new(&grid(Spacing::Lcm, 50, 1000).unwrap(), &alphas, &[10, 40], UpdateRule::Lcm).unwrap();
        let call = stage_rows(CfgType::None, false, 0).into_iter().chain(stage_rows(CfgType::None, false, 1));
        let call: Vec<UnetRow> = call.collect();
        let sample: Vec<f32> = (0..2 * 4 * 4 * config.in_channels).map(|i| (i as f32 * 0.37).sin()).collect();
        let predicted = predict(&config, Prediction::Noise, &[], &sample);
        assert!(prediction_weights(Prediction::Noise, &call, &table, config.out_channels).is_empty());
        let row = sample.len() / 2;
        for prediction in [Prediction::Velocity, Prediction::Clean] {
            let weights = prediction_weights(prediction, &call, &table, config.out_channels);
            let noise = predict(&config, prediction, &weights, &sample);
            for (i, noise) in noise.iter().enumerate() {
                let step = &table.steps()[i / row];
                let (a, s) = (step.sqrt_alpha, step.sqrt_beta);
                let (predicted, sample) = (f64::from(predicted[i]), f64::from(sample[i]));
                // With the clean sample `c` and the noise `n`: `x = a c + s n` and `v = a n - s c`, so `a v + s x = n`.
                let expected = match prediction {
                    Prediction::Noise => predicted,
                    Prediction::Velocity => a * predicted + s * sample,
                    Prediction::Clean => (sample - a * predicted) / s,
                };
                assert!((f64::from(*noise) - expected).abs() < 1e-4, "{prediction:?} {i}: {noise} of {expected}");
            }
        }
    }
}

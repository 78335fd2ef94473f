//! The UNet: predicts the noise in a latent from timesteps and text states. One program for Stable Diffusion 1.5, 2.1,
//! SDXL and their distilled and pruned forms, as determined by the config.

use super::config::{AddedConfig, UnetConfig};
use super::layers::{Norm, Text, norm_silu_conv};
use super::unet_blocks::{down_block, mid_block, up_layers};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Padding, Program, ProgramBuilder, Rate, Shape, ValueId};

/// The dimensions of a UNet's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnetShape {
    /// Rows of the batch, each with a timestep of its own.
    pub rows: usize,
    /// Height of the latent.
    pub height: usize,
    /// Width of the latent.
    pub width: usize,
    /// Number of different texts.
    pub text_rows: usize,
    /// Tokens of each text.
    pub text_tokens: usize,
    /// For each row of the batch, the index of its text.
    pub text_of_row: Vec<usize>,
    /// Whether a consistency model has the guidance as an input; otherwise its projection is left out.
    pub guidance_embedding: bool,
    /// Whether each row attends to itself in earlier frames as well, wherever it attends to itself.
    pub cached_attention: bool,
    /// Whether, with cached attention, tokens of earlier frames are injected: in the middle and the first two up blocks.
    pub feature_injection: bool,
    /// Whether, with cached attention, runs may merge the tokens of a frame with those that are kept.
    pub token_merging: bool,
    /// Whether ControlNets add to what the up half and the middle are given.
    pub residuals: bool,
    /// The number of image tokens that rows attend to besides their text; 0 without an IP-Adapter.
    pub image_tokens: usize,
    /// What the UNet was trained to predict.
    pub prediction: Prediction,
    /// Which of its layers the program has.
    pub part: UnetPart,
}

/// The layers of a UNet that its program has.
///
/// The deep layers change little between frames that resemble each other, and take most of the time: a program may keep
/// what they make, and another one have the others alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum UnetPart {
    /// All of them.
    #[default]
    Full,
    /// All of them; the input of the last resnet that comes from the layers before is an output, `deep`.
    KeepingDeep,
    /// The first convolution, the last resnet with its transformer, if it has one, and what follows it; `deep` is an input.
    Shallow,
}

/// What a UNet was trained to predict, as a scheduler's `prediction_type` names it. Its program returns the noise in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Prediction {
    /// The noise: `epsilon`.
    #[default]
    Noise,
    /// `a * noise - s * clean`, for the sample `a * clean + s * noise`: `v_prediction`.
    Velocity,
    /// The clean sample: `sample`.
    Clean,
}

impl UnetShape {
    /// `rows` rows of latents of `height` x `width`, all with one text of the usual length.
    pub fn new(rows: usize, height: usize, width: usize) -> Self {
        Self {
            rows,
            height,
            width,
            text_rows: 1,
            text_tokens: TEXT_TOKENS,
            text_of_row: vec![0; rows],
            guidance_embedding: false,
            cached_attention: false,
            feature_injection: false,
            token_merging: false,
            residuals: false,
            image_tokens: 0,
            prediction: Prediction::Noise,
            part: UnetPart::Full,
        }
    }
}

/// Returns the shapes of what ControlNets add, for each row: first what the up half wants, in the order in which the
/// way down makes it, then what comes out of the middle.
pub fn residual_shapes(config: &UnetConfig, height: usize, width: usize) -> Vec<Shape> {
    let (mut h, mut w) = (height, width);
    let first = config.down.first().map(|block| Shape::new(1, h, w, block.channels));
    let mut shapes: Vec<Shape> = first.into_iter().collect();
    for (i, block) in config.down.iter().enumerate() {
        shapes.extend(std::iter::repeat_n(Shape::new(1, h, w, block.channels), block.resnets));
        if i + 1 < config.down.len() {
            // What is added has the shape that a halving convolution leaves, whichever way it pads.
            (h, w) = (h / 2, w / 2);
            shapes.push(Shape::new(1, h, w, block.channels));
        }
    }
    shapes.extend(config.down.last().map(|block| Shape::new(1, h, w, block.channels)));
    shapes
}

/// Tokens of a text, as every text encoder of these models gives them.
pub const TEXT_TOKENS: usize = 77;
/// Number of up blocks, from the deepest, whose tokens are injected.
const INJECTED_UP_BLOCKS: usize = 2;
/// Maximum number of rows, tokens and latent pixels to a side.
const MAX_ROWS: usize = 256;
const MAX_TOKENS: usize = 4096;
const MAX_SIDE: usize = 1024;

/// Builds the UNet of `config`.
///
/// Inputs, in order:
///
/// | name | shape | rate | if |
/// |---|---|---|---|
/// | `encoder_hidden_states` | `[text_rows, text_tokens, 1, text_dim]` | constant | |
/// | `timestep_embedding` | `[rows, 1, 1, time.input_dim]` | constant | |
/// | `guidance_embedding` | `[rows, 1, 1, time.cond_dim]` | constant | `shape.guidance_embedding` |
/// | `pooled` | `[rows, 1, 1, added.pooled_dim]` | constant | `added` |
/// | `time_ids` | `[rows, 1, 1, 6 * added.time_dim]` | constant | `added` |
/// | `prediction_weight`, `sample_weight` | `[rows, 1, 1, out_channels]` each: the weights of both in the noise, in every
/// channel | constant | another [`Prediction`] than the noise |
/// | `image_keys.PATH`, `image_values.PATH` | `[rows, image_tokens, 1, channels]` each | constant |
/// `shape.image_tokens` |
/// | `sample` | `[rows, height, width, in_channels]` | frame | |
/// | `down_residual.0` … and `mid_residual` | [`residual_shapes`], for each row | frame | `shape.residuals` |
/// | `deep` | `[rows, height, width, c]` with the channels `c` of the last up block | frame | [`UnetPart::Shallow`] |
///
/// [`UnetPart::Shallow`] has `deep` after `sample`, of the image keys and values those of its own layers, and of the residuals
/// the first.
///
/// There are image keys and values for each [cross attention](super::ip_adapter::cross_attentions), in that order. How
/// much an image counts is in its values: attention is linear in them, and with values of zero it changes nothing.
///
/// Outputs: `eps`, `[rows, height, width, out_channels]`, and with [`UnetPart::KeepingDeep`] `deep`. The embeddings come from
/// [`timestep_embedding`](super::timestep_embedding) and its neighbours.
///
/// # Errors
///
/// `InvalidArgument` for an unsupported shape; `BadModel` for an inconsistent config.
pub fn unet_program(config: &UnetConfig, shape: &UnetShape) -> Result<Program> {
    check_shape(config, shape)?;
    let mut builder = ProgramBuilder::new("unet");
    let b = &mut builder;
    let states = Shape::tokens(shape.text_rows, shape.text_tokens, config.text_dim);
    let states = b.input("encoder_hidden_states", states, Rate::Constant);
    let text = Text {
        states,
        of_row: &shape.text_of_row,
        past: shape.cached_attention,
        inject: false,
        image_tokens: shape.image_tokens,
    };
    let injected = Text { inject: shape.cached_attention && shape.feature_injection, ..text };
    if shape.cached_attention && shape.token_merging {
        b.merge_tokens();
    }
    let time = time_embedding(b, config, shape);
    let weights = (shape.prediction != Prediction::Noise).then(|| {
        let weight = Shape::vector(shape.rows, config.out_channels);
        ["prediction_weight", "sample_weight"].map(|name| b.input(name, weight, Rate::Constant))
    });
    let sample = Shape::new(shape.rows, shape.height, shape.width, config.in_channels);
    let sample = b.input("sample", sample, Rate::Frame);
    let layers = Layers { config, shape, time, text, injected };
    let x = conv(b, "conv_in", sample, config.down[0].channels, config.conv_in_kernel);
    let (x, deep) = if shape.part == UnetPart::Shallow { (layers.shallow(b, x)?, None) } else { layers.full(b, x) };
    let mut eps = prediction(b, config, x);
    if let Some([prediction_weight, sample_weight]) = weights {
        let (prediction, sample) = (b.mul(eps, prediction_weight), b.mul(sample, sample_weight));
        eps = b.add(prediction, sample);
    }
    b.output("eps", eps);
    if let Some(deep) = deep.filter(|_| shape.part == UnetPart::KeepingDeep) {
        b.output("deep", deep);
    }
    builder.finish()
}

/// The layers between the first convolution and the last norm.
#[derive(Debug, Clone, Copy)]
struct Layers<'a> {
    config: &'a UnetConfig,
    shape: &'a UnetShape,
    time: ValueId,
    text: Text<'a>,
    /// The same, for blocks whose tokens are injected.
    injected: Text<'a>,
}

impl Layers<'_> {
    /// All of them; returns their output, and what the last resnet is given from the layers before.
    fn full(&self, b: &mut ProgramBuilder, mut x: ValueId) -> (ValueId, Option<ValueId>) {
        let Self { config, shape, time, text, injected } = *self;
        let residuals = if shape.residuals { residual_inputs(b, config, shape) } else { Vec::new() };
        let mut skips = vec![x];
        for i in 0..config.down.len() {
            x = b.scope(format!("down_blocks.{i}"), |b| down_block(b, config, i, x, time, text, &mut skips));
        }
        if let Some(mid) = &config.mid {
            x = b.scope("mid_block", |b| mid_block(b, config, mid, x, time, injected));
        }
        if let Some((&mid, down)) = residuals.split_last() {
            // The way down itself never sees them.
            skips = skips.into_iter().zip(down).map(|(skip, &residual)| b.add(skip, residual)).collect();
            x = b.add(x, mid);
        }
        let mut deep = None;
        for (i, block) in config.up.iter().enumerate() {
            let text = if i < INJECTED_UP_BLOCKS { injected } else { text };
            let is_last = i + 1 == config.up.len();
            let last = if is_last { block.resnets.saturating_sub(1) } else { block.resnets };
            let (scope, at) = (format!("up_blocks.{i}"), (time, text));
            x = b.scope(&*scope, |b| up_layers(b, config, i, 0..last, x, at, &mut skips));
            if is_last {
                deep = Some(x);
                x = b.scope(&*scope, |b| up_layers(b, config, i, last..block.resnets, x, at, &mut skips));
            }
        }
        (x, deep)
    }

    /// The last resnet, which takes the output `x` of the first convolution, and its transformer.
    fn shallow(&self, b: &mut ProgramBuilder, mut x: ValueId) -> Result<ValueId> {
        let Self { config, shape, time, text, injected } = *self;
        let no_block = || Error::new(ErrorKind::BadModel, "the UNet has no up block");
        let (last, before) = config.up.split_last().ok_or_else(no_block)?;
        let UnetShape { rows, height, width, .. } = *shape;
        let deep = b.input("deep", Shape::new(rows, height, width, last.channels), Rate::Frame);
        if let (true, Some(first)) = (shape.residuals, residual_shapes(config, height, width).first()) {
            let residual = b.input(residual_name(0, usize::MAX), Shape { n: rows, ..*first }, Rate::Frame);
            x = b.add(x, residual);
        }
        let text = if before.len() < INJECTED_UP_BLOCKS { injected } else { text };
        let layers = last.resnets.saturating_sub(1)..last.resnets;
        Ok(b.scope(format!("up_blocks.{}", before.len()), |b| {
            up_layers(b, config, before.len(), layers, deep, (time, text), &mut vec![x])
        }))
    }
}

/// The last norm and convolution.
fn prediction(b: &mut ProgramBuilder, config: &UnetConfig, x: ValueId) -> ValueId {
    let norm = Norm { groups: config.norm_groups, eps: config.norm_eps };
    if config.conv_out_kernel == 3 {
        return norm_silu_conv(b, ["conv_norm_out", "conv_out"], x, config.out_channels, norm);
    }
    let x = b.group_norm("conv_norm_out", x, norm.groups, norm.eps);
    let x = b.silu(x);
    conv(b, "conv_out", x, config.out_channels, config.conv_out_kernel)
}

/// Builds the UNet at the smallest size that it can be run at, whose layers and weights are those of every size.
///
/// # Errors
///
/// Those of [`unet_program`].
pub(crate) fn smallest_unet(config: &UnetConfig) -> Result<Program> {
    let side = config.latent_multiple();
    unet_program(config, &UnetShape { text_tokens: 1, ..UnetShape::new(1, side, side) })
}

fn residual_inputs(b: &mut ProgramBuilder, config: &UnetConfig, shape: &UnetShape) -> Vec<ValueId> {
    let shapes = residual_shapes(config, shape.height, shape.width);
    let down = shapes.len() - 1;
    let input = |(i, one): (usize, Shape)| b.input(residual_name(i, down), Shape { n: shape.rows, ..one }, Rate::Frame);
    shapes.into_iter().enumerate().map(input).collect()
}

/// Returns the name of residual `i`, where `down` of them belong to the down half.
pub(super) fn residual_name(i: usize, down: usize) -> String {
    if i < down { format!("down_residual.{i}") } else { "mid_residual".to_owned() }
}

pub(super) fn conv(b: &mut ProgramBuilder, name: &str, x: ValueId, c_out: usize, kernel: usize) -> ValueId {
    b.conv2d(name, x, c_out, kernel, 1, Padding::all(kernel / 2), false, true)
}

/// Returns the embedding of timesteps, guidance and added conditions, activated as every resnet wants it.
pub(super) fn time_embedding(b: &mut ProgramBuilder, config: &UnetConfig, shape: &UnetShape) -> ValueId {
    let time = &config.time;
    let vector = |width: usize| Shape::vector(shape.rows, width);
    let mut x = b.input("timestep_embedding", vector(time.input_dim), Rate::Constant);
    if let (true, Some(dim)) = (shape.guidance_embedding, time.cond_dim) {
        let guidance = b.input("guidance_embedding", vector(dim), Rate::Constant);
        let projected = b.linear("time_embedding.cond_proj", guidance, time.input_dim, false);
        x = b.add(x, projected);
    }
    let mut embedded = b.scope("time_embedding", |b| mlp(b, x, time.dim));
    if let Some(added) = &config.added {
        let pooled = b.input("pooled", vector(added.pooled_dim), Rate::Constant);
        let ids = b.input("time_ids", vector(added.time_dim * AddedConfig::TIME_IDS), Rate::Constant);
        let both = b.concat(pooled, ids);
        let both = b.scope("add_embedding", |b| mlp(b, both, time.dim));
        embedded = b.add(embedded, both);
    }
    b.silu(embedded)
}

/// Two linear layers with SiLU between.
fn mlp(b: &mut ProgramBuilder, x: ValueId, dim: usize) -> ValueId {
    let x = b.linear("linear_1", x, dim, true);
    let x = b.silu(x);
    b.linear("linear_2", x, dim, true)
}

pub(super) fn check_shape(config: &UnetConfig, shape: &UnetShape) -> Result<()> {
    let refuse = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
    for (what, value, most) in [
        ("rows", shape.rows, MAX_ROWS),
        ("texts", shape.text_rows, MAX_ROWS),
        ("tokens", shape.text_tokens, MAX_TOKENS),
        ("latent height", shape.height, MAX_SIDE),
        ("latent width", shape.width, MAX_SIDE),
    ] {
        if value == 0 || value > most {
            return refuse(format!("{what} of the UNet: got {value}, expected 1 to {most}"));
        }
    }
    config.check_size(1, shape.width, shape.height).map_err(|error| error.within("latent"))?;
    if shape.text_of_row.len() != shape.rows || shape.text_of_row.iter().any(|&text| text >= shape.text_rows) {
        let (rows, texts, of_row) = (shape.rows, shape.text_rows, &shape.text_of_row);
        return refuse(format!(
            "text_of_row: got {of_row:?}, expected an index less than {texts} for each of {rows} rows"
        ));
    }
    if shape.image_tokens > MAX_TOKENS {
        return refuse(format!("image tokens of the UNet: got {}, expected at most {MAX_TOKENS}", shape.image_tokens));
    }
    if shape.prediction != Prediction::Noise && config.in_channels != config.out_channels {
        let (got, expected) = (config.out_channels, config.in_channels);
        return refuse(format!("channels of the prediction: got {got}, expected {expected}, those of the sample"));
    }
    if shape.guidance_embedding && config.time.cond_dim.is_none() {
        return refuse("guidance embedding: got one, expected none for a UNet without time_cond_proj_dim".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::exec::cpu::{CpuExecutor, CpuOptions};
    use crate::exec::{Dtype, Executor as _, Scratch};
    use crate::load::RandomWeights;
    use crate::models::known::known_model;
    use crate::net::{OpKind, Weights};

    fn shape() -> UnetShape {
        UnetShape { text_rows: 2, text_of_row: vec![0, 1, 0], ..UnetShape::new(3, 16, 8) }
    }

    #[test]
    fn what_hangs_on_prompt_and_schedule_is_worked_out_outside_the_frame_loop() {
        let config = UnetConfig::from_json("{}").unwrap();
        let program = unet_program(&config, &shape()).unwrap();
        let named = |part: &str| {
            let ops = program.ops().iter().filter(
                |op| matches!(&op.kind, OpKind::Linear { weight, .. } if program.weight(*weight).name.contains(part)),
            );
            ops.map(|op| program.is_constant(op.output)).collect::<Vec<_>>()
        };
        for part in ["attn2.to_k", "attn2.to_v", "time_emb_proj", "time_embedding"] {
            assert!(!named(part).is_empty() && named(part).iter().all(|&constant| constant), "{part}");
        }
        for part in ["attn2.to_q", "attn1.to_k", "ff.net"] {
            assert!(!named(part).is_empty() && named(part).iter().all(|&constant| !constant), "{part}");
        }
    }

    #[test]
    fn only_what_attends_to_itself_looks_back() {
        let count = |json: &str, cached_attention| {
            let config = UnetConfig::from_json(json).unwrap();
            let program = unet_program(&config, &UnetShape { cached_attention, ..shape() }).unwrap();
            let all = program.ops().iter().filter(|op| matches!(op.kind, OpKind::Attention { .. })).count();
            (program.cached_attention_layers(), all)
        };
        assert_eq!(count("{}", true), (16, 32));
        assert_eq!(count("{}", false), (0, 32));
        // The middle attends to itself all the same.
        assert_eq!(count(r#"{"only_cross_attention": true}"#, true).0, 1);
    }

    #[test]
    fn the_last_layers_predict_the_same_noise_from_what_a_full_run_keeps() {
        for (json, prediction) in [
            (
                r#"{"block_out_channels": [8, 16], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                 "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "layers_per_block": 2, "norm_num_groups": 4,
                 "cross_attention_dim": 8, "attention_head_dim": 2}"#,
                Prediction::Noise,
            ),
            (
                r#"{"block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                 "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 1, "norm_num_groups": 4,
                 "cross_attention_dim": 8, "attention_head_dim": 2}"#,
                Prediction::Velocity,
            ),
        ] {
            let config = UnetConfig::from_json(json).unwrap();
            let of = |part| {
                let shape = UnetShape { residuals: true, image_tokens: 2, prediction, part, ..shape() };
                unet_program(&config, &shape).unwrap()
            };
            let [full, shallow] = [of(UnetPart::KeepingDeep), of(UnetPart::Shallow)];
            assert_eq!(full.outputs().len(), 2);
            let frame: Vec<_> = shallow.inputs_at(Rate::Frame).collect();
            assert_eq!(
                frame.iter().map(|input| &*input.name).collect::<Vec<_>>(),
                ["sample", "deep", "down_residual.0"]
            );
            assert_eq!(shallow.shape(frame[1].value), full.shape(full.outputs()[1].value));
            assert!(shallow.weights().len() < full.weights().len() / 2);
            let expected = outputs(&full, &HashMap::new());
            let given = [("deep".to_owned(), expected[1].clone())].into();
            assert!(outputs(&shallow, &given)[0] == expected[0], "{json}");
        }
    }

    #[test]
    fn the_last_layers_are_the_part_of_known_unets_that_the_documentation_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/feature-reuse.md");
        let documented = std::fs::read_to_string(path).unwrap();
        for (name, row) in [
            ("sd15", "Stable Diffusion 1.5, 2.1, SD-Turbo"),
            ("sd-turbo", "Stable Diffusion 1.5, 2.1, SD-Turbo"),
            ("sdxl-turbo", "SDXL-Turbo"),
            ("ssd-1b", "SSD-1B"),
            ("segmind-vega", "Segmind-Vega"),
            ("bk-sdm-tiny", "BK-SDM-Tiny"),
            ("sdxs", "SDXS-512-0.9"),
        ] {
            let config = UnetConfig::from_json(known_model(name).unwrap().unet).unwrap();
            let [full, shallow] = [UnetPart::Full, UnetPart::Shallow].map(|part| {
                let program = unet_program(&config, &UnetShape { part, ..UnetShape::new(1, 64, 64) }).unwrap();
                program.multiplications() as f64 / 1e9
            });
            let expected = format!("| {row} | {full:.0} | {shallow:.0} |");
            assert!(documented.contains(&expected), "{name}: {expected}");
        }
    }

    /// Returns the outputs of `program` for weights and inputs that depend on their names alone, except for those in `given`.
    fn outputs(program: &Program, given: &HashMap<String, Vec<f32>>) -> Vec<Vec<f32>> {
        fn views(data: &[Vec<f32>]) -> Vec<&[f32]> {
            data.iter().map(Vec::as_slice).collect()
        }

        let values = |name: &str, len: usize| {
            let phase = name.bytes().fold(0.0, |sum: f32, byte| sum * 0.7 + f32::from(byte));
            given.get(name).cloned().unwrap_or_else(|| (0..len).map(|i| (phase + i as f32).sin() * 0.2).collect())
        };
        let inputs = |rate| {
            let of = |input: &crate::net::Input| values(&input.name, program.shape(input.value).len());
            program.inputs_at(rate).map(of).collect::<Vec<_>>()
        };
        let (constant, frame) = (inputs(Rate::Constant), inputs(Rate::Frame));
        let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights())));
        let executor = CpuExecutor::new(CpuOptions { dtype: Dtype::F32, ..CpuOptions::default() }).unwrap();
        let network = executor.compile(&Arc::new(program.clone()), &weights).unwrap();
        let constants = network.constants(&views(&constant)).unwrap();
        let mut outputs: Vec<Vec<f32>> =
            program.outputs().iter().map(|output| vec![0.0; program.shape(output.value).len()]).collect();
        let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        network.run_on_host(&constants, &mut Scratch::new(), &views(&frame), &mut slices).unwrap();
        outputs
    }

    #[test]
    fn shapes_that_the_network_cannot_do_are_refused() {
        let config = UnetConfig::from_json("{}").unwrap();
        let refused = |change: fn(&mut UnetShape), part: &str| {
            let mut shape = shape();
            change(&mut shape);
            let error = unet_program(&config, &shape).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(part), "{error}");
        };
        refused(|shape| shape.rows = 0, "rows of the UNet: got 0");
        refused(|shape| shape.height = 1 << 40, "latent height");
        refused(|shape| shape.width = 12, "nearest: 8x16, 16x16");
        refused(|shape| shape.text_of_row = vec![0, 1], "text_of_row: got [0, 1]");
        refused(|shape| shape.text_of_row = vec![0, 1, 2], "text_of_row: got [0, 1, 2]");
        refused(|shape| shape.guidance_embedding = true, "time_cond_proj_dim");
        refused(|shape| shape.image_tokens = 1 << 40, "image tokens");
    }
}

//! ControlNets: residuals of a UNet, from a control image. The image is embedded once; then the network, a copy of the
//! UNet's first half with the embedding added to its first layer, computes the residuals for each row of the batch.

use super::config::ControlNetModelConfig;
use super::layers::Text;
use super::unet::{check_shape, conv, residual_name, residual_shapes, time_embedding};
use super::unet_blocks::{down_block, mid_block};
use super::{TEXT_TOKENS, UnetShape};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Padding, Program, ProgramBuilder, Rate, Shape};

/// The dimensions of a ControlNet's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlNetShape {
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
    /// Whether each row has a control image of its own; otherwise one is for all.
    pub image_per_row: bool,
}

impl ControlNetShape {
    /// `rows` rows of latents of `height` x `width`, all with one control image and one text of the usual length.
    pub fn new(rows: usize, height: usize, width: usize) -> Self {
        let text_of_row = vec![0; rows];
        Self { rows, height, width, text_rows: 1, text_tokens: TEXT_TOKENS, text_of_row, image_per_row: false }
    }

    /// Returns the shape of the UNet that it is for.
    fn of_unet(&self) -> UnetShape {
        UnetShape {
            text_rows: self.text_rows,
            text_tokens: self.text_tokens,
            text_of_row: self.text_of_row.clone(),
            ..UnetShape::new(self.rows, self.height, self.width)
        }
    }
}

/// Builds what turns a control image into its embedding: `image`, `[1, height, width, channels]` in 0..1, to
/// `embedding`, `[1, height / scale, width / scale, c]` with the channels `c` of the UNet's first layer and the
/// [`scale`](ControlNetModelConfig::scale) of `config`.
///
/// # Errors
///
/// `InvalidArgument` for a size that is not in steps of the scale; `BadModel` for an inconsistent config.
pub fn controlnet_embedding_program(
    config: &ControlNetModelConfig,
    channels: usize,
    height: usize,
    width: usize,
) -> Result<Program> {
    const MAX_SIDE: usize = 8192;

    let scale = config.scale();
    let fits = |side: usize| (1..=MAX_SIDE).contains(&side) && side.is_multiple_of(scale);
    if !fits(height) || !fits(width) || channels == 0 {
        let text = format!(
            "control image: got {width}x{height} with {channels} channels, expected sides in steps of {scale} up to \
             {MAX_SIDE} and at least one channel"
        );
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let mut b = ProgramBuilder::new("ControlNet embedding");
    let image = b.input("image", Shape::new(1, height, width, channels), Rate::Frame);
    let embedding = b.scope("controlnet_cond_embedding", |b| {
        let mut x = b.conv3x3("conv_in", image, config.embedding_channels[0]);
        x = b.silu(x);
        for (i, pair) in config.embedding_channels.windows(2).enumerate() {
            x = b.conv3x3(&format!("blocks.{}", 2 * i), x, pair[0]);
            x = b.silu(x);
            x = b.conv2d(&format!("blocks.{}", 2 * i + 1), x, pair[1], 3, 2, Padding::all(1), false, true);
            x = b.silu(x);
        }
        b.conv3x3("conv_out", x, config.half.down[0].channels)
    });
    b.output("embedding", embedding);
    b.finish()
}

/// Builds the ControlNet of `config`.
///
/// Inputs, in order:
///
/// | name | shape | rate | if |
/// |---|---|---|---|
/// | `encoder_hidden_states` | `[text_rows, text_tokens, 1, text_dim]` | constant | |
/// | `timestep_embedding` | `[rows, 1, 1, time.input_dim]` | constant | |
/// | `pooled` | `[rows, 1, 1, added.pooled_dim]` | constant | `added` |
/// | `time_ids` | `[rows, 1, 1, 6 * added.time_dim]` | constant | `added` |
/// | `sample` | `[rows, height, width, in_channels]` | frame | |
/// | `embedding` | `[rows or 1, height, width, c]` | frame | |
///
/// Outputs: for each row what is added to the UNet, in the order of [`residual_shapes`], at a conditioning scale of 1.
///
/// # Errors
///
/// `InvalidArgument` for an unsupported shape; `BadModel` for an inconsistent config.
pub fn controlnet_program(config: &ControlNetModelConfig, shape: &ControlNetShape) -> Result<Program> {
    let (config, like) = (&config.half, shape.of_unet());
    check_shape(config, &like)?;
    let mut builder = ProgramBuilder::new("ControlNet");
    let b = &mut builder;
    let states = Shape::tokens(shape.text_rows, shape.text_tokens, config.text_dim);
    let states = b.input("encoder_hidden_states", states, Rate::Constant);
    let text = Text { states, of_row: &shape.text_of_row, past: false, inject: false, image_tokens: 0 };
    let time = time_embedding(b, config, &like);
    let sample = Shape::new(shape.rows, shape.height, shape.width, config.in_channels);
    let sample = b.input("sample", sample, Rate::Frame);
    let channels = config.down[0].channels;
    let images = if shape.image_per_row { shape.rows } else { 1 };
    let embedding = b.input("embedding", Shape::new(images, shape.height, shape.width, channels), Rate::Frame);

    let mut x = conv(b, "conv_in", sample, channels, config.conv_in_kernel);
    x = b.add(x, embedding);
    let mut skips = vec![x];
    for i in 0..config.down.len() {
        x = b.scope(format!("down_blocks.{i}"), |b| down_block(b, config, i, x, time, text, &mut skips));
    }
    if let Some(mid) = &config.mid {
        x = b.scope("mid_block", |b| mid_block(b, config, mid, x, time, text));
    }
    let down = skips.len();
    for (i, value) in skips.into_iter().chain([x]).enumerate() {
        let name = if i < down { format!("controlnet_down_blocks.{i}") } else { "controlnet_mid_block".to_owned() };
        let c = b.shape(value).c;
        let residual = b.conv1x1(&name, value, c);
        b.output(residual_name(i, down), residual);
    }
    let program = builder.finish()?;
    debug_assert!({
        let made = program.outputs().iter().map(|output| Shape { n: 1, ..program.shape(output.value) });
        made.eq(residual_shapes(config, shape.height, shape.width))
    });
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{UnetConfig, known, unet_program};
    use crate::net::OpKind;

    fn config(text: &str) -> ControlNetModelConfig {
        ControlNetModelConfig::from_json(text).unwrap()
    }

    #[test]
    fn a_unet_takes_what_its_controlnet_gives() {
        let sdxl = r#"{"block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "attention_head_dim": [5, 10, 20]}"#;
        for (text, residuals) in [("{}", 13), (sdxl, 10)] {
            let given = controlnet_program(&config(text), &ControlNetShape::new(2, 16, 8)).unwrap();
            let shape = UnetShape { residuals: true, ..UnetShape::new(2, 16, 8) };
            let taken = unet_program(&UnetConfig::from_json(text).unwrap(), &shape).unwrap();
            let given: Vec<_> = given.outputs().iter().map(|out| (&*out.name, given.shape(out.value))).collect();
            let taken: Vec<_> =
                taken.inputs_at(Rate::Frame).skip(1).map(|input| (&*input.name, taken.shape(input.value))).collect();
            assert_eq!(given, taken);
            assert_eq!(given.len(), residuals);
        }
    }

    #[test]
    fn every_known_model_can_have_one() {
        for model in known::KNOWN_MODELS {
            let unet = UnetConfig::from_json(model.unet).unwrap();
            let config = ControlNetModelConfig::like(&unet);
            config.check_fits(&unet, 8).unwrap();
            let side = unet.latent_multiple();
            let program = controlnet_program(&config, &ControlNetShape::new(1, side, side)).unwrap();
            assert_eq!(program.outputs().len(), residual_shapes(&unet, side, side).len(), "{}", model.name);
            assert_eq!(program.outputs().len(), unet.residual_count(), "{}", model.name);
        }
    }

    #[test]
    fn what_hangs_on_prompt_and_schedule_is_worked_out_outside_the_frame_loop() {
        let program = controlnet_program(&config("{}"), &ControlNetShape::new(2, 16, 8)).unwrap();
        let constant = program.ops().iter().filter(|op| program.is_constant(op.output));
        let linear = |kind: &OpKind| if let OpKind::Linear { weight, .. } = kind { Some(*weight) } else { None };
        let names: Vec<&str> =
            constant.filter_map(|op| linear(&op.kind)).map(|weight| &*program.weight(weight).name).collect();
        for part in ["attn2.to_k", "attn2.to_v", "time_emb_proj", "time_embedding"] {
            assert!(names.iter().any(|name| name.contains(part)), "{part}");
        }
    }

    #[test]
    fn sizes_that_do_not_become_a_latent_are_refused() {
        for (channels, height, width) in [(3, 64, 60), (3, 0, 64), (0, 64, 64), (3, 1 << 40, 64)] {
            let refused = controlnet_embedding_program(&config("{}"), channels, height, width).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        }
        let program = controlnet_embedding_program(&config("{}"), 6, 64, 128).unwrap();
        assert_eq!(program.shape(program.outputs()[0].value), Shape::new(1, 8, 16, 320));
        let refused = controlnet_program(&config("{}"), &ControlNetShape::new(0, 8, 8)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}

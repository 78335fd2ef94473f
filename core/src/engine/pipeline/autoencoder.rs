//! The autoencoder of a pipeline, at its size.

use std::sync::Arc;

use super::context::Compiler;
use crate::engine::options::{EngineOptions, RegionReuse};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Network};
use crate::models::{Autoencoder, PictureRange};
use crate::net::{Shape, Weights};

/// The autoencoder's two halves.
#[derive(Debug)]
pub(crate) struct AutoencoderNetworks {
    pub(crate) encoder: Arc<dyn Network>,
    pub(crate) encoder_constants: Constants,
    pub(crate) decoder: Arc<dyn Network>,
    pub(crate) decoder_constants: Constants,
    /// Of one latent.
    pub(crate) latent: Shape,
    /// Of the skip connections, outputs of the encoder and inputs of the decoder, finest first; none without
    /// img2img-turbo.
    pub(crate) skips: Vec<Shape>,
    /// The mean difference of the values of a block of a frame, of -1..1, up to which it counts as unchanged.
    pub(crate) region_threshold: f32,
}

impl AutoencoderNetworks {
    /// Compiles both halves over `weights` for pictures of `width` x `height`, and with skip connections if `with_skips`, from
    /// pictures in that range. With `region_reuse` of the options, the halves whose programs support it are compiled for it.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(super) fn compile(
        autoencoder: &Autoencoder,
        (weights, with_skips): (&Weights, Option<PictureRange>),
        compiler: &Compiler<'_>,
        (width, height): (u32, u32),
        options: &EngineOptions,
    ) -> Result<Self> {
        let (height, width) = (height as usize, width as usize);
        let (encoder, decoder) = if let Some(range) = with_skips {
            let encoder = autoencoder.encoder_program_with_skips(1, height, width, range)?;
            (encoder, autoencoder.decoder_program_with_skips(1, height, width)?)
        } else {
            (autoencoder.encoder_program(1, height, width)?, autoencoder.decoder_program(1, height, width)?)
        };
        let skips = encoder.outputs().iter().skip(1).map(|output| encoder.shape(output.value)).collect();
        let latent = decoder.inputs().first().map(|input| decoder.shape(input.value));
        let latent = latent.ok_or_else(|| Error::new(ErrorKind::Internal, "the decoder has no input"))?;
        let compile = |program| match options.region_reuse {
            RegionReuse::Off => compiler.compile(program, weights),
            RegionReuse::Exact | RegionReuse::Approximate => compiler.compile_keeping(program, weights),
        };
        let (encoder, decoder) = (compile(encoder)?, compile(decoder)?);
        Ok(Self {
            encoder_constants: encoder.constants(&[])?,
            encoder,
            decoder_constants: decoder.constants(&[])?,
            decoder,
            latent,
            skips,
            region_threshold: match options.region_reuse {
                RegionReuse::Off | RegionReuse::Exact => 0.0,
                RegionReuse::Approximate => options.region_threshold / 127.5,
            },
        })
    }
}

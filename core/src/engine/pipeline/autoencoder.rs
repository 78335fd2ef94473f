//! The autoencoder of a pipeline, at its size.

use std::sync::Arc;

use super::context::Compiler;
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
}

impl AutoencoderNetworks {
    /// Compiles both halves over `weights` for pictures of `width` x `height`, and with skip connections if `with_skips`, from
    /// pictures in that range.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(super) fn compile(
        autoencoder: &Autoencoder,
        (weights, with_skips): (&Weights, Option<PictureRange>),
        compiler: &Compiler<'_>,
        (width, height): (u32, u32),
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
        let encoder = compiler.compile(encoder, weights)?;
        let decoder = compiler.compile(decoder, weights)?;
        Ok(Self {
            encoder_constants: encoder.constants(&[])?,
            encoder,
            decoder_constants: decoder.constants(&[])?,
            decoder,
            latent,
            skips,
        })
    }
}

//! The autoencoder of a pipeline, at its size.

use std::sync::Arc;

use super::context::Compiler;
use super::models::Models;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Network};
use crate::net::Shape;

/// The autoencoder's two halves.
#[derive(Debug)]
pub(crate) struct AutoencoderNetworks {
    pub(crate) encoder: Arc<dyn Network>,
    pub(crate) encoder_constants: Constants,
    pub(crate) decoder: Arc<dyn Network>,
    pub(crate) decoder_constants: Constants,
    /// Of one latent.
    pub(crate) latent: Shape,
}

impl AutoencoderNetworks {
    /// Compiles both halves for pictures of `width` x `height`.
    ///
    /// # Errors
    ///
    /// Those of [`Compiler::compile`].
    pub(super) fn compile(models: &Models, compiler: &Compiler<'_>, width: u32, height: u32) -> Result<Self> {
        let (height, width) = (height as usize, width as usize);
        let encoder = models.autoencoder.encoder_program(1, height, width)?;
        let decoder = models.autoencoder.decoder_program(1, height, width)?;
        let latent = decoder.inputs().first().map(|input| decoder.shape(input.value));
        let latent = latent.ok_or_else(|| Error::new(ErrorKind::Internal, "the decoder has no input"))?;
        let encoder = compiler.compile(encoder, &models.autoencoder_weights)?;
        let decoder = compiler.compile(decoder, &models.autoencoder_weights)?;
        Ok(Self {
            encoder_constants: encoder.constants(&[])?,
            encoder,
            decoder_constants: decoder.constants(&[])?,
            decoder,
            latent,
        })
    }
}

//! Autoencoders: pictures to latents and back, for all kinds that checkpoints have.

use super::config::{AutoencoderKlConfig, TinyAutoencoderConfig};
use super::taesd;
use super::vae::{self, PictureRange};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Program, Shape};

/// An autoencoder: the full one or the tiny one.
#[derive(Debug, Clone, PartialEq)]
pub enum Autoencoder {
    /// `AutoencoderKL`.
    Kl(AutoencoderKlConfig),
    /// `AutoencoderTiny`.
    Tiny(TinyAutoencoderConfig),
}

/// Maximum number of rows, and pixels to a side.
const MAX_ROWS: usize = 256;
const MAX_SIDE: usize = 8192;

impl Autoencoder {
    /// Reads an autoencoder's `config.json`; its `_class_name` says which it is; the default is the full one.
    ///
    /// # Errors
    ///
    /// `BadModel` for an invalid config, or a value out of range; `Unsupported` for another class or an
    /// unsupported option.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Class {
            #[serde(rename = "_class_name")]
            name: Option<String>,
        }
        let class: Class = serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::BadModel, "autoencoder config: expected a JSON object with a class")
                .with_source(error)
        })?;
        match class.name.as_deref() {
            None | Some("AutoencoderKL") => Ok(Self::Kl(AutoencoderKlConfig::from_json(text)?)),
            Some("AutoencoderTiny") => Ok(Self::Tiny(TinyAutoencoderConfig::from_json(text)?)),
            Some(other) => {
                let text = format!("autoencoder class: got {other:?}, expected AutoencoderKL or AutoencoderTiny");
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// Returns how many pixels to a side become one latent pixel: 8 for the usual four stages.
    pub fn scale(&self) -> usize {
        let stages = match self {
            Self::Kl(config) => config.channels.len(),
            Self::Tiny(config) => config.encoder.len(),
        };
        1 << (stages - 1)
    }

    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl(config) => config.latent_channels,
            Self::Tiny(config) => config.latent_channels,
        }
    }

    /// Builds the encoder: `picture`, `[rows, height, width, 3]` in `[-1, 1]`, to `latent`,
    /// `[rows, height / scale, width / scale, latent_channels]`, scaled as the UNet wants it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a size that is not in steps of [`scale`](Self::scale), `BadModel` for an inconsistent config.
    pub fn encoder_program(&self, rows: usize, height: usize, width: usize) -> Result<Program> {
        self.check_size(rows, height, width)?;
        let shape = Shape::new(rows, height, width, 3);
        match self {
            Self::Kl(config) => vae::encoder(config, shape, None),
            Self::Tiny(config) => taesd::encoder(config, shape),
        }
    }

    /// Builds the decoder: `latent` to `picture`, shaped as for the encoder of pictures of `height` x `width`. The
    /// picture is approximately in `[-1, 1]` and is not clamped.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a size that is not in steps of [`scale`](Self::scale), `BadModel` for an inconsistent config.
    pub fn decoder_program(&self, rows: usize, height: usize, width: usize) -> Result<Program> {
        self.check_size(rows, height, width)?;
        let shape = Shape::new(rows, height / self.scale(), width / self.scale(), self.latent_channels());
        match self {
            Self::Kl(config) => vae::decoder(config, shape, false),
            Self::Tiny(config) => taesd::decoder(config, shape),
        }
    }

    /// Builds the encoder with skip connections: like [`encoder_program`](Self::encoder_program), with one more output
    /// for each block of the encoder, finest first: the value before it, `[rows, height / 2^i, width / 2^i, channels]`. The
    /// picture is in `[-1, 1]` here, too; the encoder sees it in its `range`.
    ///
    /// # Errors
    ///
    /// Those of `encoder_program`; `Unsupported` for the tiny autoencoder.
    pub fn encoder_program_with_skips(
        &self,
        rows: usize,
        height: usize,
        width: usize,
        range: PictureRange,
    ) -> Result<Program> {
        self.check_size(rows, height, width)?;
        vae::encoder(self.with_skips()?, Shape::new(rows, height, width, 3), Some(range))
    }

    /// Builds the decoder with skip connections: like [`decoder_program`](Self::decoder_program), with one more input for
    /// each output that [`encoder_program_with_skips`](Self::encoder_program_with_skips) has after the latent. Each is
    /// added before a block through a 1x1 convolution without bias, `decoder.skip_conv_1` to the coarsest one.
    ///
    /// # Errors
    ///
    /// Those of `decoder_program`; `Unsupported` for the tiny autoencoder.
    pub fn decoder_program_with_skips(&self, rows: usize, height: usize, width: usize) -> Result<Program> {
        self.check_size(rows, height, width)?;
        let shape = Shape::new(rows, height / self.scale(), width / self.scale(), self.latent_channels());
        vae::decoder(self.with_skips()?, shape, true)
    }

    /// Returns the config of an autoencoder that can have skip connections.
    fn with_skips(&self) -> Result<&AutoencoderKlConfig> {
        match self {
            Self::Kl(config) => Ok(config),
            Self::Tiny(_) => {
                let text = "autoencoder with skip connections: got AutoencoderTiny, expected AutoencoderKL";
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    fn check_size(&self, rows: usize, height: usize, width: usize) -> Result<()> {
        let scale = self.scale();
        let fits = |side: usize| (1..=MAX_SIDE).contains(&side) && side.is_multiple_of(scale);
        if (1..=MAX_ROWS).contains(&rows) && fits(height) && fits(width) {
            return Ok(());
        }
        let text = format!(
            "pictures for the autoencoder: got {rows} of {width}x{height}, expected 1 to {MAX_ROWS} with sides in steps \
             of {scale} up to {MAX_SIDE}"
        );
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }
}

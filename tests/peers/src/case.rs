//! What is timed: a network of known architecture, in a number format, at a size.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::ValueEnum;
use dreamframe::models::known::KNOWN_MODELS;
use dreamframe::models::{Autoencoder, UnetConfig, UnetShape, unet_program};
use dreamframe::net::Program;
use serde::{Serialize, Serializer};

use crate::{Result, work};

/// The UNet of the demo model, which is no published checkpoint.
const DEMO: (&str, &str) = ("demo", include_str!("../../../models/demo/dreamframe-tiny/unet/config.json"));
/// The tiny autoencoder that all known models stream with.
const TAESD: &str = KNOWN_MODELS[0].autoencoder;

/// A part of a model that is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Unet,
    Encoder,
    Decoder,
}

/// What to time of which architecture; several parts are timed as one, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) parts: &'static [Part],
    /// The network's `config.json`, as a checkpoint has it.
    pub(crate) config: &'static str,
}

impl Model {
    /// All there are.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let unet = |(name, config)| Self { name, parts: &[Part::Unet], config };
        let unets = KNOWN_MODELS.iter().map(|known| (known.name, known.unet)).chain([DEMO]).map(unet);
        let taesd = |name, parts| Self { name, parts, config: TAESD };
        unets.chain([
            taesd("taesd", &[Part::Encoder, Part::Decoder]),
            taesd("taesd-encoder", &[Part::Encoder]),
            taesd("taesd-decoder", &[Part::Decoder]),
        ])
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::all().find(|model| model.name == text).ok_or_else(|| {
            let names: Vec<&str> = Self::all().map(|model| model.name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// A number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    F32,
    Bf16,
    Int8,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

/// What both sides run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    pub(crate) model: Model,
    pub(crate) dtype: Dtype,
    /// Pixels to a side of the picture.
    pub(crate) size: usize,
    /// Rows of the batch.
    pub(crate) rows: usize,
    pub(crate) threads: NonZeroUsize,
}

impl Case {
    /// The programs of the parts, in order.
    ///
    /// # Errors
    ///
    /// For a size that the network cannot do.
    pub(crate) fn programs(&self) -> Result<Vec<Program>> {
        self.model.parts.iter().map(|part| self.program(*part)).collect()
    }

    fn program(&self, part: Part) -> Result<Program> {
        let (rows, size) = (self.rows, self.size);
        let autoencoder = |config| Autoencoder::from_json(config);
        Ok(match part {
            Part::Unet => {
                // Every autoencoder of these models takes 8 pixels to a side for one of the latent.
                let side = size / 8;
                let shape = UnetShape::new(rows, side, side);
                unet_program(&UnetConfig::from_json(self.model.config)?, &shape)?
            }
            Part::Encoder => autoencoder(self.model.config)?.encoder_program(rows, size, size)?,
            Part::Decoder => autoencoder(self.model.config)?.decoder_program(rows, size, size)?,
        })
    }

    /// The floating-point operations of one pass, in billions; see [`work::gflop`].
    ///
    /// # Errors
    ///
    /// For a size that the network cannot do.
    pub(crate) fn gflop(&self) -> Result<f64> {
        Ok(self.programs()?.iter().map(work::gflop).sum())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, dtype, size, rows, threads } = self;
        let rows_word = if *rows == 1 { "row" } else { "rows" };
        let threads_word = if threads.get() == 1 { "thread" } else { "threads" };
        write!(f, "{model} {size}x{size}, {rows} {rows_word}, {dtype}, {threads} {threads_word}")
    }
}

#[cfg(test)]
mod tests {
    use dreamframe::models::known::known_model;

    use super::*;

    #[test]
    fn a_model_is_found_by_its_name_and_another_is_refused_with_the_list() {
        for model in Model::all() {
            assert_eq!(model.name.parse(), Ok(model));
        }
        let refused = "sd3".parse::<Model>().unwrap_err();
        assert!(refused.contains("sd-turbo, ") && refused.contains("demo, taesd"), "{refused}");
    }

    #[test]
    fn every_known_model_uses_the_common_autoencoder() {
        assert!(KNOWN_MODELS.iter().all(|known| known.autoencoder == TAESD));
        assert!(known_model(DEMO.0).is_none());
    }
}

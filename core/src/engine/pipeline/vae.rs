//! The choice of a model's autoencoder.

use crate::engine::options::Vae;
use crate::error::{Error, ErrorKind, Result};
use crate::load::{Checkpoint, Component, ModelId, ModelSource};
use crate::models::{Autoencoder, ModelFamily, UnetConfig, UnetShape, unet_program};
use crate::net::Program;
use crate::params::Notice;

/// The side of the pictures for which autoencoders are compared.
const SIDE: usize = 512;

/// An autoencoder, with its files.
#[derive(Debug)]
pub(super) struct VaeFiles {
    pub(super) component: Component,
    pub(super) config: Autoencoder,
}

impl VaeFiles {
    /// Opens the autoencoder that `choice` names for the model of `checkpoint`, with the UNet `unet`.
    ///
    /// # Errors
    ///
    /// `NotFound`, `BadModel`, `Unsupported`; not for a tiny one that is only preferred.
    pub(super) fn choose(
        choice: &Vae,
        (source, checkpoint): (&ModelSource, &Checkpoint),
        unet: &UnetConfig,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let own = || Self::of(checkpoint.component("vae")?);
        match choice {
            Vae::Full => own(),
            Vae::Id(id) => {
                let found = id.parse().and_then(|id| source.component(&id)).and_then(Self::of);
                found.map_err(|error| error.within("vae"))
            }
            Vae::Folder(folder) => Component::folder(folder).and_then(Self::of).map_err(|error| error.within("vae")),
            Vae::Tiny => Self::tiny(source, unet).map_err(|error| {
                let text =
                    format!("vae: {error}; `dreamframe models fetch {}` fetches it", tiny_id(ModelFamily::of(unet)));
                if error.kind() == ErrorKind::NotFound { Error::new(ErrorKind::NotFound, text) } else { error }
            }),
            Vae::Auto => {
                let own = own()?;
                if matches!(own.config, Autoencoder::Tiny(_)) {
                    return Ok(own);
                }
                let (chosen, message) = own.or_tiny(Self::tiny(source, unet), unet)?;
                notices.extend(message.map(|message| Notice { path: "vae".into(), message }));
                Ok(chosen)
            }
        }
    }

    /// Opens the published tiny autoencoder for the family of the model.
    fn tiny(source: &ModelSource, unet: &UnetConfig) -> Result<Self> {
        Self::of(source.component(&tiny_id(ModelFamily::of(unet)).parse::<ModelId>()?)?)
    }

    fn of(component: Component) -> Result<Self> {
        let config = Autoencoder::from_json(&component.config).map_err(|error| error.within("vae/config.json"))?;
        Ok(Self { component, config })
    }

    /// Returns `tiny` in place of this one, the model's own, if it can be used; with what the user should know.
    fn or_tiny(self, tiny: Result<Self>, unet: &UnetConfig) -> Result<(Self, Option<String>)> {
        let id = tiny_id(ModelFamily::of(unet));
        match tiny {
            Ok(tiny) if tiny.config.latent_channels() == self.config.latent_channels() => {
                let times = self.multiplications()? as f64 / tiny.multiplications()?.max(1) as f64;
                let message = format!(
                    "is auto: {id} is used instead of the model's own autoencoder, which needs {times:.0} times as many \
                     multiplications and keeps more detail (`vae`: full)"
                );
                Ok((tiny, Some(message)))
            }
            Ok(tiny) => {
                let (got, expected) = (tiny.config.latent_channels(), self.config.latent_channels());
                Ok((self, Some(format!("is auto: {id} is not used: latent channels: got {got}, expected {expected}"))))
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Ok((self, Some(format!("is auto: {id} is not used: {error:#}"))))
            }
            Err(_) => {
                let side = SIDE / self.config.scale();
                let unet = unet_program(unet, &UnetShape::new(1, side, side))?.multiplications();
                let times = self.multiplications()? as f64 / unet.max(1) as f64;
                let message = format!(
                    "is auto: the model's own autoencoder needs {times:.1} times as many multiplications as its UNet; \
                     `dreamframe models fetch {id}` fetches a smaller one, which is then used"
                );
                Ok((self, (times > 1.0).then_some(message)))
            }
        }
    }

    /// Returns the number of multiplications to encode and decode one picture.
    fn multiplications(&self) -> Result<u64> {
        multiplications(&self.config)
    }
}

/// Returns the number of multiplications to encode and decode one picture.
fn multiplications(config: &Autoencoder) -> Result<u64> {
    let programs = [config.encoder_program(1, SIDE, SIDE)?, config.decoder_program(1, SIDE, SIDE)?];
    Ok(programs.iter().map(Program::multiplications).sum())
}

/// Returns the id of the published tiny autoencoder for the family of a model.
pub(super) fn tiny_id(family: ModelFamily) -> &'static str {
    match family {
        ModelFamily::Sd15 | ModelFamily::Sd21 => "madebyollin/taesd",
        ModelFamily::Sdxl => "madebyollin/taesdxl",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::known::known_model;

    #[test]
    fn the_full_autoencoder_takes_several_times_the_work_of_the_unet_and_the_tiny_one_a_fraction() {
        let known = known_model("sd15").unwrap();
        let unet = UnetConfig::from_json(known.unet).unwrap();
        let unet = unet_program(&unet, &UnetShape::new(1, 64, 64)).unwrap().multiplications();
        let full = r#"{
            "_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
            "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]
        }"#;
        let [full, tiny] = [full, known.autoencoder]
            .map(|config| multiplications(&Autoencoder::from_json(config).unwrap()).unwrap() as f64 / unet as f64);
        assert!((3.0..6.0).contains(&full) && tiny < 0.7, "{full} {tiny}");
    }
}

//! img2img-turbo: the changes of a file, fitted to the base model, and the weights with them at a strength.

use std::sync::Arc;

use super::context::{BuildContext, pickled};
use super::keys::{TurboKey, TurboUse};
use super::models::Models;
use crate::error::{Error, Result, Violation};
use crate::load::{Img2ImgTurboFile, ModelId, TurboLayout};
use crate::models::{PictureRange, TurboChanges, is_skip_weight, smallest_unet};
use crate::net::{WeightSource, WeightSpec, Weights};
use crate::params::{Img2ImgTurboConfig, Notice, TurboDirection};

/// The parameter that names the file.
const WEIGHTS: &str = "img2img_turbo.weights";

/// The changes of a file that was read, for one base model.
#[derive(Debug)]
pub(crate) struct Turbo {
    layout: TurboLayout,
    unet: TurboChanges,
    vae: TurboChanges,
}

impl Turbo {
    /// Reads the file that `key` names, and fits it to `models`.
    ///
    /// # Errors
    ///
    /// `NotFound`; `InvalidParams` for an invalid id, or a direction that the file does not have; `BadModel` for a file
    /// that lacks weights or does not fit; `Unsupported` for another layout, or a tiny autoencoder.
    pub(super) fn load(
        context: &BuildContext,
        models: &Models,
        key: &TurboKey,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let id: ModelId = key.weights.parse().map_err(|error: Error| invalid(WEIGHTS, error.to_string()))?;
        let backward = key.direction == TurboDirection::B2a;
        let file = Img2ImgTurboFile::find(&context.source, &id, backward).map_err(|error| error.within(WEIGHTS))?;
        if backward && file.layout == TurboLayout::Pix2Pix {
            let text = "got \"b2a\", expected \"a2b\": files of pix2pix-turbo have one direction";
            return Err(invalid("img2img_turbo.direction", text.to_owned()));
        }
        notices.extend(pickled(&file.weights, WEIGHTS));
        let path = file.path.clone();
        Self::fit(models, file).map_err(|error| error.within(path).within(WEIGHTS))
    }

    fn fit(models: &Models, file: Img2ImgTurboFile) -> Result<Self> {
        let Img2ImgTurboFile { layout, weights, unet, vae, .. } = file;
        let file: Arc<dyn WeightSource> = weights;
        let side = models.autoencoder.scale();
        let encoder = models.autoencoder.encoder_program_with_skips(1, side, side, range(layout)).map_err(|error| {
            Error::new(error.kind(), format!("{error} (the option `vae`: full is the model's own)"))
        })?;
        let decoder = models.autoencoder.decoder_program_with_skips(1, side, side)?;
        let specs = [encoder.weights(), decoder.weights()].concat();
        let vae = TurboChanges::fit("autoencoder", vae, &specs, &file)?;
        let needs = |spec: &&WeightSpec| layout == TurboLayout::CycleGan || is_skip_weight(spec);
        vae.require(specs.iter().filter(needs))?;
        let unet = TurboChanges::fit("UNet", unet, smallest_unet(&models.unet)?.weights(), &file)?;
        Ok(Self { layout, unet, vae })
    }

    /// Checks the strength of `params`.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for a file that has one strength.
    pub(super) fn check(&self, params: &Img2ImgTurboConfig) -> Result<()> {
        if self.layout == TurboLayout::Pix2Pix || params.strength >= 1.0 {
            return Ok(());
        }
        let text = format!("got {}, expected 1: files of CycleGAN-turbo have one strength", params.strength);
        Err(invalid("img2img_turbo.strength", text))
    }

    /// Returns the UNet's weights: `base` with LoRAs at the strength, and the first convolution that belongs to it.
    pub(super) fn unet_weights(&self, base: &Arc<Weights>, strength: f64) -> Arc<Weights> {
        self.unet.weights(base, strength)
    }

    /// Returns the range of the pictures that the autoencoder's encoder was trained for.
    pub(super) fn range(&self) -> PictureRange {
        range(self.layout)
    }

    /// Returns the autoencoder's weights, with the convolutions of skip connections, whose results are scaled by the
    /// strength.
    pub(super) fn vae_weights(&self, base: &Arc<Weights>, strength: f64) -> Arc<Weights> {
        self.vae.weights(base, strength)
    }
}

impl TurboUse {
    /// Returns the use that `params` ask for; `None` without weights.
    pub(super) fn of(key: Option<TurboKey>, params: &Img2ImgTurboConfig) -> Option<Self> {
        Some(Self { key: key?, strength: params.strength })
    }
}

/// Returns the range of the pictures that encoders were trained for: conditions such as edges are not signed.
fn range(layout: TurboLayout) -> PictureRange {
    match layout {
        TurboLayout::Pix2Pix => PictureRange::Unit,
        TurboLayout::CycleGan => PictureRange::Signed,
    }
}

fn invalid(path: &str, message: String) -> Error {
    Error::invalid_params(vec![Violation { path: path.into(), message }])
}

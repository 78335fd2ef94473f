//! The parameters of img2img-turbo.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::named_enum;

/// img2img-turbo (pix2pix-turbo and CycleGAN-turbo): weights on top of SD-Turbo that translate a frame in one step, without
/// noise, with skip connections from the autoencoder's encoder to its decoder.
///
/// With it, `t_index_list` has one index, and there is no guidance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Img2ImgTurboConfig {
    /// The file of weights, by its name in the folder of the models, such as `edge_to_image_loras.pkl`; without one,
    /// img2img-turbo is off.
    pub weights: Option<String>,
    /// The direction of the translation; only files of CycleGAN-turbo have two.
    pub direction: TurboDirection,
    /// The strength of the translation, of files of pix2pix-turbo; below 1, the rest is noise of the seed.
    pub strength: f64,
}

impl Default for Img2ImgTurboConfig {
    fn default() -> Self {
        Self { weights: None, direction: TurboDirection::A2b, strength: 1.0 }
    }
}

named_enum! {
    /// The direction in which CycleGAN-turbo translates between the two domains that it was trained with.
    pub enum TurboDirection {
        /// From the first domain to the second, as with `day2night.pkl` and `clear2rainy.pkl`.
        A2b = "a2b",
        /// From the second domain to the first, as with `night2day.pkl` and `rainy2clear.pkl`.
        B2a = "b2a",
    }
}

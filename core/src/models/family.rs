//! The family of a checkpoint, by its UNet's config.

use super::clip::TextStates;
use super::config::UnetConfig;
use crate::families::ModelFamily;

impl ModelFamily {
    /// Returns the family of a UNet: SDXL by its added conditions, Stable Diffusion 2.x by the width of its text, 1.x
    /// otherwise.
    pub fn of(config: &UnetConfig) -> Self {
        const SD21_TEXT: usize = 1024;
        match (&config.added, config.text_dim) {
            (Some(_), _) => Self::Sdxl,
            (None, SD21_TEXT) => Self::Sd21,
            (None, _) => Self::Sd15,
        }
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sd15 => "sd15",
            Self::Sd21 => "sd21",
            Self::Sdxl => "sdxl",
        }
    }

    /// Which states of the text encoders the UNet was trained on.
    pub fn text_states(self) -> TextStates {
        match self {
            Self::Sd15 | Self::Sd21 => TextStates::Last,
            Self::Sdxl => TextStates::Penultimate,
        }
    }
}

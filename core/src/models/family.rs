//! The families of checkpoints, told apart by their UNet's config.

use super::clip::TextStates;
use super::config::UnetConfig;

/// A line of checkpoints that are fed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelFamily {
    /// Stable Diffusion 1.x, its distilled and pruned forms, and what is like it (the demo model).
    Sd15,
    /// Stable Diffusion 2.x, SD-Turbo.
    Sd21,
    /// SDXL, SDXL-Turbo: two text encoders, a pooled text and sizes as added conditions.
    Sdxl,
}

impl ModelFamily {
    /// The family of a UNet: SDXL by its added conditions, Stable Diffusion 2.x by the width of its text, 1.x otherwise.
    pub fn of(config: &UnetConfig) -> Self {
        const SD21_TEXT: usize = 1024;
        match (&config.added, config.text_dim) {
            (Some(_), _) => Self::Sdxl,
            (None, SD21_TEXT) => Self::Sd21,
            (None, _) => Self::Sd15,
        }
    }

    /// Which states of the text encoders the UNet was trained on.
    pub fn text_states(self) -> TextStates {
        match self {
            Self::Sd15 | Self::Sd21 => TextStates::Last,
            Self::Sdxl => TextStates::Penultimate,
        }
    }

    /// How many text encoders there are; their states are joined on the channels.
    pub fn text_encoders(self) -> usize {
        match self {
            Self::Sd15 | Self::Sd21 => 1,
            Self::Sdxl => 2,
        }
    }
}

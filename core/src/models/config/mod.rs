//! Configs of checkpoints (`config.json`), in the form that programs are written from.
//!
//! Everything a program's builder relies on is checked here, against limits far above any published model: a config
//! that asks for more is refused before anything is allocated.

mod autoencoder;
mod clip;
mod clip_vision;
mod controlnet;
mod reader;
mod unet;

pub use autoencoder::{AutoencoderKlConfig, TinyAutoencoderConfig};
pub use clip::ClipTextConfig;
pub use clip_vision::ClipVisionConfig;
pub use controlnet::ControlNetModelConfig;
pub use unet::{AddedConfig, AttentionConfig, BlockConfig, TimeConfig, UnetConfig};

/// Maximum number of channels a layer may have; published UNets stay below 2,048.
const MAX_CHANNELS: usize = 8192;
/// Maximum number of resolutions a network may have.
const MAX_BLOCKS: usize = 8;
/// Maximum number of resnets or residual blocks of one resolution.
const MAX_RESNETS: usize = 16;
/// Maximum number of layers of a transformer; published ones have up to 32.
const MAX_LAYERS: usize = 64;
/// Widest text or vector a network may be conditioned on.
const MAX_WIDTH: usize = 16384;

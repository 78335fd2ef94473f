//! Networks: from a checkpoint's config to a program; one file per network.
//!
//! The weights of a program have the names in the checkpoint. What depends on the prompt or the schedule only (keys and
//! values of the text, embeddings of the timesteps) depends on constant inputs only, so that executors compute it outside
//! the frame loop. Devices, files and tokenizers are not known here.

pub mod annotators;
mod autoencoder;
mod clip;
mod clip_vision;
pub mod config;
mod controlnet;
mod embedding;
mod family;
mod img2img_turbo;
pub mod ip_adapter;
pub mod known;
mod layers;
mod lora;
mod lora_names;
mod mobilenet;
mod nsfw;
pub mod safety;
mod taesd;
mod unet;
mod unet_blocks;
mod vae;

pub use crate::families::{FamilyInfo, ModelFamily};
pub use autoencoder::Autoencoder;
pub use clip::{TextStates, clip_program};
pub use clip_vision::{ClipVisionWeights, VisionStates, clip_patches, clip_vision_program};
pub use config::{ClipTextConfig, ClipVisionConfig, ControlNetModelConfig, UnetConfig};
pub use controlnet::{ControlNetShape, controlnet_embedding_program, controlnet_program};
pub use embedding::{guidance_embedding, time_ids_embedding, timestep_embedding};
pub use img2img_turbo::{TurboChanges, is_skip_weight};
pub use lora::{LoraChanges, LoraNames, LoraTarget};
pub use nsfw::{CLASSES as NSFW_CLASSES, SIDE as NSFW_SIDE, nsfw_program};
pub(crate) use unet::smallest_unet;
pub use unet::{Prediction, TEXT_TOKENS, UnetPart, UnetShape, residual_shapes, unet_program};
pub use vae::PictureRange;

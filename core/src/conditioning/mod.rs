//! Conditioning of the UNet: tokenization and blending of prompts, noise from seeds, style images.

pub mod blend;
pub mod clip_picture;
pub mod seed;
pub mod style;
pub mod tokenizer;
pub mod transition;

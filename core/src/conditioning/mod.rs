//! Conditioning of the UNet: prompts and seeds, tokenized, encoded, blended; style images.

pub mod blend;
pub mod clip_picture;
pub mod seed;
pub mod style;
pub mod tokenizer;
pub mod transition;

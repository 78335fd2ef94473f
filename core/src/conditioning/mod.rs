//! What steers the UNet besides the frame: prompts and seeds, tokenised, encoded, blended.

pub mod blend;
pub mod seed;
pub mod tokenizer;
pub mod transition;

//! What steers the UNet besides the frame: prompts and seeds, tokenised, encoded, blended;
//! images to be styled after.

pub mod blend;
pub mod clip_picture;
pub mod seed;
pub mod style;
pub mod tokenizer;
pub mod transition;

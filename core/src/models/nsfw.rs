//! The classifier of nsfwjs: MobileNetV2, and three layers with five classes of pictures.

use super::layers::mean;
use super::mobilenet::mobilenet;
use crate::error::Result;
use crate::net::{Activation, Program, ProgramBuilder, Rate, Shape};

/// Side of the picture in pixels.
pub const SIDE: usize = 224;
/// What the classes are called, in order.
pub const CLASSES: [&str; 5] = ["drawing", "hentai", "neutral", "porn", "sexy"];
/// Channels of the layers between the backbone and the classes.
const HIDDEN: [usize; 2] = [256, 128];

/// Builds the network for a picture in 0..1; outputs the logits of the [`CLASSES`].
///
/// # Errors
///
/// `BadModel` if its shapes are inconsistent.
pub fn nsfw_program() -> Result<Program> {
    let mut builder = ProgramBuilder::new("classifier");
    let b = &mut builder;
    let picture = b.input("picture", Shape::new(1, SIDE, SIDE, 3), Rate::Frame);
    let (_, top) = mobilenet(b, picture);
    let mut x = mean(b, top);
    for (i, channels) in HIDDEN.into_iter().enumerate() {
        x = b.linear(&format!("dense.{i}"), x, channels, true);
        x = b.activate(x, Activation::Relu);
    }
    let logits = b.linear(&format!("dense.{}", HIDDEN.len()), x, CLASSES.len(), true);
    b.output("logits", logits);
    builder.finish()
}

//! Times of the stages of a frame, and what many of them come to.

mod stats;
mod timings;

pub use stats::{Samples, Summary};
pub use timings::Timings;

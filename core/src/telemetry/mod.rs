//! Times of the stages of a frame, what many of them come to, and counts of what was done.

mod stats;
mod timings;
mod work;

pub use stats::{Samples, Summary};
pub use timings::Timings;
pub use work::Work;

//! Times of the stages of a frame, how often things happen, and what many measurements come to.

mod rate;
mod stats;
mod timings;

pub(crate) use rate::Meter;
pub use rate::Rate;
pub use stats::{Samples, Summary};
pub use timings::Timings;

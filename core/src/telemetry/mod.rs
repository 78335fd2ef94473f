//! Times of the stages of a frame, how often things happen, what many measurements come to, and counts of what was
//! done.

mod rate;
mod stats;
mod timings;
mod work;

pub(crate) use rate::Meter;
pub use rate::Rate;
pub use stats::{Samples, Summary};
pub use timings::Timings;
pub use work::{ControlWork, Work};

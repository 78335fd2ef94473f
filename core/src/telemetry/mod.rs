//! Measurements: times of the stages of a frame, rates of events, summaries of samples, and counts of network runs.

mod rate;
mod recent;
mod stats;
mod timings;
mod work;

pub(crate) use rate::Meter;
pub use rate::Rate;
pub use recent::RecentTimes;
pub use stats::{Samples, Summary};
pub use timings::Timings;
pub use work::{ControlWork, Work};

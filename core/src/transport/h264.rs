//! H.264 streams outside of RTP, such as in files: parameter sets, and the limits that are checked before decoding.

pub use super::rtp::limits::{check_h264, check_set};
pub use super::rtp::parameter_sets::ParameterSets;
pub use super::rtp::sps::{SequenceSet, VideoSignal};

//! Skips frames that hardly differ from the last one computed.

mod similar;

pub use similar::{Decision, SimilarFilter};

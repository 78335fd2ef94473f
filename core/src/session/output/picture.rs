//! Pictures on their way to the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::presenter::Presenter;
use super::relay::Relay;
use crate::engine::Picture;
use crate::interpolation::Rife;

/// Between the session's thread and the host.
pub(super) type Pictures = Relay<Arrival, Shown, Presenter>;

/// A picture that was made.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) picture: Picture,
    /// When it was made.
    pub(super) at: Instant,
    /// How many pictures are shown for it, at least 1.
    pub(super) factor: u32,
    /// The difference from which nothing is interpolated.
    pub(super) scene_cut: f64,
    /// Makes the pictures between the last one and this one; without it, they are made by optical flow.
    pub(super) network: Option<Arc<Rife>>,
}

/// A picture to be shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) picture: Picture,
    /// When it is shown.
    pub(super) due: Instant,
    /// The time until the next one.
    pub(super) step: Duration,
    /// Whether it was made, and not interpolated.
    pub(super) is_made: bool,
    /// Whether the session's thread may show the next picture itself.
    pub(super) returns: bool,
}

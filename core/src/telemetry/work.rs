//! How often the networks ran.

use serde::{Deserialize, Serialize};

/// Counts what frames took, since the engine was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Work {
    /// Runs of the UNet.
    pub unet_evaluations: u64,
    /// Rows of all these runs.
    pub unet_rows: u64,
    /// Control images made; ControlNets with the same preprocessor and settings share one.
    pub control_images: u64,
    /// Runs of ControlNets.
    pub control_evaluations: u64,
    /// Rows of all these runs.
    pub control_rows: u64,
}

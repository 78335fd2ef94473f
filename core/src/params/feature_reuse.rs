//! The parameters of features that are used again for later frames.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reuse of the features of the UNet's deep layers for later frames, as in DeepCache: most of the UNet is then computed for
/// some frames only. Pictures are approximations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureReuseConfig {
    /// At least one of every `interval` frames runs the whole UNet; with 1, all do. Other values have no effect while
    /// `cached_attention.enabled` is true.
    pub interval: u32,
    /// The estimated error up to which features are used again: the change of the UNet's input since they were computed,
    /// relative to its size.
    pub max_error: f64,
}

impl Default for FeatureReuseConfig {
    fn default() -> Self {
        Self { interval: 1, max_error: 0.3 }
    }
}

//! How several prompts or seeds are mixed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How several prompts or seeds are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The weighted sum.
    Linear,
    /// Along the arc between two; more than two are mixed linearly.
    Slerp,
}

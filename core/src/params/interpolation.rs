//! The parameters of interpolated pictures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pictures that a session interpolates between two others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InterpolationConfig {
    /// How many pictures a session shows for each one that is made: 1 for no interpolation. With more, each picture is
    /// shown up to one interval later.
    pub factor: u32,
    /// The mean difference of two pictures, after motion, from which nothing is interpolated between them.
    pub scene_cut: f64,
    /// RIFE's network (version 4.5 or later), which makes the pictures between two: its file in the folder of the
    /// models, such as `flownet.pkl`, or a folder with a file of that name; without one, they are made by optical flow.
    pub model_id: Option<String>,
}

impl Default for InterpolationConfig {
    fn default() -> Self {
        Self { factor: 1, scene_cut: 0.12, model_id: None }
    }
}

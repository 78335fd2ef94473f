//! One ControlNet, as the wire describes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::processor::ProcessorName;

/// Describes one ControlNet: the network, what makes its control image, and how much it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlNetConfig {
    /// Names the network, as a hub id or a folder; no two ControlNets have the same.
    pub model_id: String,
    /// Sets the conditioning scale, the strength of this ControlNet; at 0 it stays loaded and does nothing.
    #[serde(default = "one")]
    pub conditioning_scale: f64,
    /// Names what makes the control image; without one the frame itself is the control image.
    #[serde(default)]
    pub preprocessor: Option<ProcessorName>,
    /// Loads the network; a disabled ControlNet is kept in the list only.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Gives the preprocessor's own parameters, such as `low_threshold` of `canny`.
    #[serde(default)]
    pub preprocessor_params: Map<String, Value>,
    /// Says from which share of the rows on the ControlNet counts.
    #[serde(default)]
    pub control_guidance_start: f64,
    /// Says up to which share of the rows the ControlNet counts.
    #[serde(default = "one")]
    pub control_guidance_end: f64,
    /// Says how many channels the control image has, where the network's own configuration does not.
    #[serde(default)]
    pub conditioning_channels: Option<u32>,
}

impl ControlNetConfig {
    /// Describes the ControlNet `model_id` with every other field at its default.
    pub fn new(model_id: impl Into<String>) -> Self {
        Self {
            model_id: model_id.into(),
            conditioning_scale: one(),
            preprocessor: None,
            enabled: yes(),
            preprocessor_params: Map::new(),
            control_guidance_start: 0.0,
            control_guidance_end: one(),
            conditioning_channels: None,
        }
    }
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constructor_and_a_bare_id_in_json_agree() {
        let read: ControlNetConfig = serde_json::from_str(r#"{"model_id": "a/b"}"#).unwrap();
        assert_eq!(read, ControlNetConfig::new("a/b"));
    }
}

//! The parameters of a ControlNet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::processor::ProcessorName;

/// A ControlNet: the network, its preprocessor, and its scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlNetConfig {
    /// The network, as a hub id or a folder; unique within the list.
    pub model_id: String,
    /// The conditioning scale; at 0, the ControlNet stays loaded, and does not run.
    #[serde(default = "one")]
    pub conditioning_scale: f64,
    /// The preprocessor of the control image; without one, the frame itself is the control image.
    #[serde(default)]
    pub preprocessor: Option<ProcessorName>,
    /// Whether the network is loaded; a disabled ControlNet is only kept in the list.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The preprocessor's own parameters, such as `low_threshold` of `canny`.
    #[serde(default)]
    pub preprocessor_params: Map<String, Value>,
    /// The fraction of the denoising steps from which the ControlNet is used.
    #[serde(default)]
    pub control_guidance_start: f64,
    /// The fraction of the denoising steps up to which the ControlNet is used.
    #[serde(default = "one")]
    pub control_guidance_end: f64,
    /// The number of channels of the control image, if the network's own configuration does not have it.
    #[serde(default)]
    pub conditioning_channels: Option<u32>,
}

impl ControlNetConfig {
    /// Returns the ControlNet `model_id`, with all other fields at their defaults.
    ///
    /// ```
    /// use dreamframe::StreamDiffusionParams;
    /// use dreamframe::params::{ControlNetConfig, ProcessorName};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let canny = ControlNetConfig {
    ///     preprocessor: Some(ProcessorName::Canny),
    ///     conditioning_scale: 0.5,
    ///     ..ControlNetConfig::new("thibaud/controlnet-sd21-canny-diffusers")
    /// };
    /// let mut params = StreamDiffusionParams { controlnets: vec![canny], ..StreamDiffusionParams::default() };
    /// params.validate()?;
    /// // It was trained for Stable Diffusion 2.1.
    /// params.model_id = "stabilityai/sdxl-turbo".into();
    /// assert_eq!(params.validate().unwrap_err().violations()[0].path, "controlnets[0].model_id");
    /// # Ok(())
    /// # }
    /// ```
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

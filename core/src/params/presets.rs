//! Presets.

use serde_json::Map;

use super::controlnet::ControlNetConfig;
use super::known_models::DEMO_MODEL;
use super::processor::ProcessorName;
use super::{Acceleration, StreamDiffusionParams};

impl StreamDiffusionParams {
    /// Returns the documented defaults of Daydream's service: 704x384, with five ControlNets for Stable Diffusion 2.1.
    ///
    /// ```
    /// use dreamframe::StreamDiffusionParams;
    ///
    /// let params = StreamDiffusionParams::daydream();
    /// assert_eq!((params.width, params.height, params.controlnets.len()), (704, 384, 5));
    /// ```
    pub fn daydream() -> Self {
        let controlnet = |kind: &str, conditioning_scale, preprocessor| ControlNetConfig {
            conditioning_scale,
            preprocessor: Some(preprocessor),
            ..ControlNetConfig::new(format!("thibaud/controlnet-sd21-{kind}-diffusers"))
        };
        let thresholds = [("low_threshold", 100), ("high_threshold", 200)];
        let canny = ControlNetConfig {
            preprocessor_params: Map::from_iter(thresholds.map(|(name, value)| (name.to_owned(), value.into()))),
            ..controlnet("canny", 0.2, ProcessorName::Canny)
        };
        Self {
            width: 704,
            height: 384,
            controlnets: vec![
                controlnet("openpose", 0.711, ProcessorName::PoseTensorrt),
                controlnet("hed", 0.2, ProcessorName::SoftEdge),
                canny,
                controlnet("depth", 0.5, ProcessorName::DepthTensorrt),
                controlnet("color", 0.2, ProcessorName::Passthrough),
            ],
            ..Self::default()
        }
    }

    /// Returns parameters for the embedded demo model: late timesteps, two rows, a style that it was trained on.
    ///
    /// ```
    /// use dreamframe::{Engine, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 128, ..StreamDiffusionParams::demo() };
    /// let engine = Engine::builder().params(params).build()?;
    /// assert_eq!(engine.size(), (64, 128));
    /// # Ok(())
    /// # }
    /// ```
    pub fn demo() -> Self {
        Self {
            model_id: DEMO_MODEL.into(),
            prompt: "stained glass window".into(),
            negative_prompt: String::new(),
            t_index_list: vec![41, 46],
            use_lcm_lora: false,
            acceleration: Acceleration::None,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::notices;

    #[test]
    fn presets_are_valid() {
        for preset in [StreamDiffusionParams::daydream(), StreamDiffusionParams::demo()] {
            assert_eq!(preset.violations(), []);
        }
    }

    #[test]
    fn daydreams_preset_has_its_five_controlnets() {
        let params = StreamDiffusionParams::daydream();
        let nets = params.controlnets.iter().map(|net| {
            let kind =
                net.model_id.strip_prefix("thibaud/controlnet-sd21-").unwrap().strip_suffix("-diffusers").unwrap();
            (kind, net.conditioning_scale, net.preprocessor.unwrap().name())
        });
        let expected = [
            ("openpose", 0.711, "pose_tensorrt"),
            ("hed", 0.2, "soft_edge"),
            ("canny", 0.2, "canny"),
            ("depth", 0.5, "depth_tensorrt"),
            ("color", 0.2, "passthrough"),
        ];
        assert_eq!(nets.collect::<Vec<_>>(), expected);
        assert_eq!(
            serde_json::json!(params.controlnets[2].preprocessor_params),
            serde_json::json!({
                "low_threshold": 100, "high_threshold": 200
            })
        );
    }

    #[test]
    fn the_demo_has_no_notices() {
        assert_eq!(notices(&StreamDiffusionParams::demo()), []);
    }
}

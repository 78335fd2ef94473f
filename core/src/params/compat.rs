//! Notices of values that are accepted with another meaning.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::settings::DPT;
use super::validate::{did_you_mean, nearest};
use super::{
    Acceleration, CfgType, FlowOutput, IPAdapterConfig, IPAdapterType, Interpolation, InterpolationConfig,
    ProcessorName, StreamDiffusionParams, TemporalNetSettings,
};

/// The default `model_complexity` of `mediapipe_pose`, which clients send.
const DEFAULT_COMPLEXITY: u64 = 1;

/// A notice that a value was accepted with another meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Notice {
    /// The path of the value, such as `controlnets[0].preprocessor`.
    pub path: String,
    /// The meaning of the value; continues the path as a sentence.
    pub message: String,
}

impl Notice {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The top-level field of the path.
    pub(super) fn field(&self) -> &str {
        self.path.split(['.', '[']).next().unwrap_or_default()
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.message)
    }
}

/// Lists the values of `params` that are accepted with another meaning.
pub fn notices(params: &StreamDiffusionParams) -> Vec<Notice> {
    let mut out = Vec::new();
    if params.acceleration != Acceleration::None {
        let message = format!("is {:?}, which means the best executor of this machine", params.acceleration.name());
        out.push(Notice::new("acceleration", message));
    }
    for (path, count, method) in [
        ("prompt", params.prompt.len(), params.prompt_interpolation_method),
        ("seed", params.seed.len(), params.seed_interpolation_method),
    ] {
        if 2 < count && method == Interpolation::Slerp {
            out.push(Notice::new(path, format!("has {count} values: slerp mixes two, so they are mixed linearly")));
        }
    }
    out.extend(guidance(params));
    let size = (params.width, params.height);
    for (i, net) in params.controlnets.iter().enumerate() {
        let path = format!("controlnets[{i}]");
        if let Some(name) = net.preprocessor {
            out.extend(alias(format!("{path}.preprocessor"), name));
            out.extend(settings(&format!("{path}.preprocessor_params"), name, &net.preprocessor_params, size));
        }
    }
    for (chain, config) in params.chains() {
        for (i, processor) in config.processors.iter().enumerate() {
            let path = format!("{chain}.processors[{i}]");
            out.extend(alias(format!("{path}.type"), processor.kind));
            out.extend(settings(&format!("{path}.params"), processor.kind, &processor.params, size));
        }
    }
    out.extend(adapter(&params.ip_adapter));
    out.extend(feature_reuse(params));
    out.extend(interpolation(&params.interpolation));
    out.extend(turbo(params));
    out
}

/// Lists the values of the IP-Adapter that have no effect.
fn adapter(adapter: &IPAdapterConfig) -> impl Iterator<Item = Notice> {
    let encoder = adapter.image_encoder_path.as_ref().filter(|_| adapter.kind == IPAdapterType::Faceid);
    let encoder = encoder.map(|path| {
        let message = format!("is {path:?}, which is not used: adapters of type \"faceid\" have no image encoder");
        Notice::new("ip_adapter.image_encoder_path", message)
    });
    let face = adapter.insightface_model_name.as_ref().map(|name| {
        let message = format!(
            "is {name:?}, which is not used: faces are not detected here; with type \"faceid\", the style image is the \
             embedding of a face, as a data URI, or the host makes it"
        );
        Notice::new("ip_adapter.insightface_model_name", message)
    });
    encoder.into_iter().chain(face)
}

/// Returns the notice that features are not used again, if attention to earlier frames prevents it.
fn feature_reuse(params: &StreamDiffusionParams) -> Option<Notice> {
    let interval = Some(params.feature_reuse.interval).filter(|&interval| interval > 1 && !params.reuses_features())?;
    let message = format!("is {interval}, which has no effect: cached_attention.enabled is true");
    Some(Notice::new("feature_reuse.interval", message))
}

/// Returns the notice that the network has no effect, if pictures are not interpolated.
fn interpolation(interpolation: &InterpolationConfig) -> Option<Notice> {
    let id = interpolation.model_id.as_ref().filter(|_| interpolation.factor <= 1)?;
    let message = format!("is {id:?}, which has no effect: with an interpolation.factor of 1 nothing is interpolated");
    Some(Notice::new("interpolation.model_id", message))
}

/// Lists the values that were set, and have no effect with img2img-turbo; defaults were not set.
fn turbo(params: &StreamDiffusionParams) -> Vec<Notice> {
    const WITHOUT_EFFECT: [&str; 7] =
        ["delta", "num_inference_steps", "use_denoising_batch", "do_add_noise", "scheduler", "eta", "timestep_spacing"];
    let turbo = &params.img2img_turbo;
    if turbo.weights.is_none() {
        return Vec::new();
    }
    let (values, mut defaults) = (params.to_value(), StreamDiffusionParams::default().to_value());
    // The noisiest timestep of every spacing that has it.
    defaults["t_index_list"] = json!([0]);
    let mut names: Vec<&str> = ["t_index_list"].into_iter().chain(WITHOUT_EFFECT).collect();
    if 1.0 <= turbo.strength {
        names.push("seed");
    }
    let is_set = |name: &&str| values[*name] != defaults[*name];
    let notice = |name: &str| {
        let why = match name {
            "seed" => "at an img2img_turbo.strength of 1 there is no noise",
            _ => "img2img_turbo makes one step at the last training timestep",
        };
        Notice::new(name, format!("is {}, which has no effect: {why}", values[name]))
    };
    names.into_iter().filter(is_set).map(notice).collect()
}

/// Lists the values of guidance that were set and have no effect; the default negative prompt was not set.
fn guidance(params: &StreamDiffusionParams) -> Vec<Notice> {
    let mut out = Vec::new();
    let (cfg_type, scale) = (params.cfg_type, params.guidance_scale);
    let negative = &params.negative_prompt;
    if !negative.is_empty() && *negative != StreamDiffusionParams::default().negative_prompt {
        let missing = match (cfg_type, 1.0 < scale) {
            (CfgType::None | CfgType::SelfNegative, true) => format!("cfg_type is {:?}", cfg_type.name()),
            (CfgType::None | CfgType::SelfNegative, false) => {
                format!("cfg_type is {:?}, and guidance_scale {scale}", cfg_type.name())
            }
            (CfgType::Full | CfgType::Initialize, _) => format!("guidance_scale is {scale}"),
        };
        let needs = "a negative prompt needs \"full\" or \"initialize\", and a guidance_scale above 1";
        let notice = Notice::new("negative_prompt", format!("has no effect: {missing}; {needs}"));
        out.extend((!params.uses_negative_prompt()).then_some(notice));
    }
    if cfg_type == CfgType::None && 1.0 < scale {
        let message = format!("is {scale}, which has no effect: cfg_type is \"none\"");
        out.push(Notice::new("guidance_scale", message));
    }
    out
}

fn alias(path: String, name: ProcessorName) -> Option<Notice> {
    let plain = name.plain();
    let runs = if plain == name { "its plain implementation".to_owned() } else { format!("{:?}", plain.name()) };
    let message = format!("is {:?}, which runs {runs} here, without TensorRT", name.name());
    name.asks_for_tensorrt().then(|| Notice::new(path, message))
}

/// Lists the settings of a processor that are no parameters of it, or have no effect with these values. `size` is that of
/// the stream.
fn settings(
    path: &str,
    processor: ProcessorName,
    settings: &Map<String, Value>,
    size: (u32, u32),
) -> impl Iterator<Item = Notice> {
    let message = move |(name, value): (&String, &Value)| {
        let mut names = processor.parameters().map(|(name, _)| *name);
        let message = if names.any(|known| known == name) {
            without_effect(processor, settings, (name, value), size)?
        } else {
            let suggestion = did_you_mean(nearest(name, processor.parameters().map(|(name, _)| *name)));
            format!("is not used: it is no parameter of {:?}{suggestion}", processor.name())
        };
        Some(Notice::new(format!("{path}.{name}"), message))
    };
    settings.iter().filter_map(message)
}

/// Returns why a setting of a processor has no effect, or another one than its name says; `None` if it has its effect.
fn without_effect(
    processor: ProcessorName,
    settings: &Map<String, Value>,
    (name, value): (&str, &Value),
    (width, height): (u32, u32),
) -> Option<String> {
    let is_set = |name: &str| settings.get(name).is_some_and(|value| *value == Value::Bool(true));
    let pixels = value.as_u64();
    let other_than = |sides: &[u32]| pixels.is_some_and(|pixels| sides.iter().any(|&side| u64::from(side) != pixels));
    let none = |why: &str| Some(format!("is {value}, which has no effect: {why}"));
    match (processor.plain(), name) {
        (_, "engine_path") => Some("is not used: there are no TensorRT engines here".into()),
        (_, "image_width") if other_than(&[width]) => none(&format!("results have the stream's width, {width}")),
        (_, "image_height") if other_than(&[height]) => none(&format!("results have the stream's height, {height}")),
        (_, "image_resolution") if other_than(&[width, height]) => {
            none(&format!("results have the stream's size, {width}x{height}"))
        }
        (ProcessorName::Depth, "model") if value == DPT => Some(format!("is {value}, which means Depth Anything V2")),
        (ProcessorName::Lineart, "coarse") if is_set("anime_style") && !is_set("coarse") => {
            none("anime_style has one network")
        }
        (ProcessorName::MediapipePose, "model_complexity") if value.as_u64() != Some(DEFAULT_COMPLEXITY) => {
            none("the network of poses has one size")
        }
        (ProcessorName::MediapipePose, "draw_hands") if is_set(name) => none("hands are not detected"),
        (ProcessorName::MediapipePose, "draw_face") if is_set(name) => {
            none("of the face, only nose, eyes and ears are detected, and these are always drawn")
        }
        (ProcessorName::TemporalNetTensorrt, "flow_strength") => {
            let TemporalNetSettings { flow_strength, output_format, .. } = TemporalNetSettings::read(settings);
            let cancels = output_format == FlowOutput::Concat && flow_strength != 0.0 && flow_strength != 1.0;
            let why =
                "colours are divided by the longest flow of a frame; it counts with output_format \"warped_only\"";
            none(why).filter(|_| cancels)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{ControlNetConfig, Weighted};

    type Params = StreamDiffusionParams;

    fn paths(notices: &[Notice]) -> Vec<&str> {
        notices.iter().map(|notice| notice.path.as_str()).collect()
    }

    #[test]
    fn tensorrt_is_accepted_with_a_notice() {
        let mut params = Params::default();
        let mut pose = ControlNetConfig::new("a/b");
        pose.preprocessor = Some(ProcessorName::PoseTensorrt);
        pose.preprocessor_params.insert("engine_path".into(), "x".into());
        pose.preprocessor_params.insert("confidence_treshold".into(), 0.5.into());
        params.controlnets.push(pose);
        let notices = notices(&params);
        assert_eq!(
            paths(&notices),
            [
                "acceleration",
                "controlnets[0].preprocessor",
                "controlnets[0].preprocessor_params.engine_path",
                "controlnets[0].preprocessor_params.confidence_treshold",
            ]
        );
        assert!(notices[1].message.contains("runs \"openpose\" here"));
        assert!(notices[3].message.contains("did you mean \"confidence_threshold\"?"));
    }

    #[test]
    fn settings_of_processors_without_effect_have_a_notice_with_the_reason() {
        let notices = |kind: &str, settings: Value| {
            let params = serde_json::json!({
                "acceleration": "none", "width": 512, "height": 384,
                "image_preprocessing": {"processors": [{"type": kind, "params": settings}]},
            });
            let (params, _) = Params::default().patched(&params.to_string()).unwrap();
            let place = "image_preprocessing.processors[0].";
            let text = |notice: Notice| notice.to_string().strip_prefix(place).map(str::to_owned);
            notices(&params).into_iter().filter_map(text).filter(|text| text.starts_with("params")).collect::<Vec<_>>()
        };
        for (kind, settings, expected) in [
            ("canny", serde_json::json!({"image_width": 256}), "image_width is 256"),
            ("canny", serde_json::json!({"image_height": 512}), "image_height is 512"),
            ("canny", serde_json::json!({"image_resolution": 512}), "image_resolution is 512"),
            ("depth", serde_json::json!({"model": "Intel/dpt-large"}), "model is \"Intel/dpt-large\""),
            ("lineart", serde_json::json!({"anime_style": true, "coarse": false}), "coarse is false"),
            ("mediapipe_pose", serde_json::json!({"model_complexity": 2}), "model_complexity is 2"),
            ("mediapipe_pose", serde_json::json!({"draw_hands": true}), "draw_hands is true"),
            ("mediapipe_pose", serde_json::json!({"draw_face": true}), "draw_face is true"),
            ("temporal_net_tensorrt", serde_json::json!({"flow_strength": 0.5}), "flow_strength is 0.5"),
        ] {
            let notices = notices(kind, settings);
            assert!(
                notices.len() == 1 && notices[0].starts_with(&format!("params.{expected}, which")),
                "{kind}: {notices:?}"
            );
        }
        for (kind, settings) in [
            ("canny", serde_json::json!({"image_width": 512, "image_height": 384})),
            ("depth", serde_json::json!({"model": "mine/depth"})),
            ("hed", serde_json::json!({"safe": true})),
            ("lineart", serde_json::json!({"anime_style": true, "coarse": true})),
            ("lineart", serde_json::json!({"coarse": false})),
            ("mediapipe_pose", serde_json::json!({"model_complexity": 1, "draw_hands": false, "draw_face": false})),
            ("temporal_net_tensorrt", serde_json::json!({"flow_strength": 0})),
            ("temporal_net_tensorrt", serde_json::json!({"flow_strength": 0.5, "output_format": "warped_only"})),
            ("upscale", serde_json::json!({"algorithm": "lanczos"})),
        ] {
            assert_eq!(notices(kind, settings), [""; 0], "{kind}");
        }
    }

    #[test]
    fn values_of_the_ip_adapter_without_effect_have_a_notice() {
        let mut params = Params { acceleration: Acceleration::None, ..Params::default() };
        params.ip_adapter.image_encoder_path = Some("mine/encoder".into());
        assert_eq!(paths(&notices(&params)), [""; 0]);
        params.ip_adapter.kind = IPAdapterType::Faceid;
        params.ip_adapter.insightface_model_name = Some("buffalo_l".into());
        assert_eq!(paths(&notices(&params)), ["ip_adapter.image_encoder_path", "ip_adapter.insightface_model_name"]);
    }

    #[test]
    fn a_network_that_interpolates_nothing_has_a_notice() {
        let mut params = Params { acceleration: Acceleration::None, ..Params::default() };
        params.interpolation.model_id = Some("flownet.pkl".into());
        assert_eq!(paths(&notices(&params)), ["interpolation.model_id"]);
        params.interpolation.factor = 2;
        assert_eq!(paths(&notices(&params)), [""; 0]);
    }

    #[test]
    fn values_without_effect_with_img2img_turbo_have_a_notice() {
        let mut params = Params { acceleration: Acceleration::None, t_index_list: vec![0], ..Params::default() };
        params.img2img_turbo.weights = Some("edge_to_image_loras.pkl".into());
        assert_eq!(paths(&notices(&params)), [""; 0]);
        (params.t_index_list, params.eta, params.seed) = (vec![12], 0.5, Weighted::One(3));
        assert_eq!(paths(&notices(&params)), ["t_index_list", "eta", "seed"]);
        params.img2img_turbo.strength = 0.5;
        assert_eq!(paths(&notices(&params)), ["t_index_list", "eta"]);
        params.img2img_turbo.weights = None;
        assert_eq!(paths(&notices(&params)), [""; 0]);
    }

    #[test]
    fn a_negative_prompt_without_effect_has_a_notice_that_says_why() {
        let notices = |cfg_type, guidance_scale, negative: &str| {
            let negative_prompt = negative.to_owned();
            let base = Params { acceleration: Acceleration::None, ..Params::default() };
            let params = Params { cfg_type, guidance_scale, negative_prompt, ..base };
            notices(&params).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let needs = "a negative prompt needs \"full\" or \"initialize\", and a guidance_scale above 1";
        for (cfg_type, scale, why) in [
            (CfgType::SelfNegative, 1.4, "cfg_type is \"self\""),
            (CfgType::SelfNegative, 1.0, "cfg_type is \"self\", and guidance_scale 1"),
            (CfgType::Full, 1.0, "guidance_scale is 1"),
        ] {
            assert_eq!(notices(cfg_type, scale, "fog"), [format!("negative_prompt has no effect: {why}; {needs}")]);
        }
        for (cfg_type, scale, negative) in [
            (CfgType::Full, 1.4, "fog"),
            (CfgType::Initialize, 1.4, "fog"),
            (CfgType::SelfNegative, 1.4, ""),
            (CfgType::SelfNegative, 1.4, &Params::default().negative_prompt),
        ] {
            assert!(notices(cfg_type, scale, negative).is_empty(), "{cfg_type} {scale} {negative:?}");
        }
        let unguided = "guidance_scale is 1.4, which has no effect: cfg_type is \"none\"";
        assert_eq!(notices(CfgType::None, 1.4, ""), [unguided]);
    }

    #[test]
    fn slerp_of_three_is_linear_with_a_notice() {
        let three = Weighted::Blend(["a", "b", "c"].map(|text| (text.to_owned(), 1.0)).to_vec());
        let params = Params { prompt: three, acceleration: Acceleration::None, ..Params::default() };
        assert_eq!(paths(&notices(&params)), ["prompt"]);
    }
}

//! The parameters of a stream: plain data, no tensors.
//!
//! [`StreamDiffusionParams`] has Daydream's names and order. JSON is read through [`ParamsPatch`], which rejects
//! unknown fields; [`diff`] returns the cost of a change. Types and defaults are those of the structs; everything else
//! about a parameter is its row in [`FIELDS`].
#![cfg_attr(doc, doc = include_str!("../../parameters.md"))]

mod canonical;
mod choices;
mod compat;
mod constraint;
mod controlnet;
mod diff;
mod feature_reuse;
mod fields;
mod img2img_turbo;
mod interpolation;
mod ip_adapter;
mod json;
mod known_models;
mod named_models;
mod names;
mod patch;
mod presets;
mod processing;
mod processor;
mod rebase;
mod schema;
mod settings;
mod style_image;
mod table;
mod validate;
mod values;
mod weighted;

#[cfg(test)]
mod invalid_input_tests;
#[cfg(test)]
mod proptests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schedule::{self, Spacing, UpdateRule};

pub use canonical::canonical_values;
pub use choices::{Acceleration, CfgType, Interpolation, Scheduler, TimestepSpacing};
pub use compat::{Notice, notices};
pub use constraint::Constraint;
pub use controlnet::ControlNetConfig;
pub(crate) use diff::diff_with_live_loras;
pub use diff::{Change, diff, total_cost};
pub use feature_reuse::FeatureReuseConfig;
pub use fields::{Cost, CostRule, Entry, FIELDS, Field, entry, field};
pub use img2img_turbo::{Img2ImgTurboConfig, TurboDirection};
pub use interpolation::InterpolationConfig;
pub use ip_adapter::{CachedAttentionConfig, IPAdapterConfig, IPAdapterType, WeightType};
pub use json::MAX_BYTES as MAX_JSON_BYTES;
pub use json::read_json_object;
pub use known_models::{DEMO_ADAPTER, DEMO_CONTROLNETS, DEMO_LORA, DEMO_MODEL, known_models};
pub use named_models::{NAMED_MODELS, NamedModel, named_model};
pub use patch::ParamsPatch;
pub use patch::join_values;
pub use processing::{ProcessingConfig, SingleProcessorConfig};
pub use processor::ProcessorName;
pub use rebase::{Rebased, rebase};
pub(crate) use rebase::{covers, depends, rebase_where, touched};
pub use schema::{processor_schema, schema};
pub use settings::{
    BlurSettings, CannySettings, DepthSettings, DepthTensorrtSettings, ExternalSettings, FeedbackSettings, FlowOutput,
    HedSettings, LatentFeedbackSettings, LineartSettings, MaskOutput, MediapipePoseSettings,
    MediapipeSegmentationSettings, OpenposeSettings, PoseTensorrtSettings, SharpenSettings, StandardLineartSettings,
    TemporalNetSettings, UpscaleAlgorithm, UpscaleSettings,
};
pub(crate) use style_image::FACE_SCHEME;
pub use style_image::StyleImageUrl;
pub use table::markdown_table;
pub use weighted::Weighted;

/// All parameters of a stream.
///
/// The defaults are those of Daydream's service, except that `use_safety_checker` is off: the host decides.
// Not in the description of the JSON Schema.
#[cfg_attr(
    doc,
    doc = "\nThe [table of the module](self#parameters) has the range of every field and the cost of a change."
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamDiffusionParams {
    /// The base model, as a hub id or a folder; `demo` is the embedded model.
    pub model_id: String,
    /// The prompt: one text, or several with weights.
    pub prompt: Weighted<String>,
    /// How several prompts are interpolated.
    pub prompt_interpolation_method: Interpolation,
    /// Whether the weights of prompts are divided by their sum.
    pub normalize_prompt_weights: bool,
    /// Whether the weights of seeds are divided by their sum, which keeps the variance of the noise.
    pub normalize_seed_weights: bool,
    /// The negative prompt; it has an effect only if `cfg_type` is `full` or `initialize` and `guidance_scale` is above
    /// 1.
    pub negative_prompt: String,
    /// The kind of classifier-free guidance: what pictures are guided away from.
    pub cfg_type: CfgType,
    /// The scale of classifier-free guidance; up to 1, there is no guidance.
    pub guidance_scale: f64,
    /// The weight of the stream's own noise in guidance of the types `self` and `initialize`.
    pub delta: f64,
    /// The number of timesteps of the schedule that `t_index_list` indexes.
    pub num_inference_steps: u32,
    /// The timesteps at which a frame is denoised, as indices into the schedule, one row of the batch each. A lower
    /// index is noisier; `num_inference_steps` itself means the last one. Another number of them starts the batch again.
    pub t_index_list: Vec<u32>,
    /// Whether the safety checker is loaded, which replaces pictures that it flags.
    pub use_safety_checker: bool,
    /// The score from which the safety checker flags a picture.
    pub safety_checker_threshold: f64,
    /// The width of pictures, in pixels.
    pub width: u32,
    /// The height of pictures, in pixels.
    pub height: u32,
    /// LoRAs, each with its scale; `{}` and `null` are the same. A change of the scales of those that
    /// the engine's `lora_mode` makes live costs `recompute`.
    #[serde(with = "null_when_empty")]
    #[schemars(with = "Option<BTreeMap<String, f64>>")]
    pub lora_dict: BTreeMap<String, f64>,
    /// Whether the LCM-LoRA is merged, if the base model is not distilled for few steps itself.
    pub use_lcm_lora: bool,
    /// The LCM-LoRA, as a hub id or a folder.
    pub lcm_lora_id: String,
    /// The preferred kind of acceleration: a hint, since the best executor of the machine runs in any case.
    pub acceleration: Acceleration,
    /// Whether successive frames share one UNet pass, each at another step; otherwise a frame takes all its steps in
    /// turn.
    pub use_denoising_batch: bool,
    /// Whether noise is added again between two steps; with the `scheduler` `ddim` none is added in any case.
    pub do_add_noise: bool,
    /// The rule by which a frame moves from one step to the next.
    pub scheduler: Scheduler,
    /// The share of new noise between two steps with the `scheduler` `tcd`: 0 is like `ddim`, 1 nearly like `lcm`.
    pub eta: f64,
    /// Which of the training timesteps the schedule has.
    pub timestep_spacing: TimestepSpacing,
    /// The seed of the noise: one, or several with weights.
    pub seed: Weighted<u64>,
    /// How the noise of several seeds is interpolated.
    pub seed_interpolation_method: Interpolation,
    /// Whether frames that resemble the one before are skipped.
    pub enable_similar_image_filter: bool,
    /// The similarity from which a frame may be skipped.
    pub similar_image_filter_threshold: f64,
    /// How many frames in a row may be skipped.
    pub similar_image_filter_max_skip_frame: u32,
    /// Whether frames pass through the image chains only, without diffusion.
    pub skip_diffusion: bool,
    /// Whether a server shows a placeholder picture while a change loads and there is no other picture.
    pub show_reloading_frame: bool,
    /// The processors of the frame, before it is encoded.
    pub image_preprocessing: ProcessingConfig,
    /// The processors of the picture, after it is decoded.
    pub image_postprocessing: ProcessingConfig,
    /// The processors of the noised latent, before the UNet.
    pub latent_preprocessing: ProcessingConfig,
    /// The processors of the clean latent, after the UNet.
    pub latent_postprocessing: ProcessingConfig,
    /// The ControlNets; a patch replaces the whole list.
    pub controlnets: Vec<ControlNetConfig>,
    /// The IP-Adapter, which conditions on the style image.
    pub ip_adapter: IPAdapterConfig,
    /// The style image: an http, https or data URL, or base64; empty for none.
    #[schemars(with = "String")]
    pub ip_adapter_style_image_url: StyleImageUrl,
    /// The attention to earlier frames.
    pub cached_attention: CachedAttentionConfig,
    /// The features of the UNet that are used again for later frames.
    pub feature_reuse: FeatureReuseConfig,
    /// The pictures that a session interpolates between two others.
    pub interpolation: InterpolationConfig,
    /// Translation of frames in one step by img2img-turbo.
    pub img2img_turbo: Img2ImgTurboConfig,
}

impl Default for StreamDiffusionParams {
    fn default() -> Self {
        Self {
            model_id: "stabilityai/sd-turbo".into(),
            prompt: "an anime render of a girl with purple hair, masterpiece".into(),
            prompt_interpolation_method: Interpolation::Slerp,
            normalize_prompt_weights: true,
            normalize_seed_weights: true,
            negative_prompt: "blurry, low quality, flat, 2d".into(),
            cfg_type: CfgType::SelfNegative,
            guidance_scale: 1.0,
            delta: 0.7,
            num_inference_steps: 50,
            t_index_list: vec![12, 20, 32],
            use_safety_checker: false,
            safety_checker_threshold: 0.5,
            width: 512,
            height: 512,
            lora_dict: BTreeMap::new(),
            use_lcm_lora: true,
            lcm_lora_id: "latent-consistency/lcm-lora-sdv1-5".into(),
            acceleration: Acceleration::Tensorrt,
            use_denoising_batch: true,
            do_add_noise: true,
            scheduler: Scheduler::Lcm,
            eta: 0.3,
            timestep_spacing: TimestepSpacing::Lcm,
            seed: Weighted::One(789),
            seed_interpolation_method: Interpolation::Linear,
            enable_similar_image_filter: false,
            similar_image_filter_threshold: 0.98,
            similar_image_filter_max_skip_frame: 10,
            skip_diffusion: false,
            show_reloading_frame: true,
            image_preprocessing: ProcessingConfig::default(),
            image_postprocessing: ProcessingConfig::default(),
            latent_preprocessing: ProcessingConfig::default(),
            latent_postprocessing: ProcessingConfig::default(),
            controlnets: Vec::new(),
            ip_adapter: IPAdapterConfig::default(),
            ip_adapter_style_image_url: StyleImageUrl::default(),
            cached_attention: CachedAttentionConfig::default(),
            feature_reuse: FeatureReuseConfig::default(),
            interpolation: InterpolationConfig::default(),
            img2img_turbo: Img2ImgTurboConfig::default(),
        }
    }
}

impl StreamDiffusionParams {
    /// Returns whether the negative prompt has an effect: if `cfg_type` is `full` or `initialize`, and `guidance_scale`
    /// is above 1.
    pub fn uses_negative_prompt(&self) -> bool {
        self.cfg_type.uses_negative_prompt(self.guidance_scale as f32)
    }

    /// Returns whether features of the UNet are used again for later frames.
    pub(crate) fn reuses_features(&self) -> bool {
        self.feature_reuse.interval > 1 && !self.cached_attention.enabled
    }

    /// Returns the update rule of `scheduler` and `eta`.
    pub(crate) fn update_rule(&self) -> UpdateRule {
        match self.scheduler {
            Scheduler::Lcm => UpdateRule::Lcm,
            Scheduler::Ddim => UpdateRule::Ddim,
            Scheduler::Tcd => UpdateRule::Tcd { eta: self.eta },
        }
    }

    /// Reads parameters from JSON; missing ones have their defaults, as if a patch were merged onto the defaults.
    ///
    /// ```
    /// use dreamframe::StreamDiffusionParams;
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let (params, notices) = StreamDiffusionParams::from_json(r#"{"width": 704, "acceleration": "tensorrt"}"#)?;
    /// assert_eq!((params.width, params.height, &*params.model_id), (704, 512, "stabilityai/sd-turbo"));
    /// assert_eq!(notices[0].path, "acceleration");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams), as [`ParamsPatch::from_json`] and
    /// [`ParamsPatch::merge`].
    pub fn from_json(text: &str) -> crate::Result<(Self, Vec<Notice>)> {
        Self::default().patched(text)
    }

    /// Reads a patch from JSON and merges it: as [`ParamsPatch::from_json`] and [`ParamsPatch::merge`] one after the
    /// other, except that violations of both are reported together.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) with every violation.
    pub fn patched(&self, text: &str) -> crate::Result<(Self, Vec<Notice>)> {
        ParamsPatch::read_and_merge(text, self)
    }

    /// Returns the timesteps that `num_inference_steps` and `timestep_spacing` select of a training of 1000, noisiest first;
    /// `t_index_list` has indices into them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) unless `num_inference_steps` is 1 to 100.
    ///
    /// ```
    /// use dreamframe::StreamDiffusionParams;
    ///
    /// let params = StreamDiffusionParams { num_inference_steps: 4, ..Default::default() };
    /// assert_eq!(params.timesteps()?, [999, 749, 499, 249]);
    /// # Ok::<(), dreamframe::Error>(())
    /// ```
    pub fn timesteps(&self) -> crate::Result<Vec<u32>> {
        const TRAIN_TIMESTEPS: u32 = 1000;
        Ok(schedule::grid(self.spacing(), self.num_inference_steps as usize, TRAIN_TIMESTEPS)?)
    }

    /// Returns the spacing of `timestep_spacing`.
    pub(crate) fn spacing(&self) -> Spacing {
        match self.timestep_spacing {
            TimestepSpacing::Lcm => Spacing::Lcm,
            TimestepSpacing::Trailing => Spacing::Trailing,
            TimestepSpacing::Leading => Spacing::Leading,
            TimestepSpacing::Linspace => Spacing::Linspace,
        }
    }

    /// Writes the parameters as indented JSON, every field in Daydream's order.
    pub fn to_json(&self) -> String {
        format!("{:#}", self.to_value())
    }

    /// Returns the parameters as a JSON object with every field; a number that is not finite becomes `null`.
    pub fn to_value(&self) -> Value {
        // Cannot fail: all keys are text, and every type here is plain data.
        serde_json::to_value(self).expect("plain data has a JSON form")
    }
}

/// Writes an empty map as `null`, and reads `null` as an empty map.
mod null_when_empty {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Map = BTreeMap<String, f64>;

    pub(super) fn serialize<S: Serializer>(map: &Map, serializer: S) -> Result<S::Ok, S::Error> {
        (!map.is_empty()).then_some(map).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map, D::Error> {
        Option::<Map>::deserialize(deserializer).map(Option::unwrap_or_default)
    }
}

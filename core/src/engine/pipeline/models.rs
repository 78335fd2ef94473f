//! A loaded base model: configs, weights, text encoders and its noise schedule.

use std::sync::Arc;

use super::context::{BuildContext, pickled, save_packed};
use super::quantization;
use super::text::{RandomText, Text, TextEncoder};
use super::vae::VaeFiles;
use crate::engine::options::Vae;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Dtype;
use crate::load::{Checkpoint, ModelId, ModelSource, PackedFiles, RandomWeights};
use crate::models::known::{KNOWN_MODELS, known_model};
use crate::models::{Autoencoder, ModelFamily, Prediction, UnetConfig, smallest_unet};
use crate::net::{Forms, WeightSource, WeightSpec, Weights};
use crate::params::Notice;
use crate::schedule::{BetaSchedule, Betas};

/// A loaded base model. Shared by every pipeline that uses it.
#[derive(Debug)]
pub(crate) struct Models {
    /// Its location, for reports.
    pub(crate) location: String,
    /// Whether it is the embedded model.
    pub(crate) is_demo: bool,
    /// Whether the model was distilled to few steps, so that it needs no LCM-LoRA.
    pub(crate) distilled: bool,
    pub(crate) unet: UnetConfig,
    pub(crate) unet_weights: Arc<Weights>,
    pub(crate) autoencoder: Autoencoder,
    pub(crate) autoencoder_weights: Arc<Weights>,
    pub(crate) text: Arc<Text>,
    pub(crate) alphas_cumprod: Vec<f64>,
    /// What the UNet predicts.
    pub(crate) prediction: Prediction,
}

impl Models {
    /// Loads the base model that `id` names, with the autoencoder `vae`, and for the options' dtype.
    ///
    /// # Errors
    ///
    /// `NotFound`, `BadModel`, `Unsupported`, each naming the component.
    pub(super) fn load(context: &BuildContext, id: &str, vae: &Vae, notices: &mut Vec<Notice>) -> Result<Self> {
        if let ModelSource::Random(name) = &context.source {
            return Self::random(name, context);
        }
        let id: ModelId = id.parse()?;
        let found = context.source.base(&id)?;
        notices.extend(found.notice.map(|message| Notice { path: "model_id".into(), message }));
        let checkpoint = found.checkpoint;
        let location = checkpoint.location();
        Self::from_checkpoint(&checkpoint, context, vae, notices).map_err(|error| error.within(&location))
    }

    fn from_checkpoint(
        checkpoint: &Checkpoint,
        context: &BuildContext,
        vae: &Vae,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let unet = checkpoint.component("unet")?;
        let config = UnetConfig::from_json(&unet.config).map_err(|error| error.within("unet/config.json"))?;
        let schedule = Schedule::from_json(&checkpoint.scheduler_config()?)
            .map_err(|error| error.within("scheduler/scheduler_config.json"))?;
        let location = checkpoint.location();
        let distilled = is_distilled(&schedule, &config, &location);
        let place = (&context.source, checkpoint);
        let VaeFiles { component: vae, config: autoencoder } = VaeFiles::choose(vae, place, &config, notices)?;
        if autoencoder.latent_channels() != config.in_channels || config.in_channels != config.out_channels {
            let text = format!(
                "UNet channels: got {} in and {} out, expected {} for both as in the autoencoder; models with further \
                 inputs are not supported",
                config.in_channels,
                config.out_channels,
                autoencoder.latent_channels()
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        for notice in [&unet, &vae].into_iter().filter_map(|component| pickled(&component.weights, "model_id")) {
            // The components of a checkpoint in one file share it.
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
        let [unet_needs, vae_needs] = needed(&config, &autoencoder)?;
        unet.weights.check(&unet_needs).require().map_err(|error| error.within("unet"))?;
        vae.weights.check(&vae_needs).require().map_err(|error| error.within("vae"))?;
        let mut unet_weights = context.weights(&unet);
        let mut autoencoder_weights = context.weights(&vae);
        if context.options.dtype == Dtype::Int8 {
            let scales = quantization::scales(context, checkpoint, (&config, &autoencoder), notices)?;
            unet_weights = unet_weights.with_byte_scales(scales.unet);
            autoencoder_weights = autoencoder_weights.with_byte_scales(scales.autoencoder);
        }
        let family = ModelFamily::of(&config);
        Ok(Self {
            distilled,
            text: Arc::new(Text::Encoders(TextEncoder::load_all(checkpoint, family, &config, context, notices)?)),
            unet: config,
            unet_weights: Arc::new(unet_weights),
            autoencoder,
            autoencoder_weights: Arc::new(autoencoder_weights),
            alphas_cumprod: schedule.alphas_cumprod,
            prediction: schedule.prediction,
            is_demo: checkpoint.is_demo(),
            location,
        })
    }

    /// A network of full size with random weights: the time of a frame does not depend on their values.
    fn random(name: &str, context: &BuildContext) -> Result<Self> {
        const SUFFIX: &str = "-random";
        let known = name.strip_suffix(SUFFIX).and_then(known_model).ok_or_else(|| {
            let names = KNOWN_MODELS.map(|model| format!("{}{SUFFIX}", model.name)).join(", ");
            Error::new(ErrorKind::NotFound, format!("random-weight model: got {name:?}, expected one of {names}"))
        })?;
        let unet = UnetConfig::from_json(known.unet)?;
        let autoencoder = Autoencoder::from_json(known.autoencoder)?;
        let [unet_needs, vae_needs] = needed(&unet, &autoencoder)?;
        let random = |network: &str, seed, needs: &[WeightSpec]| {
            let random = RandomWeights::new(seed, needs);
            let files = PackedFiles::of_random(&random, name, network, &context.options.packed_cache);
            (Arc::new(random), files.map(|files| Box::new(files) as _))
        };
        let (unet_source, unet_files) = random("unet", 1, &unet_needs);
        let (vae_source, vae_files) = random("vae", 2, &vae_needs);
        let mut unet_weights = Weights::over(Arc::new(Forms::new(unet_source.clone(), unet_files)));
        let mut autoencoder_weights = Weights::over(Arc::new(Forms::new(vae_source.clone(), vae_files)));
        if context.options.dtype == Dtype::Int8 {
            let [unet_source, vae_source]: [Arc<dyn WeightSource>; 2] = [unet_source, vae_source];
            let of_unet = quantization::of_noise(&unet, &unet_source, &context.executor)?;
            unet_weights = unet_weights.with_byte_scales(of_unet);
            let of_vae = quantization::of_noise_autoencoder(&autoencoder, &vae_source, &context.executor)?;
            autoencoder_weights = autoencoder_weights.with_byte_scales(of_vae);
        }
        Ok(Self {
            location: name.to_owned(),
            is_demo: false,
            distilled: true,
            text: Arc::new(Text::Random(RandomText::new(&unet))),
            unet,
            unet_weights: Arc::new(unet_weights),
            autoencoder,
            autoencoder_weights: Arc::new(autoencoder_weights),
            alphas_cumprod: Betas::default().alphas_cumprod().map_err(bad_schedule)?,
            prediction: Prediction::Noise,
        })
    }

    /// Stores the packed weights of the networks for the next start; returns notices.
    pub(crate) fn save_packed(&self) -> impl Iterator<Item = Notice> {
        [&*self.unet_weights, &*self.autoencoder_weights].into_iter().flat_map(save_packed)
    }
}

/// The weights that the networks need at every size: the UNet's, and the autoencoder's.
fn needed(unet: &UnetConfig, autoencoder: &Autoencoder) -> Result<[Vec<WeightSpec>; 2]> {
    let unet = smallest_unet(unet)?;
    let autoencoder = quantization::smallest_autoencoder(autoencoder)?;
    Ok([unet.weights().to_vec(), quantization::weights_of(&autoencoder)])
}

/// The relevant part of a scheduler's config: the noise schedule and the objective of the training. The sampler is always LCM's.
pub(super) struct Schedule {
    alphas_cumprod: Vec<f64>,
    prediction: Prediction,
    lcm: bool,
}

impl Schedule {
    pub(super) fn from_json(text: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Config {
            #[serde(rename = "_class_name", default)]
            class: String,
            beta_schedule: Option<String>,
            beta_start: Option<f64>,
            beta_end: Option<f64>,
            num_train_timesteps: Option<u32>,
            prediction_type: Option<String>,
            #[serde(default)]
            rescale_betas_zero_snr: bool,
        }
        let config: Config = serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::BadModel, format!("invalid scheduler config: {error}")).with_source(error)
        })?;
        let schedule = match config.beta_schedule.as_deref() {
            None | Some("scaled_linear") => BetaSchedule::ScaledLinear,
            Some("linear") => BetaSchedule::Linear,
            Some(other) => {
                let text = format!("beta_schedule: got {other:?}, expected \"scaled_linear\" or \"linear\"");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        };
        let prediction = match config.prediction_type.as_deref() {
            None | Some("epsilon") => Prediction::Noise,
            Some("v_prediction") => Prediction::Velocity,
            Some("sample") => Prediction::Clean,
            Some(other) => {
                let text =
                    format!("prediction_type: got {other:?}, expected \"epsilon\", \"v_prediction\" or \"sample\"");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        };
        let usual = Betas::default();
        let betas = Betas {
            schedule,
            start: config.beta_start.unwrap_or(usual.start),
            end: config.beta_end.unwrap_or(usual.end),
            train_timesteps: config.num_train_timesteps.unwrap_or(usual.train_timesteps),
            zero_terminal_snr: config.rescale_betas_zero_snr,
        };
        let alphas_cumprod = betas.alphas_cumprod().map_err(bad_schedule)?;
        Ok(Self { alphas_cumprod, prediction, lcm: config.class == "LCMScheduler" })
    }
}

fn bad_schedule(error: crate::schedule::BetasError) -> Error {
    Error::new(ErrorKind::BadModel, error.to_string()).with_source(error)
}

/// Returns true if the model at `location` was distilled to few steps.
pub(super) fn is_distilled(schedule: &Schedule, config: &UnetConfig, location: &str) -> bool {
    let lower = location.to_lowercase();
    schedule.lcm
        || config.time.cond_dim.is_some()
        || ["turbo", "lcm", "sdxs", "demo"].iter().any(|mark| lower.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_is_not_built_is_refused_by_name() {
        for (text, part) in [
            (r#"{"beta_schedule": "squaredcos_cap_v2"}"#, "squaredcos_cap_v2"),
            (r#"{"prediction_type": "flow_prediction"}"#, "flow_prediction"),
            (r#"{"num_train_timesteps": 7}"#, "7"),
            ("[]", "scheduler config"),
        ] {
            let refused = Schedule::from_json(text).err().unwrap();
            assert!(refused.to_string().contains(part), "{text}: {refused}");
        }
        assert!(Schedule::from_json(r#"{"_class_name": "LCMScheduler"}"#).unwrap().lcm);
        for (name, prediction) in [("v_prediction", Prediction::Velocity), ("sample", Prediction::Clean)] {
            let schedule = Schedule::from_json(&format!(r#"{{"prediction_type": "{name}"}}"#)).unwrap();
            assert_eq!(schedule.prediction, prediction);
        }
    }
}

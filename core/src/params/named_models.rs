//! Base models with a short name: where each is published, and the parameters that suit it.

use super::StreamDiffusionParams;
use super::choices::Scheduler;
use super::known_models::DEMO_MODEL;
use crate::error::{Error, Result, Violation};

/// A base model that has a short name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedModel {
    /// The short name, such as `sdxs`.
    pub name: &'static str,
    /// The id of its repository: the parameter `model_id`.
    pub model_id: &'static str,
    /// The LoRA that makes few steps enough, if the model itself was not distilled: the parameter `lcm_lora_id`, which
    /// has this name whether the LoRA was distilled by latent consistency or otherwise.
    pub lcm_lora_id: Option<&'static str>,
    /// The licence of the model, as its page names it; the LoRA may have another one.
    pub licence: &'static str,
    /// What it is.
    pub summary: &'static str,
    /// The side of the pictures that it was trained with, in pixels.
    pub side: u32,
    /// The parameter `scheduler` that it was distilled for.
    pub scheduler: Scheduler,
    /// The number of timesteps of the schedule that it was distilled for, or 50 if any number suits it.
    pub num_inference_steps: u32,
    /// Timesteps that suit it, as indices into this schedule.
    pub t_index_list: &'static [u32],
    /// About how many megabytes (10^6 bytes) `dreamframe models fetch` downloads, by the sizes that the pages of the
    /// repositories list: the model, its LoRA and its tiny autoencoder. `None` if a size is not known.
    pub download_mb: Option<u32>,
}

const OPENRAIL_PP: &str = "openrail++";
const STABILITY: &str = "Stability AI Community License";

/// All models that have a short name, except for the embedded one (`demo`).
pub const NAMED_MODELS: [NamedModel; 14] = [
    NamedModel {
        name: "sd-turbo",
        model_id: "stabilityai/sd-turbo",
        lcm_lora_id: None,
        licence: STABILITY,
        summary: "Stable Diffusion 2.1, distilled to one to four steps",
        side: 512,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[12, 20, 32],
        download_mb: Some(2590),
    },
    NamedModel {
        name: "sdxs",
        model_id: "IDKiro/sdxs-512-0.9",
        lcm_lora_id: None,
        licence: OPENRAIL_PP,
        summary: "Stable Diffusion 2.1 with a third of the UNet, distilled to one step",
        side: 512,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[25],
        download_mb: None,
    },
    NamedModel {
        name: "sdxs-dreamshaper",
        model_id: "IDKiro/sdxs-512-dreamshaper",
        lcm_lora_id: None,
        licence: OPENRAIL_PP,
        summary: "DreamShaper with a third of the UNet, distilled to one step; has a ControlNet for sketches",
        side: 512,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[25],
        download_mb: Some(1770),
    },
    NamedModel {
        name: "lcm-dreamshaper",
        model_id: "SimianLuo/LCM_Dreamshaper_v7",
        lcm_lora_id: None,
        licence: "mit",
        summary: "DreamShaper 7 (Stable Diffusion 1.5), distilled to a few steps by latent consistency",
        side: 512,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[20, 32],
        download_mb: Some(4280),
    },
    NamedModel {
        name: "dreamshaper",
        model_id: "Lykon/dreamshaper-8",
        lcm_lora_id: Some("latent-consistency/lcm-lora-sdv1-5"),
        licence: "creativeml-openrail-m",
        summary: "DreamShaper 8 (Stable Diffusion 1.5) with the LCM-LoRA",
        side: 512,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[20, 32],
        download_mb: Some(2270),
    },
    NamedModel {
        name: "hyper-sd15-1step",
        model_id: "stable-diffusion-v1-5/stable-diffusion-v1-5",
        lcm_lora_id: Some("ByteDance/Hyper-SD/Hyper-SD15-1step-lora.safetensors"),
        licence: "creativeml-openrail-m",
        summary: "Stable Diffusion 1.5 with the LoRA of Hyper-SD for one step",
        side: 512,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[25],
        download_mb: Some(2400),
    },
    NamedModel {
        name: "hyper-sd15-4steps",
        model_id: "stable-diffusion-v1-5/stable-diffusion-v1-5",
        lcm_lora_id: Some("ByteDance/Hyper-SD/Hyper-SD15-4steps-lora.safetensors"),
        licence: "creativeml-openrail-m",
        summary: "Stable Diffusion 1.5 with the LoRA of Hyper-SD for four steps",
        side: 512,
        scheduler: Scheduler::Ddim,
        num_inference_steps: 4,
        t_index_list: &[2, 3],
        download_mb: Some(2400),
    },
    NamedModel {
        name: "sdxl-turbo",
        model_id: "stabilityai/sdxl-turbo",
        lcm_lora_id: None,
        licence: STABILITY,
        summary: "SDXL, distilled to one to four steps",
        side: 512,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[20, 32],
        download_mb: Some(6950),
    },
    NamedModel {
        name: "hyper-sdxl-1step",
        model_id: "stabilityai/stable-diffusion-xl-base-1.0",
        lcm_lora_id: Some("ByteDance/Hyper-SD/Hyper-SDXL-1step-lora.safetensors"),
        licence: OPENRAIL_PP,
        summary: "SDXL with the LoRA of Hyper-SD for one step",
        side: 1024,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[25],
        download_mb: Some(7730),
    },
    NamedModel {
        name: "hyper-sdxl-4steps",
        model_id: "stabilityai/stable-diffusion-xl-base-1.0",
        lcm_lora_id: Some("ByteDance/Hyper-SD/Hyper-SDXL-4steps-lora.safetensors"),
        licence: OPENRAIL_PP,
        summary: "SDXL with the LoRA of Hyper-SD for four steps",
        side: 1024,
        scheduler: Scheduler::Ddim,
        num_inference_steps: 4,
        t_index_list: &[2, 3],
        download_mb: Some(7730),
    },
    NamedModel {
        name: "sdxl-lightning-2step",
        model_id: "stabilityai/stable-diffusion-xl-base-1.0",
        lcm_lora_id: Some("ByteDance/SDXL-Lightning/sdxl_lightning_2step_lora.safetensors"),
        licence: OPENRAIL_PP,
        summary: "SDXL with the LoRA of SDXL-Lightning for two steps",
        side: 1024,
        scheduler: Scheduler::Ddim,
        num_inference_steps: 2,
        t_index_list: &[1],
        download_mb: Some(7340),
    },
    NamedModel {
        name: "sdxl-lightning-4step",
        model_id: "stabilityai/stable-diffusion-xl-base-1.0",
        lcm_lora_id: Some("ByteDance/SDXL-Lightning/sdxl_lightning_4step_lora.safetensors"),
        licence: OPENRAIL_PP,
        summary: "SDXL with the LoRA of SDXL-Lightning for four steps",
        side: 1024,
        scheduler: Scheduler::Ddim,
        num_inference_steps: 4,
        t_index_list: &[2, 3],
        download_mb: Some(7340),
    },
    NamedModel {
        name: "ssd-1b",
        model_id: "segmind/SSD-1B",
        lcm_lora_id: Some("latent-consistency/lcm-lora-ssd-1b"),
        licence: "apache-2.0",
        summary: "SDXL with half of the UNet, with its LCM-LoRA",
        side: 1024,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[20, 32],
        download_mb: Some(4670),
    },
    NamedModel {
        name: "vega-rt",
        model_id: "segmind/Segmind-Vega",
        lcm_lora_id: Some("segmind/Segmind-VegaRT"),
        licence: "apache-2.0",
        summary: "SDXL with three tenths of the UNet, with the LCM-LoRA Segmind-VegaRT",
        side: 1024,
        scheduler: Scheduler::Lcm,
        num_inference_steps: 50,
        t_index_list: &[20, 32],
        download_mb: None,
    },
];

/// Returns the model with the short name or the repository `name`; of several with this repository, the first.
pub fn named_model(name: &str) -> Option<&'static NamedModel> {
    NAMED_MODELS.iter().find(|model| model.name == name || model.model_id == name)
}

impl StreamDiffusionParams {
    /// Returns parameters that suit a model: a short name or repository of [`NAMED_MODELS`], or `demo`. The model must
    /// be downloaded (`dreamframe models fetch NAME`, `Hub::fetch_for`).
    ///
    /// Guidance is off, since the models are distilled without it.
    ///
    /// ```
    /// use dreamframe::StreamDiffusionParams;
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams::for_model("sdxs")?;
    /// assert_eq!((&*params.model_id, params.t_index_list.len()), ("IDKiro/sdxs-512-0.9", 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidParams` for another name, with all names.
    pub fn for_model(name: &str) -> Result<Self> {
        if name == DEMO_MODEL {
            return Ok(Self::demo());
        }
        let Some(model) = named_model(name) else {
            let names: Vec<&str> = NAMED_MODELS.iter().map(|model| model.name).collect();
            let shown: String = name.chars().take(80).collect();
            let message = format!("got {shown:?}, expected one of {DEMO_MODEL}, {}", names.join(", "));
            return Err(Error::invalid_params(vec![Violation::new("model_id", message)]));
        };
        let usual = Self::default();
        Ok(Self {
            model_id: model.model_id.into(),
            use_lcm_lora: model.lcm_lora_id.is_some(),
            lcm_lora_id: model.lcm_lora_id.map_or(usual.lcm_lora_id, Into::into),
            width: model.side,
            height: model.side,
            scheduler: model.scheduler,
            num_inference_steps: model.num_inference_steps,
            t_index_list: model.t_index_list.to_vec(),
            guidance_scale: 1.0,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::params::known_models;

    #[test]
    fn parameters_of_every_name_are_valid_and_name_a_known_model() {
        let known: Vec<&str> = known_models().map(|(id, _)| id).collect();
        for model in &NAMED_MODELS {
            let params = StreamDiffusionParams::for_model(model.name).unwrap();
            assert_eq!(params.violations(), [], "{}", model.name);
            assert_eq!(params.model_id, model.model_id);
            let first = NAMED_MODELS.iter().find(|other| other.model_id == model.model_id).unwrap();
            assert_eq!(named_model(model.model_id), Some(first));
            assert_eq!(params.use_lcm_lora, model.lcm_lora_id.is_some());
            assert_eq!(params.timesteps().unwrap().len(), model.num_inference_steps as usize);
            assert!(known.contains(&model.model_id), "{}", model.model_id);
        }
        assert_eq!(StreamDiffusionParams::for_model("demo").unwrap(), StreamDiffusionParams::demo());
    }

    #[test]
    fn the_page_on_models_lists_them() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/models.md")).unwrap();
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `") && line.contains('/')).collect();
        let expected = NAMED_MODELS.map(|model| {
            let lora = model.lcm_lora_id.map_or("–".to_owned(), |id| format!("`{id}`"));
            let NamedModel { name, model_id, licence, summary, .. } = model;
            format!("| `{name}` | `{model_id}` | {lora} | {licence} | {summary} |")
        });
        assert_eq!(rows, expected);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = NAMED_MODELS.iter().map(|model| model.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMED_MODELS.len());
        let weights = |model: &NamedModel| (model.model_id, model.lcm_lora_id);
        let mut pairs: Vec<_> = NAMED_MODELS.iter().map(weights).collect();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), NAMED_MODELS.len());
    }

    #[test]
    fn an_unknown_name_is_refused_with_all_names() {
        let refused = StreamDiffusionParams::for_model("sdxs-1024").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidParams);
        let text = refused.to_string();
        assert!(text.contains("\"sdxs-1024\"") && text.contains("demo") && text.contains("vega-rt"), "{text}");
        assert!(StreamDiffusionParams::for_model(&"x".repeat(1 << 20)).unwrap_err().to_string().len() < 1000);
    }
}

//! LoRAs: those in the parameters, and the weights of a base model with them merged.

use std::sync::Arc;

use super::context::BuildContext;
use super::models::Models;
use super::text::Text;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Dtype;
use crate::load::{LoraFile, listed};
use crate::models::{LoraChanges, LoraNames, LoraTarget, ModelFamily, smallest_unet};
use crate::net::Weights;
use crate::params::{Notice, StreamDiffusionParams};

/// The default LCM-LoRA of the parameters, for Stable Diffusion 1.x.
const LCM_SD15: &str = "latent-consistency/lcm-lora-sdv1-5";
/// Its equivalent for SDXL.
const LCM_SDXL: &str = "latent-consistency/lcm-lora-sdxl";

/// A LoRA in the parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) id: String,
    pub(super) scale: f64,
}

/// Returns the LoRAs to merge into `models`, by their ids: those of `lora_dict`, and the LCM-LoRA if it is needed.
pub(super) fn wanted(params: &StreamDiffusionParams, models: &Models) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = params.lora_dict.iter().map(|(id, &scale)| Wanted { id: id.clone(), scale }).collect();
    // An explicit scale takes precedence.
    if let Some(id) = lcm_lora(params, models).filter(|id| !params.lora_dict.contains_key(*id)) {
        all.push(Wanted { id: id.to_owned(), scale: 1.0 });
    }
    all
}

/// Returns the LCM-LoRA that the base model needs for few steps; `None` if the model was made for few steps, or if
/// there is none.
fn lcm_lora<'a>(params: &'a StreamDiffusionParams, models: &Models) -> Option<&'a str> {
    if !params.use_lcm_lora || models.distilled {
        return None;
    }
    let named = params.lcm_lora_id.as_str();
    match ModelFamily::of(&models.unet) {
        ModelFamily::Sd21 if named == LCM_SD15 => None,
        ModelFamily::Sdxl if named == LCM_SD15 => Some(LCM_SDXL),
        ModelFamily::Sd15 | ModelFamily::Sd21 | ModelFamily::Sdxl => Some(named),
    }
}

/// Returns the notice if the LCM-LoRA is not the one in the parameters.
pub(super) fn lcm_notice(params: &StreamDiffusionParams, models: &Models) -> Option<Notice> {
    let notice = |path: &str, message: String| Some(Notice { path: path.into(), message });
    match lcm_lora(params, models) {
        None if params.use_lcm_lora && !models.distilled => {
            let message =
                "has no effect: there is no LCM-LoRA for Stable Diffusion 2.x, so few steps give blurred pictures";
            notice("use_lcm_lora", message.into())
        }
        Some(id) if id != params.lcm_lora_id => {
            notice("lcm_lora_id", format!("is {:?}, which means {id:?} for SDXL", params.lcm_lora_id))
        }
        None | Some(_) => None,
    }
}

/// A LoRA that was read: its changes of one base model.
#[derive(Debug)]
pub(super) struct Lora {
    pub(super) id: String,
    changes: LoraChanges,
}

impl Lora {
    /// Reads the LoRA `id`, and maps it to the weights of `models`.
    ///
    /// # Errors
    ///
    /// `NotFound` with advice; `BadModel` naming the incompatible tensor, `Unsupported`.
    pub(super) fn read(
        context: &BuildContext,
        params: &StreamDiffusionParams,
        models: &Models,
        id: &str,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let path = if params.lora_dict.contains_key(id) { "lora_dict" } else { "lcm_lora_id" };
        let without = if path == "lcm_lora_id" { ", `use_lcm_lora: false` goes without" } else { "" };
        let advice = |error: Error| {
            if error.kind() != ErrorKind::NotFound {
                return error.within(path);
            }
            let text = format!("{path}: {error}; `dreamframe models fetch {id}` fetches it{without}");
            Error::new(ErrorKind::NotFound, text)
        };
        let file = id.parse().and_then(|id| context.source.lora(&id)).map_err(advice)?;
        let LoraFile { path: place, layers, mut unknown } = LoraFile::read(&file).map_err(advice)?;
        let mut changes = names(models)?.changes(layers).map_err(|error| error.within(&place).within(path))?;
        unknown.append(&mut changes.unused);
        if !unknown.is_empty() {
            let message = format!(
                "has {id:?} with {} tensors that this model has no place for: {}",
                unknown.len(),
                listed(&unknown)
            );
            notices.push(Notice { path: path.into(), message });
        }
        Ok(Self { id: id.to_owned(), changes })
    }
}

/// All names of the layers of `models`.
fn names(models: &Models) -> Result<LoraNames> {
    let mut programs = vec![(LoraTarget::Unet, smallest_unet(&models.unet)?)];
    programs.extend(models.text.programs()?);
    Ok(LoraNames::new(programs.iter().map(|(target, program)| (*target, program.weights()))))
}

/// The weights of a base model with LoRAs merged into them. Unchanged weights are shared with the base model.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) unet: Arc<Weights>,
    pub(crate) text: Arc<Text>,
}

impl Merged {
    /// Merges each of `loras` with its scale. The UNet's weights are merged as they are packed for a network, the text
    /// encoders' now.
    ///
    /// # Errors
    ///
    /// Those of [`Text::merged`].
    pub(super) fn new(
        context: &BuildContext,
        models: &Models,
        loras: &[(Arc<Lora>, f64)],
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let merge = |target: LoraTarget, base: &Arc<Weights>| {
            let of = |(lora, scale): &'_ (Arc<Lora>, f64)| {
                let scale = *scale as f32;
                let changes = lora.changes.of(target).map(|(name, change)| (name.to_owned(), scale, change.clone()));
                changes.collect::<Vec<_>>()
            };
            Weights::merged(base, loras.iter().flat_map(of))
        };
        let unet = merge(LoraTarget::Unet, &models.unet_weights);
        let lost = models.unet_weights.byte_scales().len() - unet.byte_scales().len();
        if context.options.dtype == Dtype::Int8 && lost > 0 {
            let message = format!(
                "changes {lost} of the UNet's {} layers in int8, which are done in bf16 then: how their inputs become \
                 bytes was found out without it",
                models.unet_weights.byte_scales().len()
            );
            notices.push(Notice { path: "lora_dict".into(), message });
        }
        Ok(Self { unet, text: models.text.merged(&*context.executor, &merge)? })
    }
}

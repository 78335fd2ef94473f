//! LoRAs: those in the parameters, and the weights of a base model with them.

use std::sync::Arc;

use super::context::BuildContext;
use super::models::Models;
use super::text::Text;
use crate::engine::options::LoraMode;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Dtype;
use crate::load::{LoraFile, listed};
use crate::models::{LoraChanges, LoraNames, LoraTarget, ModelFamily, UnetShape, smallest_unet, unet_program};
use crate::net::{Branches, LowRank, Weights};
use crate::params::{Cost, Notice, StreamDiffusionParams};

/// The default LCM-LoRA of the parameters, for Stable Diffusion 1.x.
const LCM_SD15: &str = "latent-consistency/lcm-lora-sdv1-5";
/// Its equivalent for SDXL.
const LCM_SDXL: &str = "latent-consistency/lcm-lora-sdxl";

/// How much longer a frame may take with all live branches of [`LoraMode::Auto`], as a share of its time.
const LONGEST: f64 = 0.05;
/// The side of the latent for which the cost of branches is estimated, so that it does not depend on the size.
const LATENT_SIDE: usize = 64;

/// A LoRA in the parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) id: String,
    pub(super) scale: f64,
}

/// Returns the LoRAs of `models`, by their ids: those of `lora_dict`, and the LCM-LoRA if it is needed.
pub(super) fn wanted(params: &StreamDiffusionParams, models: &Models) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = params.lora_dict.iter().map(|(id, &scale)| Wanted { id: id.clone(), scale }).collect();
    // An explicit scale takes precedence.
    if let Some(id) = lcm_lora(params, ModelFamily::of(&models.unet), models.distilled)
        .filter(|id| !params.lora_dict.contains_key(*id))
    {
        all.push(Wanted { id: id.to_owned(), scale: 1.0 });
    }
    all
}

/// Returns the LCM-LoRA that the base model needs for few steps; `None` if the model was made for few steps, or if
/// there is none.
pub(super) fn lcm_lora(params: &StreamDiffusionParams, family: ModelFamily, is_distilled: bool) -> Option<&str> {
    // Weights of img2img-turbo are for one step.
    if !params.use_lcm_lora || is_distilled || params.img2img_turbo.weights.is_some() {
        return None;
    }
    let named = params.lcm_lora_id.as_str();
    match family {
        ModelFamily::Sd21 if named == LCM_SD15 => None,
        ModelFamily::Sdxl if named == LCM_SD15 => Some(LCM_SDXL),
        ModelFamily::Sd15 | ModelFamily::Sd21 | ModelFamily::Sdxl => Some(named),
    }
}

/// Returns the notice if the LCM-LoRA is not the one in the parameters.
pub(super) fn lcm_notice(params: &StreamDiffusionParams, models: &Models) -> Option<Notice> {
    let notice = |path: &str, message: String| Some(Notice { path: path.into(), message });
    match lcm_lora(params, ModelFamily::of(&models.unet), models.distilled) {
        None if params.use_lcm_lora && !models.distilled && params.img2img_turbo.weights.is_none() => {
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
    /// How much longer a frame takes with its live branches, as a share.
    branch_cost: f64,
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
        let file = id.parse().and_then(|id| context.source.read_lora(&id)).map_err(advice)?;
        let LoraFile { path: place, layers, mut unknown, notice } = file;
        notices.extend(notice.map(|message| Notice { path: path.into(), message }));
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
        let mut lora = Self { id: id.to_owned(), changes, branch_cost: 0.0 };
        if context.options.lora_mode == LoraMode::Auto {
            let shape = UnetShape::new(1, LATENT_SIDE, LATENT_SIDE);
            let (program, branches) = (unet_program(&models.unet, &shape)?, Branches::new([lora.unet_changes()]));
            lora.branch_cost = context.executor.branch_cost(&program, &models.unet_weights, &branches)?;
        }
        if context.options.lora_mode == LoraMode::Live && path == "lora_dict" && lora.has_text() {
            let message = format!(
                "has {id:?}, which changes text encoders as well: they are merged, so that a change of its scale costs \
                 {:?}",
                Cost::Load.name()
            );
            notices.push(Notice { path: path.into(), message });
        }
        Ok(lora)
    }

    /// Returns its changes of the UNet, by the names of the weights.
    fn unet_changes(&self) -> impl Iterator<Item = (String, Arc<LowRank>)> {
        self.changes.of(LoraTarget::Unet).map(|(name, change)| (name.to_owned(), change.clone()))
    }

    /// Returns whether it changes the UNet.
    pub(super) fn has_unet(&self) -> bool {
        self.changes.of(LoraTarget::Unet).next().is_some()
    }

    /// Returns whether it changes a text encoder.
    pub(super) fn has_text(&self) -> bool {
        let targets = [LoraTarget::TextEncoder, LoraTarget::TextEncoder2];
        targets.into_iter().any(|target| self.changes.of(target).next().is_some())
    }
}

/// All names of the layers of `models`.
fn names(models: &Models) -> Result<LoraNames> {
    let mut programs = vec![(LoraTarget::Unet, smallest_unet(&models.unet)?)];
    programs.extend(models.text.programs()?);
    Ok(LoraNames::new(programs.iter().map(|(target, program)| (*target, program.weights()))))
}

/// How the LoRAs of a pipeline are used. A LoRA may be in several lists.
#[derive(Debug, Default)]
pub(super) struct LoraUse {
    /// Merged into the UNet's weights, with a nonzero scale.
    pub(super) merged: Vec<Wanted>,
    /// With live branches in the UNet, at any scale.
    pub(super) live: Vec<Wanted>,
    /// Merged into the text encoders' weights, with a nonzero scale.
    pub(super) text: Vec<Wanted>,
}

impl LoraUse {
    /// Returns the use of `loras` in `mode`. The LCM-LoRA that is added automatically has no branch, since its scale
    /// does not change.
    pub(super) fn new(mode: LoraMode, params: &StreamDiffusionParams, models: &Models, loras: &[Arc<Lora>]) -> Self {
        let mut lora_use = Self::default();
        let live = live(mode, params, loras);
        for wanted in wanted(params, models) {
            let Some(lora) = loras.iter().find(|lora| lora.id == wanted.id) else { continue };
            if wanted.scale != 0.0 && lora.has_text() {
                lora_use.text.push(wanted.clone());
            }
            if live.contains(&&*wanted.id) {
                lora_use.live.push(wanted);
            } else if wanted.scale != 0.0 && lora.has_unet() {
                lora_use.merged.push(wanted);
            }
        }
        lora_use
    }

    /// Returns the scales of the LoRAs with live branches, in order.
    pub(super) fn live_scales(&self) -> Vec<f32> {
        self.live.iter().map(|lora| lora.scale as f32).collect()
    }
}

/// Returns the ids of those of `loras` in `lora_dict` that have live branches in `mode`, at any scale.
fn live<'a>(mode: LoraMode, params: &StreamDiffusionParams, loras: &'a [Arc<Lora>]) -> Vec<&'a str> {
    let mut loras: Vec<_> =
        loras.iter().filter(|lora| params.lora_dict.contains_key(&lora.id) && lora.has_unet()).collect();
    let count = match mode {
        LoraMode::Merged => 0,
        LoraMode::Live => loras.len(),
        LoraMode::Auto => {
            loras.sort_by(|a, b| a.branch_cost.total_cmp(&b.branch_cost));
            let mut sum = 0.0;
            let short = |lora: &&&Arc<Lora>| {
                sum += lora.branch_cost;
                sum <= LONGEST
            };
            loras.iter().take_while(short).count()
        }
    };
    loras[..count].iter().map(|lora| &*lora.id).collect()
}

/// Returns `base` with the changes of `target` by `wanted` of `loras`; `base` itself if there are none.
fn merged(loras: &[Arc<Lora>], wanted: &[Wanted], target: LoraTarget, base: &Arc<Weights>) -> Arc<Weights> {
    let changes = wanted.iter().flat_map(|Wanted { id, scale }| {
        let changes = loras.iter().filter(move |lora| lora.id == *id).flat_map(move |lora| lora.changes.of(target));
        changes.map(|(name, change)| (name.to_owned(), *scale as f32, change.clone()))
    });
    Weights::merged(base, changes)
}

/// Returns the text encoders of `models` with `wanted` of `loras` merged into their weights; shared with the base model
/// if none changes.
///
/// # Errors
///
/// Those of [`Text::merged`].
pub(super) fn merged_text(
    context: &BuildContext,
    models: &Models,
    loras: &[Arc<Lora>],
    wanted: &[Wanted],
) -> Result<Arc<Text>> {
    models.text.merged(&*context.executor, &|target, base| merged(loras, wanted, target, base))
}

/// The UNet's weights with LoRAs: merged, and of live branches. Unchanged weights are shared with the base model.
#[derive(Debug)]
pub(crate) struct UnetWeights {
    pub(crate) weights: Arc<Weights>,
    pub(super) branches: Branches,
}

impl UnetWeights {
    /// Returns the weights `base` with those of `loras` merged that are `wanted`, and the branches of those that are
    /// `live`. Weights are merged as they are packed for a network.
    pub(super) fn new(
        context: &BuildContext,
        base: &Arc<Weights>,
        loras: &[Arc<Lora>],
        (wanted, live): (&[Wanted], &[String]),
        notices: &mut Vec<Notice>,
    ) -> Self {
        let merged = merged(loras, wanted, LoraTarget::Unet, base);
        notices.extend(lost_bytes(context, base, &merged, "lora_dict"));
        let live = live.iter().filter_map(|id| loras.iter().find(|lora| lora.id == *id));
        let branches = Branches::new(live.map(|lora| lora.unet_changes()));
        Self { weights: branches.weights(&merged), branches }
    }
}

/// Returns the notice that the parameter `path`, which makes `changed` of the UNet's weights `base`, changes layers that
/// would be computed in int8.
pub(super) fn lost_bytes(context: &BuildContext, base: &Weights, changed: &Weights, path: &str) -> Option<Notice> {
    let layers = base.byte_scales().len();
    let lost = layers - changed.byte_scales().len();
    let message = format!(
        "changes {lost} of the UNet's {layers} int8 layers, which run without int8 then, since the calibration was made \
         without it"
    );
    let is_wanted = context.options.dtype == Dtype::Int8 && !context.automatic_dtype;
    (is_wanted && lost > 0).then(|| Notice { path: path.into(), message })
}

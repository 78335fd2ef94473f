//! The family of a file, by the names and shapes of its tensors, and how files of each family are laid out.

use std::collections::HashMap;

use super::super::header::Tensor;
use super::{CLIP, CLIP_XL, OPEN_CLIP, OPEN_CLIP_XL, UNET};
use crate::error::{Error, ErrorKind, Result};
use crate::families::ModelFamily;

/// Channels of a latent, and so of the input of a UNet that only removes noise.
const LATENT_CHANNELS: usize = 4;

/// What differs between the files of the families, and the diffusers configs that they correspond to.
#[derive(Debug)]
pub(super) struct FileLayout {
    /// The side of the pictures of its first training, in pixels.
    pub(super) picture_side: usize,
    pub(super) pipeline: &'static str,
    pub(super) scheduler: &'static str,
    /// The factor between latents of the autoencoder and of the UNet.
    pub(super) latent_scale: f64,
    /// Whether the number of attention heads is the same at every resolution; otherwise their width is.
    pub(super) fixed_heads: bool,
    /// Whether the file determines the prediction that the UNet was trained for.
    pub(super) has_prediction: bool,
    pub(super) text_encoders: &'static [TextLayout],
}

/// A text encoder of a file.
#[derive(Debug)]
pub(super) struct TextLayout {
    pub(super) component: &'static str,
    pub(super) tokenizer: &'static str,
    /// The prefix of its tensors' names.
    pub(super) prefix: &'static str,
    pub(super) format: TextFormat,
}

/// How the tensors of a text encoder are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextFormat {
    /// As in transformers.
    Clip,
    /// As in OpenCLIP.
    OpenClip {
        /// Whether the pooled state is projected, and every layer runs.
        projected: bool,
    },
}

/// Returns how files of `family` are laid out.
pub(super) const fn layout(family: ModelFamily) -> &'static FileLayout {
    match family {
        ModelFamily::Sd15 => &FileLayout {
            picture_side: 512,
            pipeline: "StableDiffusionPipeline",
            scheduler: "PNDMScheduler",
            latent_scale: 0.18215,
            fixed_heads: true,
            has_prediction: true,
            text_encoders: &[TextLayout {
                component: "text_encoder",
                tokenizer: "tokenizer",
                prefix: CLIP,
                format: TextFormat::Clip,
            }],
        },
        ModelFamily::Sd21 => &FileLayout {
            picture_side: 512,
            pipeline: "StableDiffusionPipeline",
            scheduler: "EulerDiscreteScheduler",
            latent_scale: 0.18215,
            fixed_heads: false,
            has_prediction: false,
            text_encoders: &[TextLayout {
                component: "text_encoder",
                tokenizer: "tokenizer",
                prefix: OPEN_CLIP,
                format: TextFormat::OpenClip { projected: false },
            }],
        },
        ModelFamily::Sdxl => &FileLayout {
            picture_side: 1024,
            pipeline: "StableDiffusionXLPipeline",
            scheduler: "EulerDiscreteScheduler",
            latent_scale: 0.13025,
            fixed_heads: false,
            has_prediction: true,
            text_encoders: &[
                TextLayout {
                    component: "text_encoder",
                    tokenizer: "tokenizer",
                    prefix: CLIP_XL,
                    format: TextFormat::Clip,
                },
                TextLayout {
                    component: "text_encoder_2",
                    tokenizer: "tokenizer_2",
                    prefix: OPEN_CLIP_XL,
                    format: TextFormat::OpenClip { projected: true },
                },
            ],
        },
    }
}

/// UNets that take more than a latent, by the channels they take.
const OTHER_INPUTS: [(usize, &str); 4] = [
    (5, "a model with a depth map as input (5 channels)"),
    (7, "an upscaler (7 channels)"),
    (8, "a model with a second picture as input, such as InstructPix2Pix (8 channels)"),
    (9, "an inpainting model (9 channels)"),
];

/// Files that are mistaken for checkpoints, by a prefix or a part of a tensor's name.
const OTHER_FILES: [(&str, &str); 14] = [
    ("lora_unet_", "a LoRA"),
    ("lora_te", "a LoRA"),
    (".lora_A.", "a LoRA"),
    (".lora_down.", "a LoRA"),
    (".lora.down.", "a LoRA"),
    ("control_model.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("joint_blocks.", "a Stable Diffusion 3 network"),
    ("double_blocks.", "a Flux network"),
    ("down_blocks.", "one network of a diffusers folder"),
    ("image_proj.", "an IP-Adapter"),
    ("text_model.", "a text encoder alone"),
    ("first_stage_model.", "an autoencoder alone"),
    ("encoder.down.", "an autoencoder alone"),
];

/// Returns the family of a file with these tensors.
///
/// # Errors
///
/// `Unsupported` naming what it is instead, `NotFound` if a text encoder is missing.
pub(super) fn family_of(tensors: &HashMap<String, Tensor>) -> Result<ModelFamily> {
    let under = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
    let unet = |name: &str| tensors.get(&format!("{UNET}{name}"));
    let Some(first) = unet("input_blocks.0.0.weight").filter(|_| !under("control_model.")) else {
        return Err(refuse(other_file(tensors)));
    };
    check_marks(tensors)?;
    let channels = first.shape.get(1).copied().unwrap_or_default();
    if channels != LATENT_CHANNELS {
        let known = OTHER_INPUTS.iter().find(|(count, _)| *count == channels);
        let what =
            known.map_or_else(|| format!("a UNet with {channels} input channels"), |(_, what)| (*what).to_owned());
        return Err(refuse(&what));
    }
    if unet("label_emb.0.0.weight").is_some() {
        return match (under(CLIP_XL), under(OPEN_CLIP_XL)) {
            (true, true) => Ok(ModelFamily::Sdxl),
            _ if under("conditioner.embedders.0.model.") => Err(refuse("the refiner of SDXL")),
            _ if under(OPEN_CLIP) => Err(refuse("Stable unCLIP")),
            _ => Err(without_text_encoder(&[CLIP_XL, OPEN_CLIP_XL])),
        };
    }
    match (under(CLIP), under(OPEN_CLIP)) {
        (true, _) => Ok(ModelFamily::Sd15),
        (false, true) => Ok(ModelFamily::Sd21),
        (false, false) => Err(without_text_encoder(&[CLIP, OPEN_CLIP])),
    }
}

/// Rejects a file whose metadata states another training objective.
fn check_marks(tensors: &HashMap<String, Tensor>) -> Result<()> {
    for (mark, what) in [("v_pred", "velocity (v_prediction)"), ("edm_mean", "EDM")] {
        if tensors.contains_key(mark) {
            let text =
                format!("prediction type of tensor {mark:?}: got {what}, expected the prediction of noise (epsilon)");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    Ok(())
}

fn other_file(tensors: &HashMap<String, Tensor>) -> &'static str {
    let known = OTHER_FILES.iter().find(|(part, _)| {
        tensors.keys().any(|name| if part.starts_with('.') { name.contains(part) } else { begins(name, part) })
    });
    known.map_or("another safetensors file", |(_, what)| what)
}

/// Returns true if `name` begins with `part`, with or without the usual prefix of a UNet.
fn begins(name: &str, part: &str) -> bool {
    name.strip_prefix(UNET).unwrap_or(name).starts_with(part)
}

fn refuse(what: &str) -> Error {
    let text = format!(
        "got {what}, expected a checkpoint of Stable Diffusion 1.x, 2.x or XL base in one file, with {UNET}… and its text encoders"
    );
    Error::new(ErrorKind::Unsupported, text)
}

fn without_text_encoder(wanted: &[&str]) -> Error {
    let text = format!(
        "text encoders: missing, expected {}… next to the UNet; use a full checkpoint or a diffusers folder",
        wanted.join("…, ")
    );
    Error::new(ErrorKind::NotFound, text)
}

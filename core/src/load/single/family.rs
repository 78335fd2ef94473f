//! What a file of tensors is: told by their names and shapes, never by the name of the file.

use std::collections::HashMap;

use super::super::header::Tensor;
use super::{CLIP, CLIP_XL, OPEN_CLIP, OPEN_CLIP_XL, UNET};
use crate::error::{Error, ErrorKind, Result};

/// Channels of a latent, and so of the input of a UNet that only removes noise.
const LATENT_CHANNELS: usize = 4;

/// The families of checkpoints that are written as one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Stable Diffusion 1.x.
    One,
    /// Stable Diffusion 2.x.
    Two,
    /// SDXL.
    Xl,
}

/// UNets that take more than a latent, by the channels they take.
const OTHER_INPUTS: [(usize, &str); 4] = [
    (5, "takes a depth map (5 channels in)"),
    (7, "is an upscaler (7 channels in)"),
    (8, "takes a second picture, as InstructPix2Pix does (8 channels in)"),
    (9, "is for inpainting (9 channels in)"),
];

/// Files that people take for checkpoints, by what the name of a tensor begins with or contains.
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

impl Family {
    /// Tells the family of a file with these tensors.
    ///
    /// # Errors
    ///
    /// `Unsupported` naming what it is instead, `NotFound` where a text encoder is missing.
    pub(super) fn of(tensors: &HashMap<String, Tensor>) -> Result<Self> {
        let under = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
        let unet = |name: &str| tensors.get(&format!("{UNET}{name}"));
        let Some(first) = unet("input_blocks.0.0.weight").filter(|_| !under("control_model.")) else {
            return Err(refuse(&format!("is {}, not", other_file(tensors))));
        };
        check_marks(tensors)?;
        let channels = first.shape.get(1).copied().unwrap_or_default();
        if channels != LATENT_CHANNELS {
            let known = OTHER_INPUTS.iter().find(|(count, _)| *count == channels);
            let what = known.map_or_else(|| format!("takes {channels} channels"), |(_, what)| (*what).to_owned());
            return Err(refuse(&format!("{what}; it is not")));
        }
        if unet("label_emb.0.0.weight").is_some() {
            return match (under(CLIP_XL), under(OPEN_CLIP_XL)) {
                (true, true) => Ok(Self::Xl),
                _ if under("conditioner.embedders.0.model.") => Err(refuse("is SDXL's refiner, not")),
                _ if under(OPEN_CLIP) => Err(refuse("is Stable unCLIP, which is led by pictures, not")),
                _ => Err(without_text_encoder(&[CLIP_XL, OPEN_CLIP_XL])),
            };
        }
        match (under(CLIP), under(OPEN_CLIP)) {
            (true, _) => Ok(Self::One),
            (false, true) => Ok(Self::Two),
            (false, false) => Err(without_text_encoder(&[CLIP, OPEN_CLIP])),
        }
    }
}

/// Refuses what says of itself that it was trained in another way.
fn check_marks(tensors: &HashMap<String, Tensor>) -> Result<()> {
    for (mark, what) in [("v_pred", "predicts velocity (v_prediction)"), ("edm_mean", "was trained as EDM does")] {
        if tensors.contains_key(mark) {
            let text = format!("{what}, as its tensor {mark:?} says, but only the prediction of noise is built");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    Ok(())
}

fn other_file(tensors: &HashMap<String, Tensor>) -> &'static str {
    let known = OTHER_FILES.iter().find(|(part, _)| {
        tensors.keys().any(|name| if part.starts_with('.') { name.contains(part) } else { begins(name, part) })
    });
    known.map_or("a safetensors file of something else", |(_, what)| what)
}

/// Whether `name` begins with `part`, be it inside the usual wrapping of a UNet.
fn begins(name: &str, part: &str) -> bool {
    name.strip_prefix(UNET).unwrap_or(name).starts_with(part)
}

fn refuse(what: &str) -> Error {
    let text = format!(
        "{what} a checkpoint of Stable Diffusion 1.x, 2.x or XL base in one file, which has {UNET}… and its text encoders"
    );
    Error::new(ErrorKind::Unsupported, text)
}

fn without_text_encoder(wanted: &[&str]) -> Error {
    let text = format!(
        "the file has a UNet but not its text encoders ({}…): bring a full checkpoint, or a diffusers folder",
        wanted.join("…, ")
    );
    Error::new(ErrorKind::NotFound, text)
}

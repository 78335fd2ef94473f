//! The published locations of the weights of processors, in order of preference.

use super::weight_names::WeightFile;

/// The collection of ControlNet's authors.
const ANNOTATORS: &str = "lllyasviel/Annotators";

/// HED as ControlNet's authors trained it.
pub(crate) const HED: &[WeightFile<'_>] = &[(ANNOTATORS, "ControlNetHED.safetensors")];
/// The authors' generator of fine lines.
pub(crate) const LINEART: &[WeightFile<'_>] = &[(ANNOTATORS, "sk_model.safetensors")];
/// The authors' generator of coarse lines.
pub(crate) const LINEART_COARSE: &[WeightFile<'_>] = &[(ANNOTATORS, "sk_model2.safetensors")];
/// The authors' generator of the lines of drawings.
pub(crate) const LINEART_ANIME: &[WeightFile<'_>] = &[(ANNOTATORS, "netG.safetensors")];
/// Depth Anything V2, small.
pub(crate) const DEPTH: &[WeightFile<'_>] = &[
    ("depth-anything/Depth-Anything-V2-Small-hf", DEPTH_FILES[0]),
    ("depth-anything/Depth-Anything-V2-Small", DEPTH_FILES[1]),
];
/// The file of Depth Anything V2 in transformers' layout, and in the authors' own.
pub(crate) const DEPTH_FILES: [&str; 2] = ["model.safetensors", "depth_anything_v2_vits.safetensors"];
/// torchvision's RAFT-small.
pub(crate) const RAFT: &[WeightFile<'_>] = &[("torchvision/raft_small", RAFT_FILE), (ANNOTATORS, RAFT_FILE)];
const RAFT_FILE: &str = "raft_small_C_T_V2-01064c6d.safetensors";
/// Real-ESRGAN, twofold.
pub(crate) const UPSCALER: &[WeightFile<'_>] = &[("xinntao/Real-ESRGAN", UPSCALER_FILE), (ANNOTATORS, UPSCALER_FILE)];
const UPSCALER_FILE: &str = "RealESRGAN_x2plus.safetensors";

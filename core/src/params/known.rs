//! Model ids whose family is known by name, so that a misfit is told before anything loads.
//!
//! An id that is not listed passes: what it is shows when its files are read.

/// Names the model inside the library.
pub const DEMO_MODEL: &str = "demo";

/// The families that differ in what fits to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Demo,
    Sd15,
    Sd21,
    Sdxl,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Demo => "the demo model",
            Self::Sd15 => "Stable Diffusion 1.5",
            Self::Sd21 => "Stable Diffusion 2.1",
            Self::Sdxl => "SDXL",
        }
    }
}

const MODELS: &[(&str, Family)] = &[
    (DEMO_MODEL, Family::Demo),
    ("stabilityai/sd-turbo", Family::Sd21),
    ("stabilityai/sdxl-turbo", Family::Sdxl),
    ("Lykon/dreamshaper-8", Family::Sd15),
    ("prompthero/openjourney-v4", Family::Sd15),
    ("KBlueLeaf/kohaku-v2.1", Family::Sd15),
    ("SimianLuo/LCM_Dreamshaper_v7", Family::Sd15),
];

const CONTROLNETS: &[(&str, Family)] = &[
    ("thibaud/controlnet-sd21-openpose-diffusers", Family::Sd21),
    ("thibaud/controlnet-sd21-hed-diffusers", Family::Sd21),
    ("thibaud/controlnet-sd21-canny-diffusers", Family::Sd21),
    ("thibaud/controlnet-sd21-depth-diffusers", Family::Sd21),
    ("thibaud/controlnet-sd21-color-diffusers", Family::Sd21),
    ("daydreamlive/TemporalNet2-stable-diffusion-2-1", Family::Sd21),
    ("lllyasviel/control_v11f1p_sd15_depth", Family::Sd15),
    ("lllyasviel/control_v11f1e_sd15_tile", Family::Sd15),
    ("lllyasviel/control_v11p_sd15_canny", Family::Sd15),
    ("daydreamlive/TemporalNet2-stable-diffusion-v1-5", Family::Sd15),
    ("xinsir/controlnet-depth-sdxl-1.0", Family::Sdxl),
    ("xinsir/controlnet-canny-sdxl-1.0", Family::Sdxl),
    ("xinsir/controlnet-tile-sdxl-1.0", Family::Sdxl),
    ("daydreamlive/TemporalNet2-stable-diffusion-xl-base-1.0", Family::Sdxl),
];

/// Finds the family of a base model.
pub(super) fn model_family(id: &str) -> Option<Family> {
    find(MODELS, id)
}

/// Finds the family that a ControlNet was trained for.
pub(super) fn controlnet_family(id: &str) -> Option<Family> {
    find(CONTROLNETS, id)
}

fn find(list: &[(&str, Family)], id: &str) -> Option<Family> {
    list.iter().find(|(known, _)| *known == id).map(|(_, family)| *family)
}

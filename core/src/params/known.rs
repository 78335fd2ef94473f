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

/// Lists the base models that are known by name, each with the ControlNets that are known to fit it.
pub fn known_models() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    MODELS.iter().map(|&(model, family)| {
        let fitting = CONTROLNETS.iter().filter(|(_, own)| *own == family);
        (model, fitting.map(|&(id, _)| id).collect())
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_controlnet_fits_a_known_model_and_none_fits_the_demo_model() {
        let models: Vec<_> = known_models().collect();
        for (id, _) in CONTROLNETS {
            assert!(models.iter().any(|(_, fitting)| fitting.contains(id)), "{id}");
        }
        assert_eq!(models.iter().find(|(model, _)| *model == DEMO_MODEL).map(|(_, fitting)| fitting.len()), Some(0));
    }
}

//! Models with a known family, so that incompatible parameters are rejected before anything is loaded.
//!
//! Other ids are accepted; their family is determined when their files are read.

use crate::families::{DEMO, FamilyInfo, ModelFamily, SDXS, SDXS_DREAMSHAPER};

/// The id of the embedded demo model.
pub const DEMO_MODEL: &str = "demo";
/// The ids of the demo model's ControlNets, which are embedded: for edges as `canny` finds them, and for soft edges.
pub const DEMO_CONTROLNETS: [&str; 2] = ["demo-canny", "demo-softedge"];
/// The id of the demo model's LoRA, which is embedded: pictures as holograms.
pub const DEMO_LORA: &str = "demo-lora-hologram";
/// The id of the demo model's IP-Adapter, which is embedded. It is used for the demo model unless another one is named.
pub const DEMO_ADAPTER: &str = "demo-style";

const SD15: &FamilyInfo = ModelFamily::Sd15.info();
const SD21: &FamilyInfo = ModelFamily::Sd21.info();
const SDXL: &FamilyInfo = ModelFamily::Sdxl.info();

const MODELS: &[(&str, &FamilyInfo)] = &[
    (DEMO_MODEL, &DEMO),
    ("stabilityai/sd-turbo", SD21),
    ("IDKiro/sdxs-512-0.9", &SDXS),
    ("IDKiro/sdxs-512-dreamshaper", &SDXS_DREAMSHAPER),
    ("stabilityai/sdxl-turbo", SDXL),
    ("segmind/SSD-1B", SDXL),
    ("segmind/Segmind-Vega", SDXL),
    ("Lykon/dreamshaper-8", SD15),
    ("prompthero/openjourney-v4", SD15),
    ("KBlueLeaf/kohaku-v2.1", SD15),
    ("SimianLuo/LCM_Dreamshaper_v7", SD15),
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", SD15),
    ("stabilityai/stable-diffusion-xl-base-1.0", SDXL),
];

const CONTROLNETS: &[(&str, &FamilyInfo)] = &[
    (DEMO_CONTROLNETS[0], &DEMO),
    (DEMO_CONTROLNETS[1], &DEMO),
    ("thibaud/controlnet-sd21-openpose-diffusers", SD21),
    ("thibaud/controlnet-sd21-hed-diffusers", SD21),
    ("thibaud/controlnet-sd21-canny-diffusers", SD21),
    ("thibaud/controlnet-sd21-depth-diffusers", SD21),
    ("thibaud/controlnet-sd21-color-diffusers", SD21),
    ("daydreamlive/TemporalNet2-stable-diffusion-2-1", SD21),
    ("lllyasviel/control_v11f1p_sd15_depth", SD15),
    ("lllyasviel/control_v11f1e_sd15_tile", SD15),
    ("lllyasviel/control_v11p_sd15_canny", SD15),
    ("daydreamlive/TemporalNet2-stable-diffusion-v1-5", SD15),
    ("IDKiro/sdxs-512-dreamshaper-sketch", &SDXS_DREAMSHAPER),
    ("xinsir/controlnet-depth-sdxl-1.0", SDXL),
    ("xinsir/controlnet-canny-sdxl-1.0", SDXL),
    ("xinsir/controlnet-tile-sdxl-1.0", SDXL),
    ("daydreamlive/TemporalNet2-stable-diffusion-xl-base-1.0", SDXL),
];

/// Lists the base models that are known by their id, each with the known ControlNets that fit it.
pub fn known_models() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    MODELS.iter().map(|&(model, family)| {
        let fitting = CONTROLNETS.iter().filter(|(_, own)| *own == family);
        (model, fitting.map(|&(id, _)| id).collect())
    })
}

/// Returns the family of a known base model.
pub(super) fn model_family(id: &str) -> Option<&'static FamilyInfo> {
    find(MODELS, id)
}

/// Returns the family that a known ControlNet was trained for.
pub(super) fn controlnet_family(id: &str) -> Option<&'static FamilyInfo> {
    find(CONTROLNETS, id)
}

fn find(list: &[(&str, &'static FamilyInfo)], id: &str) -> Option<&'static FamilyInfo> {
    list.iter().find(|(known, _)| *known == id).map(|(_, family)| *family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_controlnet_fits_a_known_model() {
        let models: Vec<_> = known_models().collect();
        for (id, _) in CONTROLNETS {
            assert!(models.iter().any(|(_, fitting)| fitting.contains(id)), "{id}");
        }
        assert_eq!(models.iter().find(|(model, _)| *model == DEMO_MODEL).unwrap().1, DEMO_CONTROLNETS);
    }
}

//! The models that Daydream's clients know by name, and which parameters each has in its schema.

/// The model of a stream without a requested one.
pub(crate) const USUAL: &str = "stabilityai/sd-turbo";
const SDXL: &str = "stabilityai/sdxl-turbo";
const SD15: &str = "Lykon/dreamshaper-8";

/// The four models that both SDKs can read.
#[cfg(test)]
pub(crate) const KNOWN: [&str; 4] = [USUAL, SDXL, SD15, "prompthero/openjourney-v4"];

/// The meaning of an old pipeline id: a model, and whether its image prompt is of faces.
pub(crate) fn of_pipeline(id: &str) -> Option<(&'static str, bool)> {
    Some(match id {
        "pip_SD-turbo" => (USUAL, false),
        "pip_SD15" => (SD15, false),
        "pip_SDXL-turbo" => (SDXL, false),
        "pip_SDXL-turbo-faceid" => (SDXL, true),
        _ => return None,
    })
}

/// The engine's own parameters, which are in no public schema, and in `pipeline_params` of responses.
pub(crate) const OWN: [&str; 9] = [
    "cfg_type",
    "scheduler",
    "eta",
    "timestep_spacing",
    "feature_reuse",
    "interpolation",
    "img2img_turbo",
    "safety_checker_threshold",
    "show_reloading_frame",
];

/// Returns true if the schema of `model` has the parameter `name`; unknown models have those of SDXL.
pub(crate) fn has(model: &str, name: &str) -> bool {
    match name {
        _ if OWN.contains(&name) => false,
        "ip_adapter" | "ip_adapter_style_image_url" | "cached_attention" => model != USUAL,
        _ => true,
    }
}

//! Queries of Scope's clients before a session: the pipelines with their parameters, and lists that are always empty
//! here, because they concern another engine.

use dreamframe::StreamDiffusionParams;
use dreamframe::params::schema;
use serde_json::{Map, Value, json};

/// A pipeline that can be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pipeline {
    /// Its id on the wire.
    pub(crate) id: &'static str,
    name: &'static str,
    description: &'static str,
    /// Whether frames are restyled.
    diffuses: bool,
}

/// Every pipeline; the first is the default.
pub(crate) const PIPELINES: [Pipeline; 3] = [
    Pipeline {
        id: "streamdiffusion",
        name: "StreamDiffusion",
        description: "Restyles video frame by frame with an image diffusion model.",
        diffuses: true,
    },
    // The default request of Scope's clients; parameters of both have the same meaning.
    Pipeline {
        id: "streamdiffusionv2",
        name: "StreamDiffusion (asked for as v2)",
        description: "The same pipeline as streamdiffusion, under the id of Scope's video model.",
        diffuses: true,
    },
    Pipeline {
        id: "passthrough",
        name: "Passthrough",
        description: "Returns frames unchanged, fitted to the pipeline's size.",
        diffuses: false,
    },
];

/// Finds a pipeline by its id.
pub(crate) fn pipeline(id: &str) -> Option<&'static Pipeline> {
    PIPELINES.iter().find(|pipeline| pipeline.id == id)
}

impl Pipeline {
    /// The parameters of Daydream that define this pipeline.
    pub(crate) fn values(&self) -> Map<String, Value> {
        Map::from_iter([("skip_diffusion".to_owned(), Value::from(!self.diffuses))])
    }

    fn describe(&self, defaults: &StreamDiffusionParams) -> Value {
        let modes: &[&str] = if self.diffuses { &["video", "text"] } else { &["video"] };
        json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "version": env!("CARGO_PKG_VERSION"),
            "supported_modes": modes,
            "default_mode": "video",
            "mode_defaults": { "video": { "height": defaults.height, "width": defaults.width } },
            "supports_prompts": self.diffuses,
            "default_temporal_interpolation_method": "slerp",
            "default_temporal_interpolation_steps": 0,
            "default_spatial_interpolation_method": defaults.prompt_interpolation_method,
            "docs_url": null,
            "estimated_vram_gb": null,
            "requires_models": false,
            "supports_lora": false,
            "supports_vace": false,
            "supports_cache_management": false,
            "supports_kv_cache_bias": false,
            "supports_quantization": false,
            "min_dimension": 64,
            "recommended_quantization_vram_threshold": null,
            "modified": false,
            "usage": [],
            "frames_per_chunk": null,
            "temporal_downsample_factor": null,
            "config_schema": config_schema(self, defaults),
        })
    }
}

/// The load parameters: the supported ones of Scope, and Daydream's.
fn config_schema(pipeline: &Pipeline, defaults: &StreamDiffusionParams) -> Value {
    let mut document = schema().clone();
    let own = defaults.to_value();
    if let Some(properties) = document.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties.iter_mut() {
            if let (Some(property), Some(default)) = (property.as_object_mut(), own.get(name)) {
                property.insert("default".into(), default.clone());
            }
        }
        properties.insert(
            "base_seed".into(),
            json!({
                "type": "integer", "minimum": 0, "description": "Seeds the noise; the same as seed."
            }),
        );
        properties.insert("denoising_steps".into(), json!({
            "type": ["array", "null"], "items": { "type": "integer", "minimum": 1, "maximum": 1000 },
            "minItems": 1, "maxItems": 4, "description": "Timesteps, noisiest first: each is the nearest place of t_index_list."
        }));
        properties.insert(
            "noise_scale".into(),
            json!({
                "type": ["number", "null"], "minimum": 0, "maximum": 1,
                "description": "How noisy the first step is: more is more change."
            }),
        );
    }
    if let Some(document) = document.as_object_mut() {
        document.insert("title".into(), pipeline.name.into());
    }
    document
}

/// The body of `GET /api/v1/pipelines/schemas`, for a server whose streams have `defaults`.
pub(crate) fn schemas(defaults: &StreamDiffusionParams) -> Value {
    let all: Map<_, _> =
        PIPELINES.iter().map(|pipeline| (pipeline.id.to_owned(), pipeline.describe(defaults))).collect();
    json!({ "pipelines": all })
}

/// The body of `GET /api/v1/hardware/info`.
pub(crate) fn hardware() -> Value {
    let absent = |what: &str| json!({ "available": false, "reason": format!("{what} is not built into this server") });
    json!({ "vram_gb": null, "spout": absent("Spout"), "ndi": absent("NDI"), "syphon": absent("Syphon") })
}

/// Constant responses, by path.
pub(crate) fn constants() -> [(&'static str, Value); 6] {
    [
        ("/api/v1/loras", json!({ "lora_files": [] })),
        ("/api/v1/assets", json!({ "assets": [] })),
        ("/api/v1/plugins", json!({ "plugins": [], "total": 0, "failed_plugins": [] })),
        ("/api/v1/keys", json!({ "keys": [] })),
        ("/api/v1/onboarding/status", json!({ "completed": true })),
        ("/api/v1/input-sources", json!({ "input_sources": [] })),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_a_pipeline_has_both_dialects_and_this_servers_defaults() {
        let schemas = schemas(&StreamDiffusionParams::demo());
        for pipeline in PIPELINES {
            let described = &schemas["pipelines"][pipeline.id];
            assert_eq!(described["id"], pipeline.id);
            let properties = &described["config_schema"]["properties"];
            assert_eq!(properties["prompt"]["default"], StreamDiffusionParams::demo().to_value()["prompt"]);
            for name in ["width", "height", "base_seed", "denoising_steps", "noise_scale", "t_index_list"] {
                assert!(properties[name].is_object(), "{name}");
            }
        }
    }

    #[test]
    fn only_the_passthrough_pipeline_keeps_frames() {
        let skips = PIPELINES.map(|pipeline| pipeline.values()["skip_diffusion"].as_bool().unwrap());
        assert_eq!(skips, [false, false, true]);
        assert_eq!(pipeline("longlive"), None);
    }
}

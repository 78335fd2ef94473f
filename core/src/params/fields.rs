//! The field table: one row per parameter, with what it may be and what changing it costs.
//!
//! Checks, the schema's bounds, the costs of a difference and the table in `docs/` are made from these rows; types,
//! defaults and descriptions come from the structs.

use serde::Serialize;

use super::acceleration::Acceleration;
use super::allowed::Allowed;
use super::interpolation::Interpolation;
use super::ip_adapter::{IPAdapterType, WeightType};
use super::names::named_enum;
use super::processor::ProcessorName;

named_enum! {
    /// Cost of changing a parameter; several changes together cost as much as the most expensive of them.
    pub enum Cost {
        /// Numbers are swapped between two frames.
        Hot = "hot",
        /// Loaded networks work something out first.
        Recompute = "recompute",
        /// A further network is brought in, while frames go on.
        Load = "load",
        /// A second pipeline is built beside the first, then they change places.
        Rebuild = "rebuild",
    }
}

/// When a change costs more than the row's [`Cost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Dearer {
    /// `recompute` where the value crosses 1, because the negative prompt then comes in or goes out.
    CrossingOne,
    /// `load` where the processor, before or after the change, is a network.
    ProcessorWithWeights,
}

impl Dearer {
    /// Returns when, and what the change costs then.
    pub fn description(self) -> &'static str {
        match self {
            Self::CrossingOne => {
                "`recompute` where it crosses 1, because the negative prompt then comes in or goes out"
            }
            Self::ProcessorWithWeights => "`load` where the processor, before or after, is a network",
        }
    }
}

/// One row: a parameter, by its path.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Field {
    /// Where it is; `[]` stands for every item of a list: `controlnets[].conditioning_scale`.
    pub path: &'static str,
    /// What it may be.
    pub allowed: Allowed,
    /// Whether an item of a list must have it.
    pub required: bool,
    /// What changing it costs, as a rule.
    pub cost: Cost,
    /// When changing it costs more.
    pub dearer: Option<Dearer>,
}

const FLAG: Allowed = Allowed::Flag;
const UNIT: Allowed = Allowed::Number { min: 0.0, max: 1.0 };
const SIZE: Allowed = Allowed::Integer { min: 64, max: 2048, step: 8 };
const MODEL: Allowed = Allowed::Text { min: 1, max: 512 };
const PROMPT: Allowed = Allowed::Text { min: 0, max: 8192 };
// The greatest integer that a JavaScript client can write exactly.
const SEED: Allowed = Allowed::Integer { min: 0, max: (1 << 53) - 1, step: 1 };
// The last index of the longest grid; what the grid at hand allows is a rule of its own.
const INDEX: Allowed = Allowed::Integer { min: 0, max: 99, step: 1 };
const INTERPOLATION: Allowed = Allowed::Choice(Interpolation::NAMES);
const PROCESSOR: Allowed = Allowed::Choice(ProcessorName::NAMES);
const OLD_PATH: Allowed = Allowed::Nullable(&Allowed::Text { min: 0, max: 4096 });
const PROCESSORS: Allowed = Allowed::Items { max: 16, key: None };

const fn row(path: &'static str, allowed: Allowed, cost: Cost) -> Field {
    Field { path, allowed, required: false, cost, dearer: None }
}

impl Field {
    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn dearer(self, when: Dearer) -> Self {
        Self { dearer: Some(when), ..self }
    }
}

/// Lists every parameter, in the order of the structs.
pub const FIELDS: &[Field] = &[
    row("model_id", MODEL, Cost::Rebuild),
    row("prompt", Allowed::Weighted(&PROMPT), Cost::Recompute),
    row("prompt_interpolation_method", INTERPOLATION, Cost::Recompute),
    row("normalize_prompt_weights", FLAG, Cost::Recompute),
    row("normalize_seed_weights", FLAG, Cost::Recompute),
    row("negative_prompt", PROMPT, Cost::Recompute),
    row("guidance_scale", Allowed::Number { min: 0.0, max: 100.0 }, Cost::Hot).dearer(Dearer::CrossingOne),
    row("delta", Allowed::Number { min: 0.0, max: 10.0 }, Cost::Hot),
    row("num_inference_steps", Allowed::Integer { min: 1, max: 100, step: 1 }, Cost::Recompute),
    row("t_index_list", Allowed::List { min: 1, max: 4, item: &INDEX }, Cost::Recompute),
    row("use_safety_checker", FLAG, Cost::Load),
    row("safety_checker_threshold", UNIT, Cost::Hot),
    row("width", SIZE, Cost::Rebuild),
    row("height", SIZE, Cost::Rebuild),
    row("lora_dict", Allowed::Named { max: 16, item: &Allowed::Number { min: -10.0, max: 10.0 } }, Cost::Load),
    row("use_lcm_lora", FLAG, Cost::Load),
    row("lcm_lora_id", Allowed::Text { min: 0, max: 512 }, Cost::Load),
    row("acceleration", Allowed::Choice(Acceleration::NAMES), Cost::Rebuild),
    row("use_denoising_batch", FLAG, Cost::Rebuild),
    row("do_add_noise", FLAG, Cost::Recompute),
    row("seed", Allowed::Weighted(&SEED), Cost::Recompute),
    row("seed_interpolation_method", INTERPOLATION, Cost::Recompute),
    row("enable_similar_image_filter", FLAG, Cost::Hot),
    row("similar_image_filter_threshold", UNIT, Cost::Hot),
    row("similar_image_filter_max_skip_frame", Allowed::Integer { min: 0, max: 100_000, step: 1 }, Cost::Hot),
    row("skip_diffusion", FLAG, Cost::Hot),
    row("show_reloading_frame", FLAG, Cost::Hot),
    row("image_preprocessing.enabled", FLAG, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("image_preprocessing.processors", PROCESSORS, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("image_preprocessing.processors[].type", PROCESSOR, Cost::Hot).required().dearer(Dearer::ProcessorWithWeights),
    row("image_preprocessing.processors[].enabled", FLAG, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("image_preprocessing.processors[].params", Allowed::Settings, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("image_postprocessing.enabled", FLAG, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("image_postprocessing.processors", PROCESSORS, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("image_postprocessing.processors[].type", PROCESSOR, Cost::Hot).required().dearer(Dearer::ProcessorWithWeights),
    row("image_postprocessing.processors[].enabled", FLAG, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("image_postprocessing.processors[].params", Allowed::Settings, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("latent_preprocessing.enabled", FLAG, Cost::Hot),
    row("latent_preprocessing.processors", PROCESSORS, Cost::Hot),
    row("latent_preprocessing.processors[].type", PROCESSOR, Cost::Hot).required(),
    row("latent_preprocessing.processors[].enabled", FLAG, Cost::Hot),
    row("latent_preprocessing.processors[].params", Allowed::Settings, Cost::Hot),
    row("latent_postprocessing.enabled", FLAG, Cost::Hot),
    row("latent_postprocessing.processors", PROCESSORS, Cost::Hot),
    row("latent_postprocessing.processors[].type", PROCESSOR, Cost::Hot).required(),
    row("latent_postprocessing.processors[].enabled", FLAG, Cost::Hot),
    row("latent_postprocessing.processors[].params", Allowed::Settings, Cost::Hot),
    row("controlnets", Allowed::Items { max: 8, key: Some("model_id") }, Cost::Load),
    row("controlnets[].model_id", MODEL, Cost::Load).required(),
    row("controlnets[].conditioning_scale", UNIT, Cost::Hot),
    row("controlnets[].preprocessor", Allowed::Nullable(&PROCESSOR), Cost::Load),
    row("controlnets[].enabled", FLAG, Cost::Load),
    row("controlnets[].preprocessor_params", Allowed::Settings, Cost::Hot).dearer(Dearer::ProcessorWithWeights),
    row("controlnets[].control_guidance_start", UNIT, Cost::Hot),
    row("controlnets[].control_guidance_end", UNIT, Cost::Hot),
    row(
        "controlnets[].conditioning_channels",
        Allowed::Nullable(&Allowed::Integer { min: 1, max: 16, step: 1 }),
        Cost::Load,
    ),
    row("ip_adapter.type", Allowed::Choice(IPAdapterType::NAMES), Cost::Load),
    row("ip_adapter.enabled", FLAG, Cost::Load),
    row("ip_adapter.scale", Allowed::Number { min: 0.0, max: 10.0 }, Cost::Hot),
    row("ip_adapter.weight_type", Allowed::Choice(WeightType::NAMES), Cost::Hot),
    row("ip_adapter.ip_adapter_model_path", OLD_PATH, Cost::Hot),
    row("ip_adapter.image_encoder_path", OLD_PATH, Cost::Hot),
    row("ip_adapter.insightface_model_name", OLD_PATH, Cost::Hot),
    // Eight million characters of base64 hold a picture of six megabytes; five are documented.
    row("ip_adapter_style_image_url", Allowed::Text { min: 0, max: 8 << 20 }, Cost::Recompute),
    row("cached_attention.enabled", FLAG, Cost::Load),
    row("cached_attention.max_frames", Allowed::Integer { min: 1, max: 4, step: 1 }, Cost::Recompute),
    row("cached_attention.interval", Allowed::Integer { min: 1, max: 1440, step: 1 }, Cost::Hot),
];

/// Finds the row of a path such as `controlnets[].enabled`.
pub fn field(path: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.path == path)
}

/// Lists the names of an object: the root for an empty `prefix`, else `ip_adapter` or `controlnets[]`; in order,
/// each once.
pub(super) fn names_in(prefix: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for field in FIELDS {
        let below = match prefix {
            "" => Some(field.path),
            _ => field.path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')),
        };
        let name = below.and_then(|below| below.split(['.', '[']).next());
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

/// Returns whether `path` is an object with rows of its own, such as `ip_adapter`.
pub(super) fn is_object(path: &str) -> bool {
    FIELDS.iter().any(|field| field.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Puts a name behind the path of its object.
pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::params::schema;

    /// Walks the schema that the types give, down to plain values; lists are named and walked.
    fn paths_of(node: &Value, path: &str, out: &mut Vec<String>) {
        let Some(properties) = node.get("properties").and_then(Value::as_object) else {
            out.push(path.to_owned());
            if node.pointer("/items/properties").is_some() {
                paths_of(&node["items"], &format!("{path}[]"), out);
            }
            return;
        };
        for (name, child) in properties {
            paths_of(child, &join(path, name), out);
        }
    }

    #[test]
    fn every_field_of_the_structs_has_exactly_one_row_and_in_the_same_order() {
        let mut of_types = Vec::new();
        paths_of(schema::of_types(), "", &mut of_types);
        let of_table: Vec<&str> = FIELDS.iter().map(|field| field.path).collect();
        assert_eq!(of_table, of_types);
        assert_eq!(of_table.iter().collect::<BTreeSet<_>>().len(), of_table.len());
    }

    #[test]
    fn rows_and_types_agree_on_what_kind_of_value_it_is() {
        for field in FIELDS {
            let node = schema::node(schema::of_types(), field.path).unwrap();
            assert!(is_of_kind(&field.allowed, node), "{}: {node}", field.path);
        }
    }

    fn is_of_kind(allowed: &Allowed, node: &Value) -> bool {
        let has = |kind: &str| match node["type"].as_array() {
            Some(kinds) => kinds.contains(&kind.into()),
            None => node["type"] == kind,
        };
        match allowed {
            Allowed::Flag => has("boolean"),
            Allowed::Integer { .. } => has("integer"),
            Allowed::Number { .. } => has("number"),
            Allowed::Text { .. } => has("string"),
            Allowed::Choice(names) => schema::choices(node) == *names,
            Allowed::Weighted(value) => {
                is_of_kind(value, &node["anyOf"][0]) && is_of_kind(value, &node["anyOf"][1]["items"]["prefixItems"][0])
            }
            Allowed::List { item, .. } => has("array") && is_of_kind(item, &node["items"]),
            Allowed::Items { .. } => has("array") && node["items"]["type"] == "object",
            Allowed::Named { item, .. } => has("object") && is_of_kind(item, &node["additionalProperties"]),
            Allowed::Settings => has("object"),
            Allowed::Nullable(value) => {
                (has("null") && is_of_kind(value, node))
                    || (node["anyOf"][1]["type"] == "null" && is_of_kind(value, &node["anyOf"][0]))
            }
        }
    }

    #[test]
    fn rows_and_types_agree_on_what_an_item_must_have() {
        for field in FIELDS.iter().filter(|field| field.path.contains("[].")) {
            let (list, name) = field.path.split_once("[].").unwrap();
            let items = &schema::node(schema::of_types(), list).unwrap()["items"];
            let required = items["required"].as_array().is_some_and(|names| names.contains(&name.into()));
            assert_eq!(field.required, required, "{}", field.path);
        }
    }

    #[test]
    fn dearer_costs_compare_as_greater() {
        assert!(Cost::Hot < Cost::Recompute && Cost::Recompute < Cost::Load && Cost::Load < Cost::Rebuild);
    }

    #[test]
    fn objects_know_their_names() {
        assert_eq!(names_in("cached_attention"), ["enabled", "max_frames", "interval"]);
        assert!(names_in("").contains(&"controlnets"));
        assert!(is_object("ip_adapter") && !is_object("ip_adapter_style_image_url") && !is_object("controlnets"));
    }
}

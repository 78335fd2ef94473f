//! The field table: one row per parameter, with its constraint, the cost of a change, and typed access to its value.
//!
//! Validation, the schema's bounds, differences, merges and the table in `docs/` derive from these rows; types,
//! defaults and descriptions from the structs.

use serde::Serialize;
use serde_json::Value;

use super::StreamDiffusionParams;
use super::choices::{Acceleration, CfgType, Interpolation, Scheduler, TimestepSpacing};
use super::constraint::Constraint;
use super::controlnet::ControlNetConfig;
use super::img2img_turbo::TurboDirection;
use super::ip_adapter::{IPAdapterType, WeightType};
use super::names::named_enum;
use super::processing::SingleProcessorConfig;
use super::processor::ProcessorName;
use super::values::{Access, FieldAccess, Item, field_of};

named_enum! {
    /// Cost of changing a parameter; several changes together cost as much as the most expensive of them.
    pub enum Cost {
        /// Values are replaced between two frames.
        Hot = "hot",
        /// Loaded networks compute something first.
        Recompute = "recompute",
        /// Another network is loaded, while frames are processed.
        Load = "load",
        /// A second pipeline is built while the first is in use, and then replaces it.
        Rebuild = "rebuild",
    }
}

/// A condition under which a change costs more than the row's [`Cost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum CostRule {
    /// `recompute` if the UNet then runs the negative prompt in other rows, or no longer.
    NegativeRows,
    /// `recompute` if the negative prompt is used.
    NegativePromptUsed,
    /// `load` if the processor, before or after the change, is a network.
    ProcessorWithWeights,
    /// `load` if it begins or ends feature injection.
    FeatureInjection,
    /// `load` if it begins or ends the reuse of features.
    FeatureReuse,
}

impl CostRule {
    /// Returns the condition and the cost, for documentation.
    pub fn description(self) -> &'static str {
        match self {
            Self::NegativeRows => {
                "`recompute` if it changes whether, or how often, the negative prompt runs: with `cfg_type` `full` or \
                 `initialize`, above a `guidance_scale` of 1"
            }
            Self::NegativePromptUsed => {
                "`recompute` if it has an effect: with `cfg_type` `full` or `initialize`, above a `guidance_scale` of 1"
            }
            Self::ProcessorWithWeights => "`load` if the processor, before or after, is a network",
            Self::FeatureInjection => "`load` from or to 0",
            Self::FeatureReuse => "`load` from or to 1",
        }
    }
}

/// A row: a parameter, by its path.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Field {
    /// Its path; `[]` means every item of a list, as in `controlnets[].conditioning_scale`.
    pub path: &'static str,
    /// The values that it may have.
    pub constraint: Constraint,
    /// Whether an item of a list must have it.
    pub required: bool,
    /// The cost of a change.
    pub cost: Cost,
    /// When a change costs more.
    pub cost_rule: Option<CostRule>,
    /// Access to its value.
    pub(super) access: Access,
}

const FLAG: Constraint = Constraint::Flag;
const UNIT: Constraint = Constraint::Number { min: 0.0, max: 1.0 };
const SIZE: Constraint = Constraint::Integer { min: 64, max: 2048, step: 8 };
const MODEL: Constraint = Constraint::Text { min: 1, max: 512 };
const PROMPT: Constraint = Constraint::Text { min: 0, max: 8192 };
// The greatest integer that a JavaScript client can write exactly.
const SEED: Constraint = Constraint::Integer { min: 0, max: (1 << 53) - 1, step: 1 };
// The length of the longest schedule, which means its last step; `num_inference_steps` bounds it further.
const INDEX: Constraint = Constraint::Integer { min: 0, max: 100, step: 1 };
const INTERPOLATION: Constraint = Constraint::Choice(Interpolation::NAMES);
const PROCESSOR: Constraint = Constraint::Choice(ProcessorName::NAMES);
const NULLABLE_PATH: Constraint = Constraint::Nullable(&Constraint::Text { min: 0, max: 4096 });
const PROCESSORS: Constraint = Constraint::Items { max: 16, key: None };

const fn row((path, access): (&'static str, Access), constraint: Constraint, cost: Cost) -> Field {
    Field { path, constraint, required: false, cost, cost_rule: None, access }
}

/// Writes the path and the access of a value of the parameters; the second form is for a field with another name in
/// JSON.
macro_rules! at {
    ($first:ident $(.$rest:ident)*) => { at!($first $(.$rest)*, concat!(stringify!($first) $(, ".", stringify!($rest))*)) };
    ($($field:ident).+, $path:expr) => { ($path, Access::Value(field_of!(StreamDiffusionParams, $($field).+))) };
}

/// Writes the path and the access of a list or map, of the kind that [`Access`] names.
macro_rules! list {
    ($kind:ident: $first:ident $(.$rest:ident)*) => {
        (
            concat!(stringify!($first) $(, ".", stringify!($rest))*),
            Access::$kind(field_of!(StreamDiffusionParams, $first $(.$rest)*)),
        )
    };
}

/// Writes the path and the access of a field of a processor of `chain`.
macro_rules! processor {
    ($chain:ident, $field:ident, $name:expr) => {
        (
            concat!(stringify!($chain), ".processors[].", $name),
            Access::Processor(field_of!(SingleProcessorConfig, $field)),
        )
    };
}

/// Writes the path and the access of a field of a ControlNet.
macro_rules! controlnet {
    ($field:ident) => {
        (concat!("controlnets[].", stringify!($field)), Access::ControlNet(field_of!(ControlNetConfig, $field)))
    };
}

impl Field {
    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn cost_rule(self, rule: CostRule) -> Self {
        Self { cost_rule: Some(rule), ..self }
    }
}

/// Lists every parameter, in the order of the structs.
///
/// ```
/// use dreamframe::params::{Cost, FIELDS};
///
/// let hot = FIELDS.iter().filter(|field| field.cost == Cost::Hot).map(|field| field.path);
/// assert!(hot.into_iter().any(|path| path == "controlnets[].conditioning_scale"));
/// ```
pub const FIELDS: &[Field] = &[
    row(at!(model_id), MODEL, Cost::Rebuild),
    row(at!(prompt), Constraint::Weighted(&PROMPT), Cost::Recompute),
    row(at!(prompt_interpolation_method), INTERPOLATION, Cost::Recompute),
    row(at!(normalize_prompt_weights), FLAG, Cost::Recompute),
    row(at!(normalize_seed_weights), FLAG, Cost::Recompute),
    row(at!(negative_prompt), PROMPT, Cost::Hot).cost_rule(CostRule::NegativePromptUsed),
    row(at!(cfg_type), Constraint::Choice(CfgType::NAMES), Cost::Hot).cost_rule(CostRule::NegativeRows),
    row(at!(guidance_scale), Constraint::Number { min: 0.0, max: 100.0 }, Cost::Hot).cost_rule(CostRule::NegativeRows),
    row(at!(delta), Constraint::Number { min: 0.0, max: 10.0 }, Cost::Hot),
    row(at!(num_inference_steps), Constraint::Integer { min: 1, max: 100, step: 1 }, Cost::Recompute),
    row(at!(t_index_list), Constraint::List { min: 1, max: 4, item: &INDEX }, Cost::Recompute),
    row(at!(use_safety_checker), FLAG, Cost::Load),
    row(at!(safety_checker_threshold), UNIT, Cost::Hot),
    row(at!(width), SIZE, Cost::Rebuild),
    row(at!(height), SIZE, Cost::Rebuild),
    row(
        list!(Named: lora_dict),
        Constraint::Named { max: 16, item: &Constraint::Number { min: -10.0, max: 10.0 } },
        Cost::Load,
    ),
    row(at!(use_lcm_lora), FLAG, Cost::Load),
    row(at!(lcm_lora_id), Constraint::Text { min: 0, max: 512 }, Cost::Load),
    row(at!(acceleration), Constraint::Choice(Acceleration::NAMES), Cost::Hot),
    row(at!(use_denoising_batch), FLAG, Cost::Rebuild),
    row(at!(do_add_noise), FLAG, Cost::Recompute),
    row(at!(scheduler), Constraint::Choice(Scheduler::NAMES), Cost::Recompute),
    row(at!(eta), UNIT, Cost::Recompute),
    row(at!(timestep_spacing), Constraint::Choice(TimestepSpacing::NAMES), Cost::Recompute),
    row(at!(seed), Constraint::Weighted(&SEED), Cost::Recompute),
    row(at!(seed_interpolation_method), INTERPOLATION, Cost::Recompute),
    row(at!(enable_similar_image_filter), FLAG, Cost::Hot),
    row(at!(similar_image_filter_threshold), UNIT, Cost::Hot),
    row(at!(similar_image_filter_max_skip_frame), Constraint::Integer { min: 0, max: 100_000, step: 1 }, Cost::Hot),
    row(at!(skip_diffusion), FLAG, Cost::Hot),
    row(at!(show_reloading_frame), FLAG, Cost::Hot),
    row(at!(image_preprocessing.enabled), FLAG, Cost::Hot).cost_rule(CostRule::ProcessorWithWeights),
    row(list!(Processors: image_preprocessing.processors), PROCESSORS, Cost::Hot)
        .cost_rule(CostRule::ProcessorWithWeights),
    row(processor!(image_preprocessing, kind, "type"), PROCESSOR, Cost::Hot)
        .required()
        .cost_rule(CostRule::ProcessorWithWeights),
    row(processor!(image_preprocessing, enabled, "enabled"), FLAG, Cost::Hot).cost_rule(CostRule::ProcessorWithWeights),
    row(processor!(image_preprocessing, params, "params"), Constraint::Settings, Cost::Hot)
        .cost_rule(CostRule::ProcessorWithWeights),
    row(at!(image_postprocessing.enabled), FLAG, Cost::Hot).cost_rule(CostRule::ProcessorWithWeights),
    row(list!(Processors: image_postprocessing.processors), PROCESSORS, Cost::Hot)
        .cost_rule(CostRule::ProcessorWithWeights),
    row(processor!(image_postprocessing, kind, "type"), PROCESSOR, Cost::Hot)
        .required()
        .cost_rule(CostRule::ProcessorWithWeights),
    row(processor!(image_postprocessing, enabled, "enabled"), FLAG, Cost::Hot)
        .cost_rule(CostRule::ProcessorWithWeights),
    row(processor!(image_postprocessing, params, "params"), Constraint::Settings, Cost::Hot)
        .cost_rule(CostRule::ProcessorWithWeights),
    row(at!(latent_preprocessing.enabled), FLAG, Cost::Hot),
    row(list!(Processors: latent_preprocessing.processors), PROCESSORS, Cost::Hot),
    row(processor!(latent_preprocessing, kind, "type"), PROCESSOR, Cost::Hot).required(),
    row(processor!(latent_preprocessing, enabled, "enabled"), FLAG, Cost::Hot),
    row(processor!(latent_preprocessing, params, "params"), Constraint::Settings, Cost::Hot),
    row(at!(latent_postprocessing.enabled), FLAG, Cost::Hot),
    row(list!(Processors: latent_postprocessing.processors), PROCESSORS, Cost::Hot),
    row(processor!(latent_postprocessing, kind, "type"), PROCESSOR, Cost::Hot).required(),
    row(processor!(latent_postprocessing, enabled, "enabled"), FLAG, Cost::Hot),
    row(processor!(latent_postprocessing, params, "params"), Constraint::Settings, Cost::Hot),
    row(list!(ControlNets: controlnets), Constraint::Items { max: 8, key: Some("model_id") }, Cost::Load),
    row(controlnet!(model_id), MODEL, Cost::Load).required(),
    row(controlnet!(conditioning_scale), UNIT, Cost::Hot),
    row(controlnet!(preprocessor), Constraint::Nullable(&PROCESSOR), Cost::Load),
    row(controlnet!(enabled), FLAG, Cost::Load),
    row(controlnet!(preprocessor_params), Constraint::Settings, Cost::Hot).cost_rule(CostRule::ProcessorWithWeights),
    row(controlnet!(control_guidance_start), UNIT, Cost::Hot),
    row(controlnet!(control_guidance_end), UNIT, Cost::Hot),
    row(
        controlnet!(conditioning_channels),
        Constraint::Nullable(&Constraint::Integer { min: 1, max: 16, step: 1 }),
        Cost::Load,
    ),
    row(at!(ip_adapter.kind, "ip_adapter.type"), Constraint::Choice(IPAdapterType::NAMES), Cost::Load),
    row(at!(ip_adapter.enabled), FLAG, Cost::Load),
    row(at!(ip_adapter.scale), Constraint::Number { min: 0.0, max: 10.0 }, Cost::Hot),
    row(at!(ip_adapter.weight_type), Constraint::Choice(WeightType::NAMES), Cost::Hot),
    row(at!(ip_adapter.ip_adapter_model_path), NULLABLE_PATH, Cost::Load),
    row(at!(ip_adapter.image_encoder_path), NULLABLE_PATH, Cost::Load),
    row(at!(ip_adapter.insightface_model_name), NULLABLE_PATH, Cost::Hot),
    // Base64 of a picture of 6 MiB; the service documents 5 MB.
    row(at!(ip_adapter_style_image_url), Constraint::Text { min: 0, max: 8 << 20 }, Cost::Recompute),
    row(at!(cached_attention.enabled), FLAG, Cost::Load),
    row(at!(cached_attention.max_frames), Constraint::Integer { min: 1, max: 4, step: 1 }, Cost::Recompute),
    row(at!(cached_attention.interval), Constraint::Integer { min: 1, max: 1440, step: 1 }, Cost::Hot),
    row(at!(cached_attention.feature_injection_strength), UNIT, Cost::Hot).cost_rule(CostRule::FeatureInjection),
    row(at!(cached_attention.feature_similarity_threshold), UNIT, Cost::Hot),
    row(at!(cached_attention.token_merging), FLAG, Cost::Load),
    row(at!(feature_reuse.interval), Constraint::Integer { min: 1, max: 60, step: 1 }, Cost::Hot)
        .cost_rule(CostRule::FeatureReuse),
    row(at!(feature_reuse.max_error), Constraint::Number { min: 0.0, max: 2.0 }, Cost::Hot),
    row(at!(interpolation.factor), Constraint::Integer { min: 1, max: 4, step: 1 }, Cost::Hot),
    row(at!(interpolation.scene_cut), UNIT, Cost::Hot),
    row(at!(interpolation.model_id), Constraint::Nullable(&MODEL), Cost::Load),
    row(at!(img2img_turbo.weights), Constraint::Nullable(&MODEL), Cost::Rebuild),
    row(at!(img2img_turbo.direction), Constraint::Choice(TurboDirection::NAMES), Cost::Load),
    row(at!(img2img_turbo.strength), UNIT, Cost::Load),
];

/// Finds the row of a path such as `controlnets[].enabled`.
///
/// ```
/// use dreamframe::params::{Constraint, field};
///
/// let width = field("width").expect("a parameter");
/// assert_eq!(width.constraint, Constraint::Integer { min: 64, max: 2048, step: 8 });
/// assert!(field("with").is_none());
/// ```
pub fn field(path: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.path == path)
}

/// What a name in an object of parameters stands for.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    /// A parameter.
    Field(&'static Field),
    /// An object with rows of its own, such as `ip_adapter`.
    Object,
}

/// Finds what `name` stands for in the object at the path `object`, which is empty for the parameters as a whole. Unlike
/// that of [`field`], `name` is not a path.
///
/// ```
/// use dreamframe::params::{Entry, entry};
///
/// assert!(matches!(entry("", "ip_adapter"), Some(Entry::Object)));
/// assert!(matches!(entry("ip_adapter", "scale"), Some(Entry::Field(_))));
/// assert!(entry("", "ip_adapter.scale").is_none());
/// ```
pub fn entry(object: &str, name: &str) -> Option<Entry> {
    if name.contains(['.', '[']) {
        return None;
    }
    let path = join(object, name);
    let object = || is_object(&path).then_some(Entry::Object);
    field(&path).map(Entry::Field).or_else(object)
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

/// Returns the rows of the fields of an item of `list`, each with the field's name and access.
pub(super) fn fields_of<I: Item>(
    list: &Field,
) -> impl Iterator<Item = (&'static Field, &'static str, &'static dyn FieldAccess<I>)> {
    FIELDS.iter().filter_map(|field| {
        let name = field.path.strip_prefix(list.path)?.strip_prefix("[].")?;
        Some((field, name, I::access(field.access)?))
    })
}

/// Returns whether `path` is an object with rows of its own, such as `ip_adapter`.
pub(super) fn is_object(path: &str) -> bool {
    FIELDS.iter().any(|field| field.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Returns the parameter or the object of parameters at `path` as JSON.
pub(super) fn to_json(params: &StreamDiffusionParams, path: &str) -> Value {
    match field(path).and_then(|field| field.access.of_params()) {
        Some(access) => access.to_json(params),
        None => {
            let names = names_in(path).into_iter();
            names.map(|name| (name.to_owned(), to_json(params, &join(path, name)))).collect()
        }
    }
}

/// Appends a name to the path of its object.
pub(super) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Map, Value};

    use super::*;
    use crate::params::schema;

    /// Collects the paths of the types' schema, down to plain values; lists are included and descended into.
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
    fn every_field_of_the_structs_has_exactly_one_row_in_the_same_order() {
        let mut of_types = Vec::new();
        paths_of(schema::of_types(), "", &mut of_types);
        let of_table: Vec<&str> = FIELDS.iter().map(|field| field.path).collect();
        assert_eq!(of_table, of_types);
        assert_eq!(of_table.iter().collect::<BTreeSet<_>>().len(), of_table.len());
    }

    #[test]
    fn every_row_accesses_the_value_at_its_path() {
        let mut params = StreamDiffusionParams::daydream();
        params.ip_adapter.kind = IPAdapterType::Faceid;
        params.cached_attention.interval = 7;
        params.lora_dict.insert("a".to_owned(), 0.5);
        let processor = SingleProcessorConfig {
            kind: ProcessorName::Blur,
            enabled: false,
            params: Map::from_iter([("kernel_size".to_owned(), 3.into())]),
        };
        params.image_preprocessing.processors = vec![processor.clone()];
        let (json, net) = (params.to_value(), &params.controlnets[2]);
        for field in FIELDS {
            let (own, expected) = match field.access {
                Access::ControlNet(access) => (access.to_json(net), &json["controlnets"][2]),
                Access::Processor(access) => {
                    (access.to_json(&processor), &json["image_preprocessing"]["processors"][0])
                }
                Access::Value(_) | Access::Named(_) | Access::ControlNets(_) | Access::Processors(_) => {
                    (field.access.of_params().unwrap().to_json(&params), &json)
                }
            };
            let name = field.path.split("[].").last().unwrap();
            assert_eq!(Some(&own), expected.pointer(&format!("/{}", name.replace('.', "/"))), "{}", field.path);
        }
    }

    #[test]
    fn items_have_the_keys_that_the_table_names() {
        for field in FIELDS {
            let Constraint::Items { key, .. } = field.constraint else { continue };
            if let Access::ControlNets(_) = field.access {
                let net = ControlNetConfig::new("a/b");
                assert_eq!(net.key(), net.to_json()[key.unwrap()].as_str());
            } else {
                assert_eq!(key, None);
            }
        }
    }

    #[test]
    fn constraints_match_the_types() {
        for field in FIELDS {
            let node = schema::node(schema::of_types(), field.path).unwrap();
            assert!(is_of_kind(&field.constraint, node), "{}: {node}", field.path);
        }
    }

    fn is_of_kind(constraint: &Constraint, node: &Value) -> bool {
        let has = |kind: &str| match node["type"].as_array() {
            Some(kinds) => kinds.contains(&kind.into()),
            None => node["type"] == kind,
        };
        match constraint {
            Constraint::Flag => has("boolean"),
            Constraint::Integer { .. } => has("integer"),
            Constraint::Number { .. } => has("number"),
            Constraint::Text { .. } => has("string"),
            Constraint::Choice(names) => schema::choices(node) == *names,
            Constraint::Weighted(value) => {
                is_of_kind(value, &node["anyOf"][0]) && is_of_kind(value, &node["anyOf"][1]["items"]["prefixItems"][0])
            }
            Constraint::List { item, .. } => has("array") && is_of_kind(item, &node["items"]),
            Constraint::Items { .. } => has("array") && node["items"]["type"] == "object",
            Constraint::Named { item, .. } => has("object") && is_of_kind(item, &node["additionalProperties"]),
            Constraint::Settings => has("object"),
            Constraint::Nullable(value) => {
                (has("null") && is_of_kind(value, node))
                    || (node["anyOf"][1]["type"] == "null" && is_of_kind(value, &node["anyOf"][0]))
            }
        }
    }

    #[test]
    fn required_fields_match_the_types() {
        for field in FIELDS.iter().filter(|field| field.path.contains("[].")) {
            let (list, name) = field.path.split_once("[].").unwrap();
            let items = &schema::node(schema::of_types(), list).unwrap()["items"];
            let required = items["required"].as_array().is_some_and(|names| names.contains(&name.into()));
            assert_eq!(field.required, required, "{}", field.path);
        }
    }

    #[test]
    fn higher_costs_compare_as_greater() {
        assert!(Cost::Hot < Cost::Recompute && Cost::Recompute < Cost::Load && Cost::Load < Cost::Rebuild);
    }

    #[test]
    fn objects_list_their_names() {
        assert_eq!(
            names_in("cached_attention"),
            [
                "enabled",
                "max_frames",
                "interval",
                "feature_injection_strength",
                "feature_similarity_threshold",
                "token_merging"
            ]
        );
        assert!(names_in("").contains(&"controlnets"));
        assert!(is_object("ip_adapter") && !is_object("ip_adapter_style_image_url") && !is_object("controlnets"));
    }
}

//! JSON Schema: types, defaults and descriptions from the structs, bounds from the field table.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::canonical::is_chain;
use super::fields::{self, FIELDS};
use super::{ProcessorName, StreamDiffusionParams};

/// Returns the JSON Schema (draft 2020-12) of [`StreamDiffusionParams`], with bounds, defaults and descriptions.
///
/// It describes what is accepted: `null` for everything that has a default, and a list of processors for a chain.
///
/// ```
/// use dreamframe::params::schema;
///
/// let delta = &schema()["properties"]["delta"];
/// assert_eq!((delta["minimum"].as_f64(), delta["maximum"].as_f64()), (Some(0.0), Some(10.0)));
/// assert_eq!(delta["default"], 0.7);
/// ```
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = of_types().clone();
        for field in FIELDS {
            if let Some(node) = node_mut(&mut schema, field.path) {
                field.constraint.write_bounds(node);
                if !field.required {
                    allow_null(node);
                }
            }
        }
        for name in fields::names_in("") {
            if let Some(node) = node_mut(&mut schema, name).filter(|_| fields::field(name).is_none()) {
                if is_chain(name) {
                    allow_list_of_processors(node);
                }
                allow_null(node);
            }
        }
        schema
    })
}

/// Adds `null` to the types of a node.
fn allow_null(node: &mut Value) {
    let null = json!({"type": "null"});
    if let Some(options) = ["oneOf", "anyOf"].into_iter().find(|name| node.get(name).is_some()) {
        if let Some(options) = node[options].as_array_mut().filter(|options| !options.contains(&null)) {
            options.push(null);
        }
        return;
    }
    add_type(node, "null");
}

/// Adds a list of processors, with the items and bounds of `processors`, to the types of a chain's node.
fn allow_list_of_processors(node: &mut Value) {
    let Some(list) = node.pointer("/properties/processors").cloned() else { return };
    for name in ["items", "maxItems"] {
        node[name] = list[name].clone();
    }
    add_type(node, "array");
}

/// Adds a name to the types of a node that has any.
fn add_type(node: &mut Value, name: &str) {
    match node.get_mut("type") {
        Some(Value::Array(types)) if !types.contains(&name.into()) => types.push(name.into()),
        Some(one @ Value::String(_)) => *one = json!([one.take(), name]),
        _ => {}
    }
}

/// Returns the JSON Schema of `params` of a processor, and of `preprocessor_params` of a ControlNet.
///
/// Parameters without a default, which are accepted and ignored, are omitted.
///
/// ```
/// use dreamframe::params::{ProcessorName, processor_schema};
///
/// let canny = processor_schema(ProcessorName::Canny);
/// assert_eq!(canny["properties"]["low_threshold"]["default"], 100.0);
/// ```
pub fn processor_schema(name: ProcessorName) -> Value {
    let defaults = name.defaults();
    let mut properties = Map::new();
    for (parameter, constraint) in name.parameters() {
        let Some(default) = defaults.get(*parameter) else { continue };
        let mut node = constraint.schema();
        node["default"] = default.clone();
        properties.insert((*parameter).to_owned(), node);
    }
    json!({"type": "object", "properties": properties})
}

/// Returns the schema of the types, without bounds.
pub(super) fn of_types() -> &'static Value {
    static TYPES: OnceLock<Value> = OnceLock::new();
    TYPES.get_or_init(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<StreamDiffusionParams>().to_value()
    })
}

/// Returns the node of a path such as `controlnets[].enabled`.
pub(super) fn node<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |node, part| match part.strip_suffix("[]") {
        Some(list) => node.get("properties")?.get(list)?.get("items"),
        None => node.get("properties")?.get(part),
    })
}

fn node_mut<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(schema, |node, part| match part.strip_suffix("[]") {
        Some(list) => node.get_mut("properties")?.get_mut(list)?.get_mut("items"),
        None => node.get_mut("properties")?.get_mut(part),
    })
}

/// Returns the first paragraph of the documentation of the parameter at `path`.
pub(super) fn description(path: &str) -> &'static str {
    let text = node(of_types(), path).and_then(|node| node.get("description")).and_then(Value::as_str);
    text.unwrap_or_default().split("\n\n").next().unwrap_or_default()
}

/// Lists the names of an enum's node.
#[cfg(test)]
pub(super) fn choices(node: &Value) -> Vec<&str> {
    let variants = node.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    variants.filter_map(|variant| variant["const"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ParamsPatch;
    use crate::params::constraint::Constraint;

    #[test]
    fn bounds_defaults_and_descriptions_are_in_the_schema() {
        let steps = node(schema(), "num_inference_steps").unwrap();
        assert_eq!((&steps["minimum"], &steps["maximum"], &steps["default"]), (&1.into(), &100.into(), &50.into()));
        let scale = node(schema(), "controlnets[].conditioning_scale").unwrap();
        assert_eq!((&scale["maximum"], &scale["default"]), (&1.0.into(), &1.0.into()));
        let weight = &node(schema(), "prompt").unwrap()["anyOf"][1]["items"]["prefixItems"][1];
        assert_eq!(weight["minimum"], 0.0);
        assert_eq!(schema()["additionalProperties"], false);
        for field in FIELDS {
            assert!(!description(field.path).is_empty(), "{}", field.path);
        }
    }

    #[test]
    fn a_processor_s_schema_has_bounds_and_defaults_of_its_own_parameters_only() {
        let canny = processor_schema(ProcessorName::Canny);
        let low = &canny["properties"]["low_threshold"];
        assert_eq!((&low["type"], &low["maximum"], &low["default"]), (&"number".into(), &2040.0.into(), &100.0.into()));
        assert_eq!(canny["properties"].as_object().map(Map::len), Some(2));
        for &name in ProcessorName::ALL {
            for node in processor_schema(name)["properties"].as_object().unwrap().values() {
                assert!(node.get("type").or(node.get("enum")).is_some(), "{name}: {node}");
            }
        }
    }

    #[test]
    fn null_is_in_the_schema_of_everything_that_has_a_default() {
        let accepts_null = |node: &Value| {
            let null = json!({"type": "null"});
            let options = ["oneOf", "anyOf"].into_iter().filter_map(|name| node[name].as_array()).flatten();
            options.into_iter().any(|option| *option == null)
                || node["type"].as_array().is_some_and(|types| types.contains(&"null".into()))
        };
        for field in FIELDS {
            assert_eq!(accepts_null(node(schema(), field.path).unwrap()), !field.required, "{}", field.path);
        }
        for name in fields::names_in("") {
            assert!(accepts_null(node(schema(), name).unwrap()), "{name}");
        }
    }

    #[test]
    fn a_chain_is_an_object_or_a_list_of_processors_in_the_schema() {
        for name in fields::names_in("").into_iter().filter(|name| is_chain(name)) {
            let chain = node(schema(), name).unwrap();
            assert_eq!(chain["type"], json!(["object", "array", "null"]), "{name}");
            assert_eq!(
                (&chain["items"], &chain["maxItems"]),
                (&chain["properties"]["processors"]["items"], &16.into())
            );
        }
        assert_eq!(node(schema(), "ip_adapter").unwrap()["type"], json!(["object", "null"]));
    }

    #[test]
    fn parameters_of_processors_are_flags_numbers_and_text_in_the_schema() {
        let types = json!(["boolean", "number", "string"]);
        let settings: Vec<_> = FIELDS.iter().filter(|field| field.constraint == Constraint::Settings).collect();
        assert_eq!(settings.len(), 5);
        for field in settings {
            let node = node(schema(), field.path).unwrap();
            assert_eq!(node["additionalProperties"], json!({ "type": types }), "{}", field.path);
        }
        for value in [json!(true), json!(1), json!(0.5), json!("text"), json!(null), json!([]), json!({})] {
            let patch = json!({"image_preprocessing": [{"type": "blur", "params": {"other": value}}]});
            let is_setting = value.is_boolean() || value.is_number() || value.is_string();
            assert_eq!(ParamsPatch::from_value(patch).is_ok(), is_setting, "{value}");
        }
    }

    #[test]
    fn every_bound_of_the_table_reaches_the_schema() {
        for field in FIELDS {
            let mut node = node(schema(), field.path).unwrap().clone();
            let before = node.clone();
            field.constraint.write_bounds(&mut node);
            assert_eq!(node, before, "{}", field.path);
        }
    }
}

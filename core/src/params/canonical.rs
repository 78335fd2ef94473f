//! Other forms of values in JSON, replaced by those that the field table describes: `null`, and lists of processors.

use serde_json::{Map, Value};

use super::StreamDiffusionParams;
use super::constraint::Constraint;
use super::fields::{self, Entry, Field, to_json};
use crate::schedule;

/// Replaces other forms of values in JSON by those of the field table:
///
/// - `null` by the value of `defaults`, for every parameter and field of an object. In items of lists, a field with
///   `null` is removed, which means its default. A `null` for `t_index_list` is rescaled to a
///   `num_inference_steps` next to it.
/// - a list for a processing chain by an enabled chain with these processors.
///
/// Unknown names and other types stay; [`ParamsPatch::from_value`](super::ParamsPatch::from_value), which calls this
/// with the defaults of [`StreamDiffusionParams`], rejects them.
///
/// ```
/// use dreamframe::params::{StreamDiffusionParams, canonical_values};
/// use serde_json::json;
///
/// let mut values = json!({"delta": null, "image_preprocessing": [{"type": "blur", "enabled": null}]});
/// canonical_values(values.as_object_mut().expect("an object"), &StreamDiffusionParams::default());
/// let chain = json!({"enabled": true, "processors": [{"type": "blur"}]});
/// assert_eq!(values, json!({"delta": 0.7, "image_preprocessing": chain}));
/// ```
pub fn canonical_values(values: &mut Map<String, Value>, defaults: &StreamDiffusionParams) {
    if values.get("t_index_list").is_some_and(Value::is_null)
        && let Some(list) = default_indices(values, defaults)
    {
        values.insert("t_index_list".to_owned(), list);
    }
    for (name, value) in values {
        canonical_parameter(name, value, defaults);
    }
}

/// Replaces the value of the parameter `name`.
pub(super) fn canonical_parameter(name: &str, value: &mut Value, defaults: &StreamDiffusionParams) {
    if is_chain(name) && value.is_array() {
        let entries = [("enabled", true.into()), ("processors", value.take())];
        *value = entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    }
    canonical("", name, value, defaults);
}

/// Returns the list of `defaults` for the `num_inference_steps` next to it; `None` without a valid number.
fn default_indices(values: &Map<String, Value>, defaults: &StreamDiffusionParams) -> Option<Value> {
    let steps =
        usize::try_from(values.get("num_inference_steps")?.as_u64()?).ok().filter(|steps| (1..=100).contains(steps))?;
    let list: Vec<usize> = defaults.t_index_list.iter().map(|&index| index as usize).collect();
    Some(schedule::rescale(&list, defaults.num_inference_steps as usize, steps).into())
}

/// Replaces the value of `name` in the object at the path `object`, and those inside it.
fn canonical(object: &str, name: &str, value: &mut Value, defaults: &StreamDiffusionParams) {
    let Some(entry) = fields::entry(object, name) else { return };
    let path = fields::join(object, name);
    match (entry, value) {
        (_, value @ Value::Null) => *value = to_json(defaults, &path),
        (Entry::Object, Value::Object(inside)) => {
            for (name, value) in inside {
                canonical(&path, name, value, defaults);
            }
        }
        (Entry::Field(field), Value::Array(items)) if is_list_of_items(field) => {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                item.retain(|name, value| !(value.is_null() && has_default(&format!("{path}[].{name}"))));
            }
        }
        (Entry::Object | Entry::Field(_), _) => {}
    }
}

/// Returns true for the name of a processing chain.
pub(super) fn is_chain(name: &str) -> bool {
    fields::field(&fields::join(name, "processors")).is_some_and(is_list_of_items)
}

fn is_list_of_items(field: &Field) -> bool {
    matches!(field.constraint, Constraint::Items { .. })
}

/// Returns true for a field of an item that has a default other than `null`.
fn has_default(path: &str) -> bool {
    fields::field(path).is_some_and(|field| !field.required && !matches!(field.constraint, Constraint::Nullable(_)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::params::{FIELDS, ParamsPatch};

    type Params = StreamDiffusionParams;

    fn read(values: Value) -> Params {
        Params::from_json(&values.to_string()).unwrap().0
    }

    #[test]
    fn null_is_the_default_of_every_parameter() {
        for name in fields::names_in("") {
            assert_eq!(read(json!({ name: null })), Params::default(), "{name}");
        }
        for field in FIELDS.iter().filter(|field| !field.path.contains("[]")) {
            let nested = field.path.rsplit('.').fold(Value::Null, |inside, name| json!({ name: inside }));
            assert_eq!(read(nested), Params::default(), "{}", field.path);
        }
    }

    #[test]
    fn null_in_a_patch_is_the_default_and_not_the_value_before() {
        let mut changed = Params::daydream();
        changed.ip_adapter.scale = 0.25;
        changed.image_preprocessing.enabled = false;
        for name in fields::names_in("") {
            let patch = ParamsPatch::from_value(json!({ name: null, "model_id": null, "lora_dict": null })).unwrap();
            let (params, _) = patch.merge(&Params { model_id: "a/b".into(), ..changed.clone() }).unwrap();
            assert_eq!(to_json(&params, name), to_json(&Params::default(), name), "{name}");
            assert_eq!(params.model_id, Params::default().model_id);
        }
    }

    #[test]
    fn null_in_an_item_is_the_default_of_the_item() {
        let nets = json!([{"model_id": "a/b", "enabled": null, "preprocessor": null, "preprocessor_params": null,
            "conditioning_scale": null, "control_guidance_end": null}]);
        assert_eq!(read(json!({ "controlnets": nets })).controlnets, [crate::params::ControlNetConfig::new("a/b")]);
        let refused = ParamsPatch::from_value(json!({"controlnets": [{"model_id": null}]})).unwrap_err();
        assert!(refused.to_string().starts_with("controlnets[0].model_id: got null"), "{refused}");
    }

    #[test]
    fn a_chain_is_also_a_list_of_processors() {
        let list = json!([{"type": "blur", "params": {"blur_intensity": 1.5}}, {"type": "sharpen", "enabled": false}]);
        let params = read(json!({ "image_postprocessing": list.clone() }));
        assert_eq!(params, read(json!({"image_postprocessing": {"enabled": true, "processors": list}})));
        assert_eq!(params.image_postprocessing.processors.len(), 2);
        assert_eq!(read(json!({"image_preprocessing": [], "latent_postprocessing": []})), Params::default());
        // As a patch, the list replaces the chain, and enables it.
        let off = read(json!({"image_preprocessing": {"enabled": false, "processors": [{"type": "blur"}]}}));
        let patch = ParamsPatch::from_json(r#"{"image_preprocessing": []}"#).unwrap();
        assert_eq!(patch.merge(&off).unwrap().0, Params::default());
        let refused = ParamsPatch::from_value(json!({"image_preprocessing": [{"type": "blurr"}, 7]})).unwrap_err();
        let paths: Vec<&str> = refused.violations().iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(paths, ["image_preprocessing.processors[0].type", "image_preprocessing.processors[1]"]);
        assert!(ParamsPatch::from_json(r#"{"ip_adapter": []}"#).is_err());
    }

    #[test]
    fn a_null_list_of_indices_fits_the_steps_next_to_it() {
        let params = read(json!({"num_inference_steps": 25, "t_index_list": null}));
        assert_eq!(params, read(json!({"num_inference_steps": 25})));
        assert_eq!(read(json!({"num_inference_steps": null, "t_index_list": null})), Params::default());
    }
}

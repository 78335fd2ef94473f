//! Properties of all messages.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{InputMode, ParameterChange, Steps};
use crate::params::{ParamsPatch, StreamDiffusionParams};

/// Keys that have or had a meaning in one of the dialects.
const KEYS: [&str; 20] = [
    "prompts",
    "prompt",
    "transition",
    "noise_scale",
    "denoising_step_list",
    "denoising_steps",
    "paused",
    "input_mode",
    "seed",
    "base_seed",
    "reset_cache",
    "manage_cache",
    "lora_scales",
    "vace_ref_images",
    "node_id",
    "prompt_interpolation_method",
    "t_index_list",
    "num_inference_steps",
    "params",
    "controlnets",
];

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..1000_u32).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["text", "video", "linear", "slerp"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let keys = prop::sample::select(vec!["text", "weight", "target_prompts", "num_steps", "path", "prompt"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(keys, inner, 0..4)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

fn any_message() -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![4 => prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned), 1 => "[a-z_]{1,12}"];
    prop::collection::vec((key, any_value()), 0..8).prop_map(Map::from_iter)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn understood(message: Value) -> ParameterChange {
    ParameterChange::read(&object(message), &StreamDiffusionParams::demo(), &Steps::default()).unwrap()
}

proptest! {
    #[test]
    fn garbage_is_refused_or_understood_and_refusals_name_keys_of_the_message(message in any_message()) {
        if let Err(error) = ParameterChange::read(&message, &StreamDiffusionParams::default(), &Steps::default()) {
            for fault in error.violations() {
                let key = fault.path.split(['.', '[']).next().unwrap();
                prop_assert!(message.contains_key(key), "{} of {message:?}", fault.path);
            }
        }
    }

    #[test]
    fn keys_that_are_not_known_change_nothing_but_the_list_of_them(key in "x_[a-z]{1,8}", value in any_value()) {
        let mut message = object(json!({ "prompts": [{ "text": "snow" }], "noise_scale": 0.4 }));
        let without = understood(message.clone().into());
        message.insert(key.clone(), value);
        prop_assert_eq!(understood(message.into()), ParameterChange { ignored: vec![key], ..without });
    }

    #[test]
    fn what_scope_allows_keeps_the_parameters_own_rules(
        prompts in prop::collection::vec((".{0,20}", 0.1..100.0), 1..8),
        noise in 0.0..=1.0,
        mut list in prop::collection::btree_set(1_u32..=1000, 1..=4).prop_map(Vec::from_iter),
        seed in 0_u64..(1 << 53),
        method in prop::sample::select(vec!["linear", "slerp"]),
    ) {
        list.reverse();
        let prompts: Vec<_> = prompts.iter().map(|(text, weight)| json!({ "text": text, "weight": weight })).collect();
        let change = understood(json!({
            "prompts": prompts, "noise_scale": noise, "denoising_step_list": list, "base_seed": seed,
            "prompt_interpolation_method": method
        }));
        let base = StreamDiffusionParams::default();
        let (params, _) = ParamsPatch::from_value(change.values.into()).unwrap().merge(&base).unwrap();
        prop_assert_eq!((params.prompt.len(), params.t_index_list.len()), (prompts.len(), list.len()));
        prop_assert_eq!(params.seed.iter().next().map(|(seed, _)| *seed), Some(seed));
    }
}

#[test]
fn null_is_the_same_as_absent_for_keys_of_scope_and_the_default_for_other_parameters() {
    let change = understood(json!({
        "noise_scale": null, "transition": null, "paused": null, "prompts": null, "seed": null, "width": null,
        "prompt_interpolation_method": null, "pipeline": null
    }));
    assert_eq!(change, ParameterChange::default());
    let values = understood(json!({ "delta": null, "params": { "controlnets": null, "seed": null } })).values;
    assert_eq!(Value::from(values), json!({ "controlnets": null, "delta": null }));
}

#[test]
fn native_keys_take_precedence_over_scope_keys() {
    let change = understood(json!({ "seed": 1, "base_seed": 2, "t_index_list": [7], "noise_scale": 1.0 }));
    assert_eq!(Value::from(change.values), json!({ "seed": 1, "t_index_list": [7] }));
}

#[test]
fn text_input_starts_with_full_noise_unless_set() {
    let change = understood(json!({ "input_mode": "text", "paused": false }));
    assert_eq!((change.input_mode, change.paused), (Some(InputMode::Text), Some(false)));
    assert_eq!(Value::from(change.values), json!({ "t_index_list": [0, 25] }));
    let change = understood(json!({ "input_mode": "text", "denoising_steps": [800] }));
    assert_eq!(Value::from(change.values), json!({ "t_index_list": [10] }));
    assert!(understood(json!({ "input_mode": "video" })).values.is_empty());
}

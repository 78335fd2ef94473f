//! Parameters in responses: exactly the keys of the model's public schema, each with a valid value.

use dreamframe::params::{StreamDiffusionParams, Weighted, notices};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Object, models};
use crate::auth::hex;

/// The seed as a client sent it, if the engine has another number for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alias {
    /// The value sent by the client.
    pub(crate) wire: Value,
    /// The engine's value.
    pub(crate) engine: Weighted<u64>,
}

/// Writes `params` according to the schema of their model; a seed is written as the client wrote it.
pub(crate) fn echo(params: &StreamDiffusionParams, seed: Option<&Alias>) -> Object {
    let Value::Object(mut out) = params.to_value() else { return Object::new() };
    out.retain(|name, _| models::has(&params.model_id, name));
    for net in out.get_mut("controlnets").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(net) = net {
            net.shift_remove("conditioning_channels");
            // The public schema requires a name; this one has no effect, as `null`.
            if let Some(none @ Value::Null) = net.get_mut("preprocessor") {
                *none = json!("passthrough");
            }
        }
    }
    if let Some(Value::Object(adapter)) = out.get_mut("ip_adapter") {
        adapter.retain(|name, _| matches!(name.as_str(), "type" | "enabled" | "scale" | "weight_type"));
    }
    if let Some(Value::Object(earlier)) = out.get_mut("cached_attention") {
        earlier.retain(|name, _| matches!(name.as_str(), "enabled" | "max_frames" | "interval"));
    }
    if let (Some(alias), Some(value)) = (seed, out.get_mut("seed"))
        && alias.engine == params.seed
    {
        *value = alias.wire.clone();
    }
    out
}

/// Remarks on `params` that are not visible in them.
pub(crate) fn remarks(params: &StreamDiffusionParams) -> Vec<String> {
    notices(params).iter().map(ToString::to_string).collect()
}

/// A digest of the values: of the keys in order, without spaces.
pub(crate) fn hash(params: &Object) -> String {
    let digest = Sha256::digest(sorted(&Value::Object(params.clone())).to_string().as_bytes());
    hex(digest.get(..16).unwrap_or_default())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut pairs: Vec<_> = object.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: [&str; 33] = [
        "model_id",
        "prompt",
        "prompt_interpolation_method",
        "normalize_prompt_weights",
        "normalize_seed_weights",
        "negative_prompt",
        "guidance_scale",
        "delta",
        "num_inference_steps",
        "t_index_list",
        "use_safety_checker",
        "width",
        "height",
        "lora_dict",
        "use_lcm_lora",
        "lcm_lora_id",
        "acceleration",
        "use_denoising_batch",
        "do_add_noise",
        "seed",
        "seed_interpolation_method",
        "enable_similar_image_filter",
        "similar_image_filter_threshold",
        "similar_image_filter_max_skip_frame",
        "skip_diffusion",
        "image_preprocessing",
        "image_postprocessing",
        "latent_preprocessing",
        "latent_postprocessing",
        "controlnets",
        "ip_adapter",
        "ip_adapter_style_image_url",
        "cached_attention",
    ];

    /// Line 3 of the compatibility checklist; section 3 of the contract is the list.
    #[test]
    fn each_known_model_has_exactly_the_keys_of_its_schema_and_no_null_but_one() {
        for model in models::KNOWN {
            let params = StreamDiffusionParams { model_id: model.into(), ..StreamDiffusionParams::default() };
            let out = echo(&params, None);
            let keys: Vec<_> = out.keys().map(String::as_str).collect();
            let expected = if model == models::USUAL { &COMMON[..30] } else { &COMMON[..] };
            assert_eq!(keys, expected, "{model}");
            assert!(out.iter().all(|(key, value)| !value.is_null() || key == "lora_dict"), "{out:?}");
        }
    }

    #[test]
    fn nested_objects_have_the_keys_of_the_schema_too() {
        let text = r#"{"model_id": "Lykon/dreamshaper-8", "controlnets": [{"model_id": "a/b", "conditioning_channels": 3}],
            "ip_adapter": {"image_encoder_path": "x"}, "cached_attention": {"token_merging": true}}"#;
        let out = echo(&StreamDiffusionParams::from_json(text).unwrap().0, None);
        let net = json!({
            "model_id": "a/b", "conditioning_scale": 1.0, "preprocessor": "passthrough", "enabled": true,
            "preprocessor_params": {}, "control_guidance_start": 0.0, "control_guidance_end": 1.0,
        });
        assert_eq!(out["controlnets"][0], net);
        assert_eq!(out["cached_attention"], json!({"enabled": false, "max_frames": 1, "interval": 1}));
        assert_eq!(
            out["ip_adapter"],
            json!({"type": "regular", "enabled": false, "scale": 1.0, "weight_type": "linear"})
        );
    }

    #[test]
    fn seed_is_returned_as_sent_until_it_changes() {
        let alias = Alias { wire: json!(-1), engine: 9.into() };
        let mut params = StreamDiffusionParams { seed: 9.into(), ..StreamDiffusionParams::default() };
        assert_eq!(echo(&params, Some(&alias))["seed"], -1);
        params.seed = 8.into();
        assert_eq!(echo(&params, Some(&alias))["seed"], 8);
    }

    #[test]
    fn the_hash_is_of_the_values_and_not_of_their_order() {
        let of = |value: Value| hash(value.as_object().unwrap());
        assert_eq!(of(json!({"a": {"b": 1, "c": 2}, "d": 3})), of(json!({"d": 3, "a": {"c": 2, "b": 1}})));
        assert_ne!(of(json!({"a": 1})), of(json!({"a": 2})));
        assert_eq!(of(json!({})).len(), 32);
    }
}

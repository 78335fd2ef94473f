//! Which parameters of a clip everyone may read, and the link that sets them on the page.

use serde_json::{Map, Value, json};

use crate::wire::Object;

/// Parameters that are not shown: a style image, or its address, may be private.
const PRIVATE: [&str; 1] = ["ip_adapter_style_image_url"];
/// Parameters whose text is shown whatever it contains: people write it to describe pictures.
const PROSE: [&str; 2] = ["prompt", "negative_prompt"];
/// The longest value as JSON, and the longest link, both in bytes; the page's presets have the same limits.
const LONGEST_VALUE: usize = 8192;
const LONGEST_LINK: usize = 32_768;
/// The longest name of a preset, in characters.
const LONGEST_NAME: usize = 64;

/// Returns the parameters of `params` that the page has controls for, which are those of `defaults`, without private and very
/// long ones, and without those that contain an address, which may have a secret in it.
pub(crate) fn shared(params: &Object, defaults: &Object) -> Object {
    let is_shared = |name: &str, value: &Value| {
        defaults.contains_key(name)
            && !PRIVATE.contains(&name)
            && (PROSE.contains(&name) || !has_address(value))
            && value.to_string().len() <= LONGEST_VALUE
    };
    let of = params.iter().filter(|(name, value)| is_shared(name, value));
    of.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn has_address(value: &Value) -> bool {
    let is_address = |text: &str| text.contains("://") || text.trim_start().starts_with("data:");
    match value {
        Value::String(text) => is_address(text),
        Value::Array(items) => items.iter().any(has_address),
        Value::Object(object) => object.iter().any(|(name, value)| is_address(name) || has_address(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns the fragment of a link to the page, in the form of the page's presets: it has the parameters that differ from
/// `defaults`. `None` if the link would be too long.
pub(crate) fn link_to_settings(params: &Object, defaults: &Object) -> Option<String> {
    let changed: Map<String, Value> = params
        .iter()
        .filter(|(name, value)| defaults.get(*name).is_some_and(|default| default != *value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let prompt = params.get("prompt").map(prompt_text).unwrap_or_default();
    let mut name: String = prompt.chars().take(LONGEST_NAME).collect();
    if name.trim().is_empty() {
        name = "Clip".to_owned();
    }
    let preset = json!({"name": name, "params": changed}).to_string();
    let link = format!("#preset={}", percent_encoded(&preset));
    (link.len() <= LONGEST_LINK).then_some(link)
}

/// Returns a prompt as one text: the prompts of a list with their weights.
pub(crate) fn prompt_text(prompt: &Value) -> String {
    match prompt {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(weighted_text).collect::<Vec<_>>().join(" + "),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => prompt.to_string(),
    }
}

/// Returns one prompt of a list as text.
fn weighted_text(item: &Value) -> String {
    match item.as_array().map(Vec::as_slice) {
        Some([text, weight]) => format!("{} ({weight})", prompt_text(text)),
        Some(_) | None => item.as_str().map_or_else(|| item.to_string(), str::to_owned),
    }
}

/// Encodes all bytes but those that need it nowhere in a URL.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn images_addresses_and_unknown_parameters_are_not_shared() {
        let defaults = json!({
            "prompt": "", "negative_prompt": "", "ip_adapter_style_image_url": "", "lora_dict": {}, "controlnets": [],
            "delta": 1.0, "model_id": "demo",
        });
        let params = json!({
            "prompt": "a sign with http://a.example", "negative_prompt": "x".repeat(9000), "delta": 0.5,
            "ip_adapter_style_image_url": "https://a.example/?token=secret",
            "lora_dict": {"https://a.example/lora?token=secret": 1},
            "controlnets": [{"preprocessor_params": {"image": " data:image/png;base64,secret"}}],
            "model_id": "demo", "secret_of_a_client": "secret",
        });
        let shown = shared(&object(params), &object(defaults));
        let expected = json!({"prompt": "a sign with http://a.example", "delta": 0.5, "model_id": "demo"});
        assert_eq!(Value::Object(shown), expected);
    }

    /// `presets.js` reads it; its test has the same text.
    #[test]
    fn a_link_has_the_parameters_that_differ_in_the_form_of_a_preset() {
        let defaults = object(json!({"prompt": "", "delta": 1.0, "seed": 2}));
        let params = object(json!({"prompt": "näht & \"sun\"", "delta": 1.0, "seed": 3}));
        let link = link_to_settings(&params, &defaults).unwrap();
        assert_eq!(
            link,
            "#preset=%7B%22name%22%3A%22n%C3%A4ht%20%26%20%5C%22sun%5C%22%22%2C%22params%22%3A%7B%22prompt%22%3A%22n%C3%A4ht\
             %20%26%20%5C%22sun%5C%22%22%2C%22seed%22%3A3%7D%7D"
        );
        let long = object(json!({"prompt": "ä".repeat(8000)}));
        assert_eq!(link_to_settings(&long, &defaults), None);
        assert!(link_to_settings(&Object::new(), &defaults).unwrap().contains("Clip"));
    }

    #[test]
    fn prompts_of_a_list_are_one_text_with_their_weights() {
        assert_eq!(prompt_text(&json!("snow")), "snow");
        assert_eq!(prompt_text(&json!([["snow", 1.0], ["night", 0.5]])), "snow (1.0) + night (0.5)");
        assert_eq!(prompt_text(&Value::Null), "");
    }
}

//! The parameters that a client's message names.

use serde_json::{Map, Value};

use crate::params::FIELDS;

/// The key under which parameters may be, as in the body of the server's PATCH.
const BODY: &str = "params";
/// Another key of such a body, without effect.
const PIPELINE: &str = "pipeline";

/// Returns true for the name of a parameter.
pub(in crate::transport) fn is_parameter(name: &str) -> bool {
    FIELDS.iter().any(|field| field.path.split(['.', '[']).next() == Some(name))
}

/// Returns the parameters that `message` names, and its keys without a meaning.
///
/// Parameters are keys of the message or of its object `params`; the former take precedence. `null` means the default, as
/// in a [`ParamsPatch`](crate::ParamsPatch). Names inside of `params` are not checked.
pub(super) fn named_parameters(message: &Map<String, Value>) -> (Map<String, Value>, Vec<String>) {
    let body = message.get(BODY).and_then(Value::as_object);
    let bare = message.iter().filter(|(name, _)| is_parameter(name));
    let all = body.into_iter().flatten().chain(bare);
    let values = all.map(|(name, value)| (name.clone(), value.clone()));
    let is_known = |name: &str| is_parameter(name) || [BODY, PIPELINE].contains(&name);
    (values.collect(), message.keys().filter(|name| !is_known(name)).cloned().collect())
}

/// Moves the parameters of the object `params` up to the keys of the message, without a change of its meaning.
pub(super) fn flatten(message: &mut Map<String, Value>) {
    if let Some(Value::Object(body)) = message.shift_remove(BODY) {
        for (name, value) in body {
            if is_parameter(&name) && !message.contains_key(&name) {
                message.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn parameters_are_keys_of_the_message_or_of_its_body() {
        let message = json!({
            "pipeline": "x", "params": {"delta": 0.5, "seed": 1, "shimmer": 2}, "seed": 3, "width": null, "odd": 1,
            "lora_dict": null,
        });
        let (values, ignored) = named_parameters(&object(message));
        let expected = json!({"delta": 0.5, "seed": 3, "shimmer": 2, "width": null, "lora_dict": null});
        assert_eq!(values, object(expected));
        assert_eq!(ignored, ["odd"]);
    }

    #[test]
    fn a_flat_message_has_the_same_meaning() {
        let mut message =
            object(json!({"params": {"delta": 0.5, "seed": 1}, "seed": null, "width": null, "paused": true}));
        let (before, _) = named_parameters(&message);
        flatten(&mut message);
        assert_eq!(message, object(json!({"delta": 0.5, "seed": null, "width": null, "paused": true})));
        assert_eq!(named_parameters(&message).0, before);
    }
}

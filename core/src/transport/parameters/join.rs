//! Merges two messages of a data channel that arrive faster than they may.

use serde_json::{Map, Value};

use super::change::drop_absent;
use super::message::flatten;
use crate::params::join_values;

/// Keys with the same meaning: a value of one of the first in the newer message replaces all of the second.
const SAME: [(&[&str], &[&str]); 4] = [
    (&["prompt", "prompts", "transition"], &["prompt", "prompts", "transition"]),
    (&["seed", "base_seed"], &["seed", "base_seed"]),
    (&["denoising_step_list", "denoising_steps"], &["denoising_step_list", "denoising_steps", "t_index_list"]),
    (&["t_index_list"], &["denoising_step_list", "denoising_steps", "noise_scale", "t_index_list"]),
];

/// Merges `newer` into `waiting`, which then has the effect of both in order.
pub(super) fn join(waiting: &mut Map<String, Value>, newer: Map<String, Value>) {
    flatten(waiting);
    let mut newer = newer;
    flatten(&mut newer);
    drop_absent(waiting);
    drop_absent(&mut newer);
    for (given, replaced) in SAME {
        if given.iter().any(|key| newer.contains_key(*key)) {
            waiting.retain(|key, _| !replaced.contains(&key.as_str()));
        }
    }
    join_values(waiting, newer);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn joined(first: Value, second: Value) -> Value {
        let (Value::Object(mut first), Value::Object(second)) = (first, second) else { panic!("no objects") };
        join(&mut first, second);
        Value::Object(first)
    }

    #[test]
    fn keys_absent_from_the_newer_message_are_kept() {
        let first = json!({"pipeline": "x", "params": {"delta": 0.5, "prompt": "a", "odd": 1}, "paused": true});
        let both = joined(first, json!({"delta": 0.75, "width": 320, "height": null}));
        assert_eq!(both, json!({"pipeline": "x", "paused": true, "delta": 0.75, "prompt": "a", "width": 320}));
        let first = json!({"ip_adapter": {"scale": 0.5}, "lora_dict": {"a": 1}, "controlnets": [1, 2]});
        let second = json!({"params": {"ip_adapter": {"enabled": true}, "lora_dict": {"b": 1}, "controlnets": []}});
        let both = json!({"ip_adapter": {"scale": 0.5, "enabled": true}, "lora_dict": {"b": 1}, "controlnets": []});
        assert_eq!(joined(first, second), both);
    }

    #[test]
    fn equivalent_keys_of_the_newer_message_take_precedence() {
        for (first, second, both) in [
            (json!({"prompts": [1]}), json!({"prompt": "b"}), json!({"prompt": "b"})),
            (json!({"params": {"prompt": "a"}}), json!({"prompts": [2]}), json!({"prompts": [2]})),
            (json!({"transition": {}, "delta": 1}), json!({"prompts": [2]}), json!({"delta": 1, "prompts": [2]})),
            (json!({"seed": 1}), json!({"base_seed": 2}), json!({"base_seed": 2})),
            (json!({"t_index_list": [1]}), json!({"denoising_steps": [2]}), json!({"denoising_steps": [2]})),
            (
                json!({"noise_scale": 1, "denoising_steps": [2]}),
                json!({"t_index_list": [3]}),
                json!({"t_index_list": [3]}),
            ),
            // These two count together, in either order.
            (
                json!({"denoising_step_list": [1]}),
                json!({"noise_scale": 0.5}),
                json!({"denoising_step_list": [1], "noise_scale": 0.5}),
            ),
        ] {
            assert_eq!(joined(first, second), both);
        }
    }
}

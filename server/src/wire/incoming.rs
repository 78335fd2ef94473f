//! Adapts parameters in requests to the engine.
//!
//! Changes are visible: an unknown key is kept for `pipeline_params`, and a value that is interpreted differently is
//! logged.

use std::mem;

use dreamframe::Violation;
use dreamframe::params::{self, Constraint, Entry, Field, ParamsPatch, StreamDiffusionParams, canonical_values};
use dreamframe::transport::parameters::drop_known_digest;
use serde_json::{Value, json};

use super::Object;
use crate::error::ApiError;

/// The greatest seed; a negative one counts down from here.
const SEEDS: u64 = (1 << 53) - 1;

/// A change of parameters for the engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Incoming {
    /// The change.
    pub(crate) patch: ParamsPatch,
    /// The seed as it was sent, if the engine has another number for it.
    pub(crate) seed: Option<Value>,
    /// Unknown keys, with their paths.
    pub(crate) unknown: Object,
}

impl Incoming {
    /// Reads `sent` as a change of `base`; `null` means the value of `defaults`.
    ///
    /// # Errors
    ///
    /// 400 with every invalid name, type and range.
    pub(crate) fn read(
        mut sent: Object,
        base: &StreamDiffusionParams,
        defaults: &StreamDiffusionParams,
    ) -> Result<Self, ApiError> {
        let mut incoming = Self::default();
        canonical_values(&mut sent, defaults);
        drop_known_digest(&mut sent, &base.ip_adapter_style_image_url);
        incoming.strip("", "", &mut sent);
        incoming.seed(&mut sent);
        incoming.patch = ParamsPatch::from_value(Value::Object(sent)).map_err(in_params)?;
        Ok(incoming)
    }

    /// Removes keys that are not in the field table.
    fn strip(&mut self, rule: &str, path: &str, object: &mut Object) {
        // Removing keys one by one would take time proportional to the square of their number.
        for (name, mut value) in mem::take(object) {
            let path = join(path, &name);
            let Some(entry) = params::entry(rule, &name) else {
                self.unknown.insert(path, value);
                continue;
            };
            let rule = join(rule, &name);
            match (entry, &mut value) {
                (Entry::Object, Value::Object(nested)) => self.strip(&rule, &path, nested),
                (Entry::Field(Field { constraint: Constraint::Items { .. }, .. }), Value::Array(items)) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        if let Value::Object(item) = item {
                            self.strip(&format!("{rule}[]"), &format!("{path}[{index}]"), item);
                        }
                    }
                }
                (Entry::Object | Entry::Field(_), _) => {}
            }
            object.insert(name, value);
        }
    }

    /// Converts seeds, which may be negative in requests, to the engine's seeds.
    fn seed(&mut self, sent: &mut Object) {
        let Some(seed) = sent.get_mut("seed") else { return };
        let before = seed.clone();
        match seed.as_array_mut() {
            Some(pairs) => pairs.iter_mut().filter_map(|pair| pair.get_mut(0)).for_each(turn),
            None => turn(seed),
        }
        if *seed != before {
            self.seed = Some(before);
        }
    }
}

/// Checks the rules of the public schema that are stricter than the engine's.
///
/// # Errors
///
/// 400 with every value at fault.
pub(crate) fn check_strictly(params: &StreamDiffusionParams) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    let mut refuse = |path: &str, message: String| faults.push(Violation::new(format!("params.{path}"), message));
    for (path, side) in [("width", params.width), ("height", params.height)] {
        if !(384..=1024).contains(&side) || side % 64 != 0 {
            refuse(path, format!("got {side}, expected an integer from 384 to 1024 in steps of 64"));
        }
    }
    for (index, place) in params.t_index_list.iter().enumerate().filter(|(_, place)| **place > 50) {
        refuse(&format!("t_index_list[{index}]"), format!("got {place}, expected at most 50"));
    }
    let interval = params.cached_attention.interval;
    if interval > 240 {
        refuse("cached_attention.interval", format!("got {interval}, expected at most 240"));
    }
    if faults.is_empty() { Ok(()) } else { Err(ApiError::fields(faults)) }
}

/// Names values by their path in the body.
pub(crate) fn in_params(error: dreamframe::Error) -> ApiError {
    if error.violations().is_empty() {
        return error.into();
    }
    let named = |v: &Violation| Violation::new(format!("params.{}", v.path), v.message.clone());
    ApiError::fields(error.violations().iter().map(named).collect())
}

fn turn(seed: &mut Value) {
    let least = -i64::try_from(SEEDS).unwrap_or(i64::MAX);
    if let Some(negative @ ..0) = seed.as_i64()
        && negative >= least
    {
        *seed = json!(SEEDS + 1 - negative.unsigned_abs());
    }
}

fn join(before: &str, name: &str) -> String {
    if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sent: Value) -> Result<Incoming, ApiError> {
        let base = StreamDiffusionParams::default();
        Incoming::read(sent.as_object().unwrap().clone(), &base, &base)
    }

    fn merged(sent: Value) -> StreamDiffusionParams {
        read(sent).unwrap().patch.merge(&StreamDiffusionParams::default()).unwrap().0
    }

    #[test]
    fn unknown_keys_are_removed_at_every_level() {
        let incoming = read(json!({
            "prompt": "snow", "foo": {"a": [1]},
            "controlnets": [{"model_id": "a/b", "strength": 2, "preprocessor_params": {"own": 1}}],
            "image_preprocessing": [{"type": "blur", "order": 1}],
            "ip_adapter": {"scale": 0.5, "insightface": null, "mask": "x"},
            "ip_adapter.enabled": null, "cached_attention.interval": 2, "controlnets[].enabled": true,
        }))
        .unwrap();
        let unknown = json!({
            "foo": {"a": [1]}, "controlnets[0].strength": 2, "image_preprocessing.processors[0].order": 1,
            "ip_adapter.insightface": null, "ip_adapter.mask": "x", "ip_adapter.enabled": null,
            "cached_attention.interval": 2, "controlnets[].enabled": true,
        });
        assert_eq!(json!(incoming.unknown), unknown);
        let names: Vec<_> = incoming.patch.names().collect();
        assert_eq!(names, ["prompt", "controlnets", "image_preprocessing", "ip_adapter"]);
    }

    /// Line 10 of the compatibility checklist.
    #[test]
    fn an_empty_lora_dict_null_and_none_are_the_same() {
        for sent in [json!({"lora_dict": {}}), json!({"lora_dict": null}), json!({})] {
            assert_eq!(merged(sent), StreamDiffusionParams::default());
        }
    }

    #[test]
    fn null_is_the_default_of_this_server() {
        let base = StreamDiffusionParams { delta: 0.1, ..StreamDiffusionParams::default() };
        let defaults = StreamDiffusionParams { delta: 0.4, ..StreamDiffusionParams::demo() };
        let sent = json!({"delta": null, "model_id": null, "t_index_list": null});
        let incoming = Incoming::read(sent.as_object().unwrap().clone(), &base, &defaults).unwrap();
        let params = incoming.patch.merge(&base).unwrap().0;
        assert_eq!((params.delta, &*params.model_id, &params.t_index_list), (0.4, "demo", &defaults.t_index_list));
    }

    #[test]
    fn every_negative_seed_is_another_seed_and_is_remembered() {
        let incoming = read(json!({"seed": -1})).unwrap();
        assert_eq!(incoming.seed, Some(json!(-1)));
        assert_eq!(merged(json!({"seed": -1})).seed, SEEDS.into());
        let list = read(json!({"seed": [[-9007199254740991_i64, 0.5], [7, 1]]})).unwrap();
        assert!(list.seed.is_some());
        let seeds = merged(json!({"seed": [[-9007199254740991_i64, 0.5], [7, 1]]})).seed;
        assert_eq!(seeds.iter().collect::<Vec<_>>(), [(&1, 0.5), (&7, 1.0)]);
        assert_eq!(read(json!({"seed": 7})).unwrap().seed, None);
        for seed in [json!(-9007199254740992_i64), json!(1e21), json!(-1.5), json!("x"), json!([[]])] {
            assert!(read(json!({ "seed": seed })).is_err(), "{seed}");
        }
    }

    #[test]
    fn faults_are_named_by_their_place_in_the_body() {
        let error =
            read(json!({"delta": "x", "controlnets": [{"model_id": "a", "preprocessor": "cany"}]})).unwrap_err();
        assert!(error.message().contains("params.delta: got"), "{}", error.message());
        assert!(error.message().contains("params.controlnets[0].preprocessor: got"), "{}", error.message());
    }

    #[test]
    fn the_strict_check_is_the_public_schema() {
        let mut params = StreamDiffusionParams::default();
        assert!(check_strictly(&params).is_ok());
        params.width = 320;
        params.height = 1000;
        params.cached_attention.interval = 241;
        let error = check_strictly(&params).unwrap_err();
        for path in ["width", "height", "interval"] {
            assert!(error.message().contains(path));
        }
    }
}

//! Patches: changes of some of the parameters.

use serde_json::{Map, Value};

use super::canonical::{canonical_parameter, canonical_values};
use super::compat::{self, Notice};
use super::constraint::Checker;
use super::fields::{self, FIELDS, to_json};
use super::json::{self, refusal};
use super::{StreamDiffusionParams, validate};
use crate::{Error, Result, Violation, schedule};

/// A change of some of the parameters.
///
/// Names, types and ranges have been checked; a patch can violate rules between fields only.
/// Merging is shallow, by top-level name: a value replaces the old one, a list the whole list. Of the objects with
/// fixed fields (`ip_adapter`, `cached_attention`, `interpolation`, `img2img_turbo`, the processing chains), fields that
/// the patch does not name are kept. `null` means the default of [`StreamDiffusionParams`], of a parameter, an object or
/// a field of one; a chain may also be a list of its processors.
///
/// ```
/// use dreamframe::{ParamsPatch, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let base = StreamDiffusionParams::default();
/// let patch = ParamsPatch::from_json(r#"{"delta": 0.9, "ip_adapter": {"scale": 0.5}}"#)?;
/// let (params, _notices) = patch.merge(&base)?;
/// assert_eq!((params.delta, params.ip_adapter.scale), (0.9, 0.5));
/// assert_eq!(params.ip_adapter.weight_type, base.ip_adapter.weight_type);
/// let changed = ParamsPatch::between(&base, &params)?;
/// assert_eq!(changed.names().collect::<Vec<_>>(), ["delta", "ip_adapter"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ParamsPatch {
    // Invariant: every name, type and range has passed `check_object`.
    values: Map<String, Value>,
}

impl ParamsPatch {
    /// Reads a patch from JSON: an object with some of the parameters.
    ///
    /// ```
    /// use dreamframe::{ErrorKind, ParamsPatch};
    ///
    /// let error = ParamsPatch::from_json(r#"{"promt": "snow", "delta": 11}"#).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidParams);
    /// let [name, value] = error.violations() else { panic!("{error}") };
    /// assert_eq!((&*name.path, &*value.path), ("promt", "delta"));
    /// assert!(value.message.contains("11") && value.message.contains("from 0 to 10"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams). For text that is not JSON, too long, nested too
    /// deeply, or has a name twice: the first violation. Otherwise every unknown name (with the most similar one),
    /// every wrong type and every value out of range.
    pub fn from_json(text: &str) -> Result<Self> {
        Self::read(json::read_object(text)?)
    }

    /// Reads a patch and merges it onto `base`. If names, types or ranges are wrong, the other fields are merged
    /// nevertheless, so that violations of rules between fields are reported too.
    pub(super) fn read_and_merge(
        text: &str,
        base: &StreamDiffusionParams,
    ) -> Result<(StreamDiffusionParams, Vec<Notice>)> {
        let mut values = json::read_object(text)?;
        canonical_values(&mut values, &StreamDiffusionParams::default());
        let mut violations = violations(&values);
        if violations.is_empty() {
            return Self { values }.merge(base);
        }
        let wrong =
            |name: &str| violations.iter().any(|violation| violation.path.split(['.', '[']).next() == Some(name));
        values.retain(|name, _| !wrong(name));
        let between = Self::checked(values).and_then(|patch| patch.merge(base)).err();
        violations.extend(between.iter().flat_map(|error| error.violations()).cloned());
        Err(Error::invalid_params(violations))
    }

    /// Creates a patch from a JSON value.
    ///
    /// # Errors
    ///
    /// Like [`from_json`](Self::from_json), except for errors of the text.
    pub fn from_value(value: Value) -> Result<Self> {
        Self::read(json::object(value)?)
    }

    fn read(mut values: Map<String, Value>) -> Result<Self> {
        canonical_values(&mut values, &StreamDiffusionParams::default());
        Self::checked(values)
    }

    /// Returns the smallest patch that turns `old` into `new`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) if a changed value of `new` is out of
    /// range.
    pub fn between(old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Result<Self> {
        // Without the list, a change of the number of steps would rescale it.
        let keeps_list = old.num_inference_steps == new.num_inference_steps;
        let mut values = Map::new();
        // Fields of the items of a list are no parameters of their own: the list as a whole is.
        for field in FIELDS {
            let Some(access) = field.access.of_params() else { continue };
            let name = field.path.split('.').next().unwrap_or_default();
            let differs = || !access.is_same(old, new) || (name == "t_index_list" && !keeps_list);
            if !values.contains_key(name) && differs() {
                values.insert(name.to_owned(), to_json(new, name));
            }
        }
        Self::checked(values)
    }

    fn checked(values: Map<String, Value>) -> Result<Self> {
        let violations = violations(&values);
        if violations.is_empty() { Ok(Self { values }) } else { Err(Error::invalid_params(violations)) }
    }

    /// Returns true if the patch names no field.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Lists the top-level fields that the patch names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Returns the patch as JSON.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// Returns the patch as a JSON object.
    pub fn to_value(&self) -> Value {
        Value::Object(self.values.clone())
    }

    /// Merges the patch onto `base`, and checks every rule.
    ///
    /// `num_inference_steps` without a `t_index_list` rescales the list of `base`, with a notice. An index that equals
    /// `num_inference_steps` means the last step, and a `num_inference_steps` that is the number of indices, some of
    /// which are above it, means the default schedule; both with a notice. Further notices are about values that are
    /// accepted with another meaning, or without effect: those that the patch names, and those whose meaning it changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) with every violation of the merged parameters.
    pub fn merge(&self, base: &StreamDiffusionParams) -> Result<(StreamDiffusionParams, Vec<Notice>)> {
        let mut params = base.clone();
        for (name, value) in &self.values {
            set_json(&mut params, name, value)?;
        }
        let mut notices = Vec::new();
        let names = |name: &str| self.values.contains_key(name);
        if !names("t_index_list") {
            notices.extend(rescale(&mut params, base.num_inference_steps));
        } else {
            if names("num_inference_steps") {
                notices.extend(steps_of_a_frame(&mut params));
            }
            notices.extend(last_step(&mut params));
        }
        params.validate()?;
        let known = compat::notices(base);
        let counts = |notice: &Notice| names(notice.field()) || !known.contains(notice);
        notices.extend(compat::notices(&params).into_iter().filter(counts));
        Ok((params, notices))
    }
}

/// Lists the names, types and ranges of `values` that are wrong.
fn violations(values: &Map<String, Value>) -> Vec<Violation> {
    let mut checker = Checker::of_json();
    validate::check_object("", "", values, &mut checker);
    checker.finish()
}

/// Sets the parameter or the object of parameters at `path`; of an object, fields that `value` lacks stay.
fn set_json(params: &mut StreamDiffusionParams, path: &str, value: &Value) -> Result<()> {
    match fields::field(path).and_then(|field| field.access.of_params()) {
        Some(access) => access
            .set_json(params, value)
            .map_err(|error| refusal("parameters", format!("invalid combination: {error}")).with_source(error)),
        // `checked` has rejected unknown names.
        None => match value.as_object().filter(|_| fields::is_object(path)) {
            Some(values) => {
                values.iter().try_for_each(|(name, value)| set_json(params, &fields::join(path, name), value))
            }
            None => Err(refusal(path, "unknown parameter")),
        },
    }
}

/// Merges the values of two patches: `older` then has the effect of both in order. In objects with fixed fields, such
/// as `ip_adapter`, the fields that `newer` does not name stay.
pub fn join_values(older: &mut Map<String, Value>, newer: Map<String, Value>) {
    let defaults = StreamDiffusionParams::default();
    for (name, value) in newer {
        if let Some(old) = older.get_mut(&name).filter(|_| value.is_object() && fields::is_object(&name)) {
            // `null` or a list, whose other fields stay too.
            canonical_parameter(&name, old, &defaults);
        }
        match (older.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if fields::is_object(&name) => old.extend(new),
            (_, value) => drop(older.insert(name, value)),
        }
    }
}

/// Rescales `t_index_list` to a schedule of another length, with nearly the same noise in each row.
fn rescale(params: &mut StreamDiffusionParams, old_steps: u32) -> Option<Notice> {
    let steps = params.num_inference_steps;
    if steps == old_steps {
        return None;
    }
    let list: Vec<usize> = params.t_index_list.iter().map(|&index| index as usize).collect();
    // Never above the last step, so it fits.
    let list =
        schedule::rescale(&list, old_steps as usize, steps as usize).into_iter().map(|index| index as u32).collect();
    let old_list = std::mem::replace(&mut params.t_index_list, list);
    let message = format!(
        "was rescaled from {old_list:?} to {:?}, because num_inference_steps went from {old_steps} to {steps}",
        params.t_index_list
    );
    (old_list != params.t_index_list).then(|| Notice::new("t_index_list", message))
}

/// Replaces a `num_inference_steps` that counts the steps of a frame, as some clients write it, by the default: it is the
/// number of indices in `t_index_list`, which index a longer schedule.
fn steps_of_a_frame(params: &mut StreamDiffusionParams) -> Option<Notice> {
    let (steps, schedule) = (params.num_inference_steps, StreamDiffusionParams::default().num_inference_steps);
    let last = params.t_index_list.iter().copied().max()?;
    if params.t_index_list.len() != steps as usize || !(steps + 1..=schedule).contains(&last) {
        return None;
    }
    params.num_inference_steps = schedule;
    let message = format!(
        "is {steps}, the number of indices in t_index_list, which go up to {last}: they index the default schedule of \
         {schedule} steps"
    );
    Some(Notice::new("num_inference_steps", message))
}

/// Replaces indices that equal `num_inference_steps` by that of the last step: Daydream's schema allows them.
fn last_step(params: &mut StreamDiffusionParams) -> Option<Notice> {
    let steps = params.num_inference_steps;
    let last = steps.checked_sub(1)?;
    let mut is_changed = false;
    for index in params.t_index_list.iter_mut().filter(|index| **index == steps) {
        *index = last;
        is_changed = true;
    }
    let message = format!("has the index {steps}, which means the last of the {steps} steps, {last}");
    is_changed.then(|| Notice::new("t_index_list", message))
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    type Params = StreamDiffusionParams;

    fn merged(base: &Params, patch: &str) -> (Params, Vec<Notice>) {
        ParamsPatch::from_json(patch).unwrap().merge(base).unwrap()
    }

    #[test]
    fn violations_of_fields_and_of_rules_between_them_are_reported_together() {
        let error = Params::from_json(r#"{"promt": "snow", "t_index_list": [60], "delta": -1}"#).unwrap_err();
        let paths: Vec<_> = error.violations().iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(paths, ["promt", "delta", "t_index_list[0]"]);
    }

    #[test]
    fn fields_that_a_patch_does_not_name_are_unchanged() {
        let base = Params { delta: 0.25, ..Params::daydream() };
        let (params, notices) = merged(&base, r#"{"prompt": "snow"}"#);
        assert_eq!(params, Params { prompt: "snow".into(), ..base });
        assert_eq!(notices, []);
    }

    #[test]
    fn an_unchanged_style_image_stays_shared() {
        let base = Params { ip_adapter_style_image_url: "iVBORw0KGgo=".into(), ..Params::default() };
        let (ours, _) = merged(&base, r#"{"delta": 0.25, "ip_adapter": {"scale": 0.5}}"#);
        let rebased = crate::params::rebase(&base, &ours, &Params { guidance_scale: 2.0, ..base.clone() });
        for params in [ours, rebased.params] {
            assert!(ptr::eq(params.ip_adapter_style_image_url.as_str(), base.ip_adapter_style_image_url.as_str()));
        }
    }

    #[test]
    fn lists_are_replaced_whole_and_objects_keep_their_other_fields() {
        let (params, _) = merged(&Params::daydream(), r#"{"controlnets": [{"model_id": "a/b"}]}"#);
        assert_eq!(params.controlnets, [crate::params::ControlNetConfig::new("a/b")]);
        let (params, _) = merged(&Params::default(), r#"{"cached_attention": {"max_frames": 3, "interval": 2}}"#);
        let (params, _) = merged(&params, r#"{"cached_attention": {"max_frames": 4}}"#);
        assert_eq!((params.cached_attention.max_frames, params.cached_attention.interval), (4, 2));
    }

    #[cfg(feature = "transport")]
    #[test]
    fn joined_patches_equal_one_patch_after_the_other() {
        let first = r#"{"delta": 0.5, "cached_attention": {"max_frames": 3}, "lora_dict": {"a": 1}}"#;
        let second = r#"{"delta": 0.25, "cached_attention": {"interval": 2}, "lora_dict": {"b": 1}}"#;
        let (base, _) = merged(&Params::default(), first);
        let (apart, _) = merged(&base, second);
        let mut both = json::read_object(first).unwrap();
        join_values(&mut both, json::read_object(second).unwrap());
        let (joined, _) = merged(&Params::default(), &Value::Object(both).to_string());
        assert_eq!(joined, apart);
    }

    #[test]
    fn violations_after_the_fiftieth_are_only_counted() {
        let names: Vec<String> = (0..3000).map(|at| format!("\"odd_{at}\": 1")).collect();
        let refused = ParamsPatch::from_json(&format!("{{{}}}", names.join(","))).unwrap_err();
        assert_eq!(refused.violations().len(), 51);
        let last = &refused.violations()[50];
        assert_eq!((last.path.as_str(), last.message.as_str()), ("parameters", "2950 more violations"));
    }

    #[test]
    fn changing_only_the_steps_rescales_the_list_with_a_notice() {
        for (list, old, new, expected) in [
            (vec![0, 16, 32, 45], 50, 9, vec![0, 3, 5, 7]),
            (vec![12, 20, 32], 50, 30, vec![7, 12, 19]),
            (vec![12, 20, 32], 50, 33, vec![8, 13, 21]),
            (vec![0], 1, 50, vec![0]),
        ] {
            let base = Params { num_inference_steps: old, t_index_list: list.clone(), ..Params::default() };
            let (params, notices) = merged(&base, &format!(r#"{{"num_inference_steps": {new}}}"#));
            assert_eq!(params.t_index_list, expected);
            let paths: Vec<_> = notices.iter().map(|notice| notice.path.as_str()).collect();
            assert_eq!(paths.contains(&"t_index_list"), list != expected);
        }
    }

    #[test]
    fn steps_with_a_list_do_not_rescale_it() {
        let (params, notices) =
            merged(&Params::default(), r#"{"num_inference_steps": 25, "t_index_list": [12, 20, 24]}"#);
        assert_eq!((params.t_index_list, notices), (vec![12, 20, 24], vec![]));
        let refused = ParamsPatch::from_json(r#"{"num_inference_steps": 25, "t_index_list": [12, 20, 26]}"#)
            .unwrap()
            .merge(&Params::default())
            .unwrap_err();
        assert_eq!(refused.to_string(), "t_index_list[2]: got 26, expected less than num_inference_steps (25)");
    }

    #[test]
    fn an_index_at_the_number_of_steps_is_the_last_step_with_a_notice() {
        for (patch, list) in [
            (r#"{"t_index_list": [12, 50]}"#, vec![12, 49]),
            (r#"{"num_inference_steps": 25, "t_index_list": [12, 20, 25]}"#, vec![12, 20, 24]),
            (r#"{"num_inference_steps": 100, "t_index_list": [99, 100, 100]}"#, vec![99, 99, 99]),
            (r#"{"num_inference_steps": 1, "t_index_list": [1]}"#, vec![0]),
        ] {
            let (params, notices) = merged(&Params::default(), patch);
            assert_eq!(params.t_index_list, list);
            assert_eq!(notices.iter().map(|notice| &*notice.path).collect::<Vec<_>>(), ["t_index_list"], "{patch}");
        }
        let (_, notices) = merged(&Params::default(), r#"{"t_index_list": [50]}"#);
        assert_eq!(notices[0].to_string(), "t_index_list has the index 50, which means the last of the 50 steps, 49");
    }

    #[test]
    fn as_many_steps_as_indices_above_them_mean_the_default_schedule_with_a_notice() {
        for (steps, list) in [(1, vec![32]), (1, vec![2]), (2, vec![16, 32]), (4, vec![12, 20, 32, 49])] {
            let patch = format!(r#"{{"num_inference_steps": {steps}, "t_index_list": {list:?}}}"#);
            let (params, notices) = merged(&Params::default(), &patch);
            assert_eq!((params.num_inference_steps, &params.t_index_list), (50, &list));
            let paths: Vec<&str> = notices.iter().map(|notice| &*notice.path).collect();
            assert_eq!(paths, ["num_inference_steps"], "{patch}");
        }
        // A schedule of the client's own is not replaced.
        for patch in [
            r#"{"num_inference_steps": 4, "t_index_list": [32]}"#,
            r#"{"num_inference_steps": 1, "t_index_list": [51]}"#,
        ] {
            assert!(ParamsPatch::from_json(patch).unwrap().merge(&Params::default()).is_err(), "{patch}");
        }
        let short = Params { num_inference_steps: 1, t_index_list: vec![0], ..Params::default() };
        assert!(ParamsPatch::from_json(r#"{"t_index_list": [32]}"#).unwrap().merge(&short).is_err());
        assert_eq!(merged(&short, r#"{"num_inference_steps": 1, "t_index_list": [0]}"#), (short, vec![]));
    }

    #[cfg(feature = "transport")]
    #[test]
    fn a_joined_null_resets_the_fields_that_the_newer_patch_does_not_name() {
        let base = Params {
            cached_attention: crate::params::CachedAttentionConfig {
                enabled: true,
                max_frames: 3,
                interval: 7,
                ..Default::default()
            },
            ..Params::default()
        };
        let mut both = json::read_object(r#"{"cached_attention": null, "latent_preprocessing": []}"#).unwrap();
        let newer = r#"{"cached_attention": {"max_frames": 2}, "latent_preprocessing": {"enabled": false}}"#;
        join_values(&mut both, json::read_object(newer).unwrap());
        let (joined, _) = merged(&base, &Value::Object(both).to_string());
        let attention = &joined.cached_attention;
        assert_eq!((attention.enabled, attention.max_frames, attention.interval), (false, 2, 1));
        assert!(!joined.latent_preprocessing.enabled);
    }

    #[test]
    fn all_invalid_names_and_types_are_reported_together() {
        let patch = r#"{"promt": "a", "delta": "b", "controlnets": [{"preprocessor": "cany", "enable": 1}],
            "ip_adapter": {"weight_types": "linear"}}"#;
        let refused = ParamsPatch::from_json(patch).unwrap_err();
        let lines: Vec<_> = refused.violations().iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], r#"promt: unknown parameter; did you mean "prompt"?"#);
        assert_eq!(lines[1], r#"delta: got "b", expected a number from 0 to 10"#);
        assert!(lines[2].starts_with(r#"controlnets[0].preprocessor: got "cany", expected one of "blur", "canny""#));
        assert_eq!(lines[3], r#"controlnets[0].enable: unknown parameter; did you mean "enabled"?"#);
        assert!(lines[4].starts_with("controlnets[0].model_id: missing, expected text"));
        assert_eq!(lines[5], r#"ip_adapter.weight_types: unknown parameter; did you mean "weight_type"?"#);
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn a_path_is_not_a_name() {
        let patch = r#"{"ip_adapter.scale": 0.5, "cached_attention.enabled": null, "controlnets[].enabled": true,
            "image_preprocessing": {"processors.x": []}, "a.b": 1, "ip_adapter": {"scale": 0.25}}"#;
        let refused = ParamsPatch::from_json(patch).unwrap_err();
        let lines: Vec<_> = refused.violations().iter().map(ToString::to_string).collect();
        let expected = [
            r#"ip_adapter.scale: unknown parameter; did you mean {"ip_adapter": {"scale": …}}?"#,
            r#"cached_attention.enabled: unknown parameter; did you mean {"cached_attention": {"enabled": …}}?"#,
            "controlnets[].enabled: unknown parameter",
            r#"image_preprocessing.processors.x: unknown parameter; did you mean "processors"?"#,
            "a.b: unknown parameter",
        ];
        assert_eq!(lines, expected);
        // The names of LoRAs and of a processor's parameters may be any.
        let patch = r#"{"lora_dict": {"a.b": 1}, "image_preprocessing": [{"type": "blur", "params": {"a.b": 1}}]}"#;
        assert_eq!(ParamsPatch::from_json(patch).unwrap().names().count(), 2);
    }

    #[test]
    fn empty_lora_dict_means_no_loras() {
        let (params, _) = merged(&Params::default(), r#"{"lora_dict": {}}"#);
        assert_eq!(params, Params::default());
        assert!(params.to_value()["lora_dict"].is_null());
    }

    #[test]
    fn a_patch_can_correct_invalid_parameters() {
        let base = Params { delta: f64::NAN, ..Params::default() };
        assert_eq!(merged(&base, r#"{"delta": 0.7}"#).0, Params::default());
    }

    #[test]
    fn patched_values_are_checked_and_earlier_ones_are_not() {
        let (_, notices) = merged(&Params::default(), r#"{"acceleration": "tensorrt"}"#);
        assert_eq!(notices.len(), 1);
        let (_, notices) = merged(&Params::default(), r#"{"delta": 0.5}"#);
        assert_eq!(notices, []);
    }
}

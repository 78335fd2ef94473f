//! Parses bodies of create and update, in the current form and all older ones.

use dreamframe::Violation;
use dreamframe::params::FIELDS;
use serde_json::{Value, json};

use super::fade::Fade;
use super::{Object, models};
use crate::error::ApiError;
use crate::rtmp::Target;

/// Longest name of a stream, in characters.
const MAX_NAME: usize = 256;
/// Longest push URL, in characters.
const MAX_URL: usize = 2048;

/// A parsed body.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Request {
    /// The requested name of the stream.
    pub(crate) name: Option<String>,
    /// The URL to push pictures to; empty for none.
    pub(crate) output_rtmp_url: Option<String>,
    /// The old pipeline id, if the body is in an old form.
    pub(crate) pipeline_id: Option<String>,
    /// Whether size and steps follow the speed of the machine.
    pub(crate) adapt: Option<bool>,
    /// The parameters, unchecked.
    pub(crate) params: Object,
    /// Unknown keys outside of the parameters.
    pub(crate) unknown: Object,
    /// How the prompt is reached, if gradually.
    pub(crate) fade: Option<Fade>,
}

/// The keys of a body other than parameters.
const ENVELOPE: [&str; 8] =
    ["pipeline", "params", "pipeline_id", "pipeline_params", "name", "output_rtmp_url", "adapt", "transition"];
/// The pipelines that clients name; all are served by the one that there is.
const PIPELINES: [&str; 2] = ["streamdiffusion", "live-video-to-video"];

impl Request {
    /// Reads the body of create or update.
    ///
    /// # Errors
    ///
    /// 400 with every key of the envelope that has a wrong type.
    pub(crate) fn read(body: Object) -> Result<Self, ApiError> {
        let mut faults = Vec::new();
        let mut request = Self::default();
        let mut legacy = Object::new();
        let mut current = Object::new();
        for (key, value) in body {
            match key.as_str() {
                // Another one is answered as an unknown key is: it has no effect.
                "pipeline" => match text(&key, value, MAX_NAME, &mut faults) {
                    Some(name) if !PIPELINES.contains(&name.as_str()) => drop(request.unknown.insert(key, name.into())),
                    Some(_) | None => {}
                },
                "transition" if value.is_null() => {}
                "transition" => request.fade = Fade::read(&object(&key, value, &mut faults), &mut faults),
                "pipeline_id" => request.pipeline_id = text(&key, value, MAX_NAME, &mut faults),
                "name" => request.name = text(&key, value, MAX_NAME, &mut faults),
                "output_rtmp_url" => request.output_rtmp_url = address(&key, value, &mut faults),
                "adapt" => request.adapt = flag(&key, &value, &mut faults),
                "params" => current = object(&key, value, &mut faults),
                "pipeline_params" => legacy = object(&key, value, &mut faults),
                _ if is_parameter(&key) => drop(request.params.insert(key, value)),
                _ => drop(request.unknown.insert(key, value)),
            }
        }
        if !faults.is_empty() {
            return Err(ApiError::fields(faults));
        }
        if let Some(Value::String(id)) = legacy.remove("pipeline_id") {
            request.pipeline_id.get_or_insert(id);
        }
        let loose = std::mem::replace(&mut request.params, legacy);
        // Of two keys with the same meaning, the newer form takes precedence.
        request.params.extend(loose);
        request.params.extend(current);
        request.apply_pipeline();
        Ok(request)
    }

    /// Reads the body of the beta route, in which only `params` has parameters: `model_id` has another meaning there.
    ///
    /// # Errors
    ///
    /// 400 if `params` is not an object.
    pub(crate) fn read_beta(mut body: Object) -> Result<Self, ApiError> {
        let params = body.remove("params").unwrap_or_default();
        Self::read(Object::from_iter([("params".to_owned(), params)]))
    }

    /// An old pipeline id names a model, unless the parameters do.
    fn apply_pipeline(&mut self) {
        let Some((model, faces)) = self.pipeline_id.as_deref().and_then(models::of_pipeline) else { return };
        self.params.entry("model_id").or_insert_with(|| model.into());
        if faces && self.params.get("model_id").is_some_and(|id| id == model) {
            let adapter = self.params.entry("ip_adapter").or_insert_with(|| json!({}));
            if let Value::Object(adapter) = adapter {
                adapter.entry("type").or_insert_with(|| "faceid".into());
            }
        }
    }
}

/// Whether `key` is a parameter of a stream.
pub(crate) fn is_parameter(key: &str) -> bool {
    !ENVELOPE.contains(&key) && FIELDS.iter().any(|field| field.path.split(['.', '[']).next() == Some(key))
}

fn text(key: &str, value: Value, most: usize, faults: &mut Vec<Violation>) -> Option<String> {
    let fault = |message: String| Violation::new(key, message);
    match value {
        Value::Null => None,
        Value::String(text) if text.chars().count() <= most => Some(text),
        Value::String(text) => {
            faults.push(fault(format!("got {} characters, expected at most {most}", text.chars().count())));
            None
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            faults.push(fault(format!("got {}, expected text", kind_of(&value))));
            None
        }
    }
}

/// The JSON type of a value, for an error, which does not repeat what a client sent.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn flag(key: &str, value: &Value, faults: &mut Vec<Violation>) -> Option<bool> {
    if !value.is_null() && !value.is_boolean() {
        faults.push(Violation::new(key, format!("got {}, expected a flag", kind_of(value))));
    }
    value.as_bool()
}

fn object(key: &str, value: Value, faults: &mut Vec<Violation>) -> Object {
    match value {
        Value::Null => Object::new(),
        Value::Object(object) => object,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::String(_) => {
            faults.push(Violation::new(key, format!("got {}, expected an object", kind_of(&value))));
            Object::new()
        }
    }
}

fn address(key: &str, value: Value, faults: &mut Vec<Violation>) -> Option<String> {
    let url = text(key, value, MAX_URL, faults)?;
    let Err(error) = Target::parse(&url) else { return Some(url) };
    if !url.is_empty() {
        faults.push(Violation::new(key, error.to_string()));
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Request {
        Request::read(body.as_object().unwrap().clone()).unwrap()
    }

    /// Line 21 of the compatibility checklist: the dialects A to E.
    #[test]
    fn every_old_form_asks_for_the_same_as_the_new_one() {
        let params = json!({"prompt": "snow", "width": 512});
        let of_new = read(json!({"pipeline": "streamdiffusion", "params": params})).params;
        let b = read(json!({"pipeline_id": "pip_qpUgXycjWF6YMeSL", "pipeline_params": params}));
        assert_eq!(b.params, of_new);
        assert_eq!(b.pipeline_id.as_deref(), Some("pip_qpUgXycjWF6YMeSL"));
        let d =
            read(json!({"pipeline_params": {"pipeline_id": "pip_qpUgXycjWF6YMeSL"}, "prompt": "snow", "width": 512}));
        assert_eq!((d.params, d.pipeline_id), (of_new, b.pipeline_id));
        let e = read(json!({"name": "x"}));
        assert_eq!((e.name.as_deref(), e.params.len()), (Some("x"), 0));
    }

    #[test]
    fn old_pipeline_ids_name_their_models() {
        for (id, model) in [
            ("pip_SD15", "Lykon/dreamshaper-8"),
            ("pip_SD-turbo", "stabilityai/sd-turbo"),
            ("pip_SDXL-turbo", "stabilityai/sdxl-turbo"),
            ("pip_SDXL-turbo-faceid", "stabilityai/sdxl-turbo"),
        ] {
            let request = read(json!({"pipeline_id": id, "pipeline_params": {"prompt": "snow"}}));
            assert_eq!(request.params["model_id"], model);
            assert_eq!(request.params.contains_key("ip_adapter"), id.ends_with("faceid"), "{id}");
        }
        let own = read(json!({"pipeline_id": "pip_SD15", "params": {"model_id": "prompthero/openjourney-v4"}}));
        assert_eq!(own.params["model_id"], "prompthero/openjourney-v4");
    }

    #[test]
    fn of_two_forms_in_one_body_the_newer_counts() {
        let request = read(json!({
            "pipeline_params": {"prompt": "old", "delta": 0.1}, "prompt": "loose", "seed": 1, "params": {"prompt": "new"},
        }));
        assert_eq!(json!(request.params), json!({"prompt": "new", "delta": 0.1, "seed": 1}));
    }

    #[test]
    fn unknown_keys_are_kept_separately() {
        let request = read(json!({"stream_name": "x", "params": {"foo": 1}, "model_id": "stabilityai/sdxl-turbo"}));
        assert_eq!(json!(request.unknown), json!({"stream_name": "x"}));
        assert_eq!(json!(request.params), json!({"model_id": "stabilityai/sdxl-turbo", "foo": 1}));
    }

    #[test]
    fn a_pipeline_that_there_is_not_is_kept_as_an_unknown_key() {
        for known in [json!("streamdiffusion"), json!("live-video-to-video"), json!(null)] {
            assert!(read(json!({ "pipeline": known })).unknown.is_empty());
        }
        assert_eq!(json!(read(json!({"pipeline": "longlive"})).unknown), json!({"pipeline": "longlive"}));
    }

    #[test]
    fn the_outer_model_of_the_beta_call_is_no_model() {
        let body =
            json!({"pipeline": "live-video-to-video", "model_id": "streamdiffusion", "params": {"prompt": "snow"}});
        let request = Request::read_beta(body.as_object().unwrap().clone()).unwrap();
        assert_eq!(json!(request.params), json!({"prompt": "snow"}));
    }

    #[test]
    fn every_error_of_the_envelope_is_reported() {
        let body = json!({"name": 1, "params": [], "pipeline_id": {}, "output_rtmp_url": "http://x", "pipeline": 3, "adapt": "yes"});
        let error = Request::read(body.as_object().unwrap().clone()).unwrap_err();
        for path in ["name", "params", "pipeline_id", "output_rtmp_url", "pipeline", "adapt"] {
            assert!(error.message().contains(path), "{}", error.message());
        }
    }
}

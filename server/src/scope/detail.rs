//! Errors in the form that Scope's clients read: `{"detail":…}`, with text, or with a list of errors if a body or a
//! query is invalid (422).

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::http::read_body;

/// The largest body, in bytes: an offer has some ten thousand.
const MAX_BODY: usize = 1 << 20;

/// The reason for rejecting a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Detail {
    /// A sentence.
    Text(StatusCode, String),
    /// Every error of the request.
    Faults(Vec<Fault>),
}

/// One error.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    /// The location: `body`, then the path in it.
    loc: Vec<Value>,
    msg: String,
    /// The kind of error, by the names that clients know.
    kind: &'static str,
}

impl Detail {
    /// 404 with a text.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::Text(StatusCode::NOT_FOUND, what.to_owned())
    }

    /// The request cannot be honoured.
    pub(crate) fn bad_request(why: impl Into<String>) -> Self {
        Self::Text(StatusCode::BAD_REQUEST, why.into())
    }

    /// The body has no `name`.
    pub(crate) fn missing(name: &str) -> Self {
        Self::Faults(vec![Fault {
            loc: vec!["body".into(), name.into()],
            msg: "Field required".into(),
            kind: "missing",
        }])
    }

    /// The value at `path`, within the body or the query as `part` names it, is invalid.
    pub(crate) fn fault(part: &str, path: &str, msg: impl Into<String>) -> Self {
        Self::Faults(vec![Fault { loc: steps(part, path), msg: msg.into(), kind: "value_error" }])
    }

    /// Like [`From<ApiError>`], for values under `path` in the body.
    pub(crate) fn within(path: &str, error: &ApiError) -> Self {
        let faults: Vec<_> = error.details().get("fields").and_then(Value::as_array).into_iter().flatten().collect();
        if faults.is_empty() {
            return Self::Text(error.status(), error.message().to_owned());
        }
        let text = |fault: &Value, key: &str| fault.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let fault = |fault: &&Value| {
            let inner = text(fault, "path");
            // In Daydream's bodies parameters are one level deeper.
            let inner = inner.strip_prefix("params.").unwrap_or(&inner);
            let path = if path.is_empty() { inner.to_owned() } else { format!("{path}.{inner}") };
            Fault { loc: steps("body", &path), msg: text(fault, "reason"), kind: "value_error" }
        };
        Self::Faults(faults.iter().map(fault).collect())
    }
}

/// `a[1].b` as a list of names and places.
fn steps(part: &str, path: &str) -> Vec<Value> {
    let names = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let step = |step: &str| step.parse::<u64>().map_or_else(|_| step.into(), Value::from);
    std::iter::once(part.into()).chain(names.map(step)).collect()
}

impl From<ApiError> for Detail {
    fn from(error: ApiError) -> Self {
        Self::within("", &error)
    }
}

impl IntoResponse for Detail {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Text(status, text) => (status, text.into()),
            Self::Faults(faults) => {
                let fault = |fault: Fault| json!({ "type": fault.kind, "loc": fault.loc, "msg": fault.msg });
                (StatusCode::UNPROCESSABLE_ENTITY, faults.into_iter().map(fault).collect::<Value>())
            }
        };
        (status, axum::Json(json!({ "detail": detail }))).into_response()
    }
}

/// A body that is a JSON object, regardless of its content type.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Map<String, Value>);

impl<S: Sync> FromRequest<S> for Body {
    type Rejection = Detail;

    async fn from_request(request: Request, _: &S) -> Result<Self, Detail> {
        object(&read_body(request.into_body(), MAX_BODY).await?).map(Self)
    }
}

/// Reads a body; every fault of it is 422.
fn object(body: &[u8]) -> Result<Map<String, Value>, Detail> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Detail::fault("body", "", "Input should be an object")),
        Err(error) => {
            let fault =
                Fault { loc: vec!["body".into()], msg: format!("JSON decode error: {error}"), kind: "json_invalid" };
            Err(Detail::Faults(vec![fault]))
        }
    }
}

/// The text `name` of a body.
///
/// # Errors
///
/// 422 where it is missing or no text.
pub(crate) fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Detail> {
    let value = body.get(name).ok_or_else(|| Detail::missing(name))?;
    value.as_str().ok_or_else(|| Detail::fault("body", name, "Input should be a valid string"))
}

/// The object `name` of a body; empty if it is absent.
///
/// # Errors
///
/// 422 where it is something else.
pub(crate) fn optional_object(body: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, Detail> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(Detail::fault("body", name, "Input should be a valid dictionary")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_location() {
        assert_eq!(steps("body", "prompts[1].text"), [json!("body"), json!("prompts"), json!(1), json!("text")]);
        let error = ApiError::field("params.noise_scale", "is 2");
        let Detail::Faults(faults) = Detail::within("initialParameters", &error) else { panic!("no faults") };
        assert_eq!(faults[0].loc, ["body", "initialParameters", "noise_scale"]);
    }

    #[test]
    fn bodies_that_cannot_be_read_are_422() {
        for body in ["", "{", "[1]", "null", "\u{fffd}"] {
            let refused = object(body.as_bytes()).unwrap_err().into_response();
            assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        }
        assert_eq!(text(&Map::new(), "sdp"), Err(Detail::missing("sdp")));
        assert!(text(&object(br#"{"sdp": 1}"#).unwrap(), "sdp").is_err());
        assert_eq!(optional_object(&object(br#"{"a": null}"#).unwrap(), "a"), Ok(Map::new()));
        assert!(optional_object(&object(br#"{"a": []}"#).unwrap(), "a").is_err());
    }
}

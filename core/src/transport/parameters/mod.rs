//! The protocol of the data channel `parameters`, which changes the parameters of a stream of pictures.
//!
//! Clients send JSON objects with parameters; every one is answered, and changes all or nothing. A host implements
//! [`ParameterTarget`], which makes it a [`ChannelHandler`], and reads messages by [`ParameterChange`];
//! [`serve`](fn@super::serve) and the server of this repository both do. `docs/parameter-channel.md` describes the
//! messages for writers of clients.

mod change;
#[cfg(test)]
mod change_tests;
mod join;
mod message;
mod steps;
mod style_image;

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::broadcast;

pub use self::change::{InputMode, ParameterChange};
use self::join::join;
pub(super) use self::message::is_parameter;
pub use self::steps::Steps;
pub use self::style_image::{drop_known_digest, hide_style_image};
use super::{ChannelHandler, Pacing};
use crate::error::{Error, Violation};
use crate::params::{Cost, Notice};

/// The target of a data channel's messages, such as a session.
pub trait ParameterTarget: Send + Sync + fmt::Debug {
    /// Applies the changes in `message`: all of them or none. Called on a network task: must not wait for long.
    ///
    /// # Errors
    ///
    /// The reason why nothing has changed, with all values at fault.
    fn apply(&self, message: &Map<String, Value>) -> Result<AppliedParameters, ParameterError>;

    /// Returns how long `message` must wait from `now` on, because its changes are expensive; zero for not at all. A
    /// message that must not wait counts as applied.
    fn wait(&self, message: &Map<String, Value>, now: Instant) -> Duration;

    /// Merges `newer` into the message that waits, so that it has the effect of both in order. The default does so for the
    /// keys of [`ParameterChange`].
    fn join(&self, waiting: &mut Map<String, Value>, newer: Map<String, Value>) {
        join(waiting, newer);
    }

    /// Returns the notices for a client that connects now: [`ParameterMessage`]s as JSON.
    fn notices(&self) -> broadcast::Receiver<String>;
}

/// A message to a client. Serialized with its name in snake case as `type`, such as `parameters_applied`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ParameterMessage {
    /// The answer to a message that was applied.
    ParametersApplied(AppliedParameters),
    /// The answer to a message that changed nothing; or, as a notice, a failure of the stream.
    Error(ParameterError),
    /// A notice: an update that was accepted failed later, such as a model that could not be loaded. Its changes were taken
    /// back, and a notice with the parameters follows.
    UpdateFailed(ParameterError),
    /// A notice while models are loaded.
    LoadingProgress {
        /// How much is loaded, from 0 to 100; 100 once pictures are made with it.
        percent: u8,
    },
    /// A notice after a change.
    ParametersUpdated {
        /// Parameters with their values now: at least those that changed. A style image that is not a web address is
        /// replaced by its digest ([`hide_style_image`]).
        parameters: Map<String, Value>,
        /// The version of the session's parameters, where the server knows it.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
    },
    /// A notice: no further picture will be made, unless something changes.
    StreamStopped {
        /// The reason, unless the stream was ended on request.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_message: Option<String>,
    },
}

/// The effect of a message.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AppliedParameters {
    /// The parameters named in the message, with their values now.
    pub parameters: Map<String, Value>,
    /// Keys of the message without a meaning here.
    pub ignored: Vec<String>,
    /// The version of the session's parameters that has the change, where the server knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The highest cost of the changes, where the server knows it and anything changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Values that were accepted with another meaning, and parameters that changed along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
}

/// The reason why a message was refused.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ParameterError {
    /// The reason, for a person.
    pub error: String,
    /// Every value at fault.
    pub fields: Vec<InvalidField>,
}

/// A value at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidField {
    /// The path of the value, such as `controlnets[1].conditioning_scale`.
    pub path: String,
    /// The reason.
    pub reason: String,
}

impl ParameterMessage {
    /// Returns the message as JSON.
    pub fn to_json(&self) -> String {
        // Text and numbers with names can always be represented in JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl ParameterError {
    /// Creates an error without a value at fault.
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), fields: Vec::new() }
    }
}

impl From<&Error> for ParameterError {
    fn from(error: &Error) -> Self {
        let field =
            |Violation { path, message }: &Violation| InvalidField { path: path.clone(), reason: message.clone() };
        Self { error: error.to_string(), fields: error.violations().iter().map(field).collect() }
    }
}

impl<T: ParameterTarget> ChannelHandler for T {
    fn message(&self, text: &str) -> Vec<String> {
        let result = serde_json::from_str::<Map<String, Value>>(text).map_err(|error| {
            let reason = format!("invalid JSON object: {error}");
            ParameterError {
                error: format!("message: {reason}"),
                fields: vec![InvalidField { path: "message".into(), reason }],
            }
        });
        let answer = match result.and_then(|message| self.apply(&message)) {
            Ok(applied) => ParameterMessage::ParametersApplied(applied),
            Err(error) => {
                tracing::debug!(error = error.error, "a message of a data channel was refused");
                ParameterMessage::Error(error)
            }
        };
        vec![answer.to_json()]
    }

    fn notices(&self) -> Option<broadcast::Receiver<String>> {
        Some(ParameterTarget::notices(self))
    }

    fn pacing(&self) -> Option<&dyn Pacing> {
        Some(self)
    }
}

impl<T: ParameterTarget> Pacing for T {
    fn wait(&self, message: &Map<String, Value>, now: Instant) -> Duration {
        ParameterTarget::wait(self, message, now)
    }

    fn join(&self, waiting: &mut Map<String, Value>, newer: Map<String, Value>) {
        ParameterTarget::join(self, waiting, newer);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(message: &ParameterMessage) -> Value {
        serde_json::from_str(&message.to_json()).unwrap()
    }

    #[test]
    fn messages_have_the_names_that_clients_read() {
        let parameters = Map::from_iter([("delta".to_owned(), json!(0.5))]);
        let applied = AppliedParameters {
            parameters: parameters.clone(),
            ignored: vec!["odd".into()],
            ..AppliedParameters::default()
        };
        let with_version = AppliedParameters { version: Some(7), cost: Some(Cost::Hot), ..applied.clone() };
        let (type_applied, updated) = ("parameters_applied", "parameters_updated");
        for (message, expected) in [
            (
                ParameterMessage::ParametersApplied(applied),
                json!({"type": type_applied, "parameters": {"delta": 0.5}, "ignored": ["odd"]}),
            ),
            (
                ParameterMessage::ParametersApplied(with_version),
                json!({
                    "type": type_applied, "parameters": {"delta": 0.5}, "ignored": ["odd"], "version": 7, "cost": "hot",
                }),
            ),
            (
                ParameterMessage::ParametersUpdated { parameters, version: None },
                json!({"type": updated, "parameters": {"delta": 0.5}}),
            ),
            (
                ParameterMessage::Error(ParameterError::new("too large")),
                json!({"type": "error", "error": "too large", "fields": []}),
            ),
            (
                ParameterMessage::UpdateFailed(ParameterError::new("no such model")),
                json!({"type": "update_failed", "error": "no such model", "fields": []}),
            ),
            (ParameterMessage::LoadingProgress { percent: 42 }, json!({"type": "loading_progress", "percent": 42})),
            (ParameterMessage::StreamStopped { error_message: None }, json!({"type": "stream_stopped"})),
            (
                ParameterMessage::StreamStopped { error_message: Some("gone".into()) },
                json!({"type": "stream_stopped", "error_message": "gone"}),
            ),
        ] {
            assert_eq!(value(&message), expected);
        }
    }

    #[test]
    fn an_error_names_every_value_at_fault() {
        let violation = |path: &str| Violation { path: path.into(), message: "got -1".into() };
        let error = Error::invalid_params(vec![violation("delta"), violation("controlnets[0].scale")]);
        let message = value(&ParameterMessage::Error(ParameterError::from(&error)));
        assert_eq!(message["fields"][1], json!({"path": "controlnets[0].scale", "reason": "got -1"}));
        assert_eq!(message["error"], "delta: got -1; controlnets[0].scale: got -1");
    }
}

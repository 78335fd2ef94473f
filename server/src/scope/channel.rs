//! The data channel `parameters` of a stream: the library's protocol, whose messages `ParameterChange` reads.
//!
//! It is the same for Scope's sessions and for WHIP and WHEP.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dreamframe::transport::parameters::{
    AppliedParameters, InputMode, InvalidField, ParameterChange, ParameterError, ParameterMessage, ParameterTarget,
    Steps,
};
use dreamframe::{StreamDiffusionParams, Transition};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::error::{ApiError, ApiResult};

/// The target of messages: a stream.
pub(crate) trait ControlledStream: Send + Sync + fmt::Debug {
    /// Returns the desired parameters.
    fn params(&self) -> StreamDiffusionParams;

    /// Changes parameters by the rules of `PATCH /v1/streams/{id}`, and returns them.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault, and nothing has changed.
    fn update(&self, values: Map<String, Value>) -> ApiResult<StreamDiffusionParams>;

    /// Changes the prompt gradually.
    ///
    /// # Errors
    ///
    /// Those of `SessionHandle::transition`.
    fn transition(&self, transition: &Transition) -> ApiResult<()>;

    /// Returns how long a change of `values` must wait at `now` because it is expensive; zero counts it as made.
    fn rebuild_wait(&self, values: &Map<String, Value>, now: Instant) -> Duration;

    /// Pauses or continues pictures.
    fn set_paused(&self, paused: bool);

    /// Selects the source of frames; no effect if they always come from a publisher.
    fn set_input(&self, _mode: InputMode) {}

    /// The notices for a client that connects now: [`ParameterMessage`]s as JSON.
    fn notices(&self) -> broadcast::Receiver<String>;
}

/// Handles the messages of one data channel.
#[derive(Debug)]
pub(crate) struct Parameters {
    target: Arc<dyn ControlledStream>,
    history: Mutex<History>,
}

/// What a client has sent so far.
#[derive(Debug, Default)]
struct History {
    steps: Steps,
    /// Every known key, with the value sent last.
    keys: Map<String, Value>,
}

/// The result of a message.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Applied {
    /// The current values of the parameters in the message.
    pub(crate) values: Map<String, Value>,
    /// The known keys of the message, as they were sent.
    pub(crate) sent: Map<String, Value>,
    /// Its unknown keys.
    pub(crate) ignored: Vec<String>,
}

impl Parameters {
    /// Creates the handler of a channel that changes `target`.
    pub(crate) fn new(target: Arc<dyn ControlledStream>) -> Self {
        Self { target, history: Mutex::default() }
    }

    /// Applies `message`.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault; then nothing of it is done.
    pub(crate) fn change(&self, message: &Map<String, Value>) -> ApiResult<Applied> {
        // Held throughout, so that concurrent messages are applied one after the other.
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let params = self.target.params();
        let change = ParameterChange::read(message, &params, &history.steps)?;
        change.check_transition(&params)?;
        if !change.values.is_empty() {
            self.target.update(change.values.clone())?;
        }
        history.steps.clone_from(&change.steps);
        if let Some(transition) = &change.transition {
            self.target.transition(transition)?;
        }
        if let Some(mode) = change.input_mode {
            self.target.set_input(mode);
        }
        if let Some(paused) = change.paused {
            self.target.set_paused(paused);
        }
        let applied = applied(message, change, &self.target.params());
        history.keys.extend(applied.sent.clone());
        Ok(applied)
    }

    /// Every known key that was sent, with its last value.
    pub(crate) fn history(&self) -> Map<String, Value> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }
}

fn applied(message: &Map<String, Value>, change: ParameterChange, params: &StreamDiffusionParams) -> Applied {
    let values = change.current_values(params);
    let mut sent = message.clone();
    sent.retain(|key, value| !value.is_null() && !change.ignored.contains(key));
    // A transition ends; its target prompt stays.
    if let Some(target) = sent.shift_remove("transition").and_then(|way| way.get("target_prompts").cloned()) {
        sent.insert("prompts".into(), target);
    }
    Applied { values, sent, ignored: change.ignored }
}

impl ParameterTarget for Parameters {
    fn apply(&self, message: &Map<String, Value>) -> Result<AppliedParameters, ParameterError> {
        let Applied { values, ignored, .. } = self.change(message).map_err(ParameterError::from)?;
        Ok(AppliedParameters { parameters: values, ignored, ..AppliedParameters::default() })
    }

    fn wait(&self, message: &Map<String, Value>, now: Instant) -> Duration {
        let steps = self.history.lock().unwrap_or_else(PoisonError::into_inner).steps.clone();
        match ParameterChange::read(message, &self.target.params(), &steps) {
            Ok(change) => self.target.rebuild_wait(&change.values, now),
            // A rejected message has no effect.
            Err(_) => Duration::ZERO,
        }
    }

    fn notices(&self) -> broadcast::Receiver<String> {
        self.target.notices()
    }
}

impl From<ApiError> for ParameterError {
    fn from(error: ApiError) -> Self {
        let fields = error.details().get("fields").and_then(Value::as_array).into_iter().flatten();
        let text = |field: &Value, key: &str| field.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let fields = fields.map(|field| InvalidField { path: text(field, "path"), reason: text(field, "reason") });
        Self { error: error.message().to_owned(), fields: fields.collect() }
    }
}

/// The notice of a change made elsewhere.
pub(crate) fn parameters_updated(parameters: Map<String, Value>) -> ParameterMessage {
    ParameterMessage::ParametersUpdated { parameters, version: None }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use dreamframe::transport::{ChannelHandler as _, SessionChannel};
    use dreamframe::{Engine, ParamsPatch, SessionOptions};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A stream that only records its calls.
    #[derive(Debug)]
    struct Fake {
        params: Mutex<StreamDiffusionParams>,
        transition: Mutex<Option<Transition>>,
        paused: AtomicBool,
        notices: broadcast::Sender<String>,
    }

    impl ControlledStream for Fake {
        fn params(&self) -> StreamDiffusionParams {
            self.params.lock().unwrap().clone()
        }

        fn update(&self, values: Map<String, Value>) -> ApiResult<StreamDiffusionParams> {
            let merged = ParamsPatch::from_value(values.into())?.merge(&self.params())?.0;
            *self.params.lock().unwrap() = merged.clone();
            Ok(merged)
        }

        fn transition(&self, transition: &Transition) -> ApiResult<()> {
            self.params.lock().unwrap().prompt = transition.target_prompts.clone();
            *self.transition.lock().unwrap() = Some(transition.clone());
            Ok(())
        }

        fn rebuild_wait(&self, _: &Map<String, Value>, _: Instant) -> Duration {
            Duration::ZERO
        }

        fn set_paused(&self, paused: bool) {
            self.paused.store(paused, Ordering::Relaxed);
        }

        fn notices(&self) -> broadcast::Receiver<String> {
            self.notices.subscribe()
        }
    }

    fn channel() -> (Arc<Fake>, Parameters) {
        let fake = Arc::new(Fake {
            params: Mutex::new(StreamDiffusionParams::demo()),
            transition: Mutex::default(),
            paused: AtomicBool::default(),
            notices: broadcast::Sender::new(4),
        });
        (fake.clone(), Parameters::new(fake))
    }

    fn say(channel: &Parameters, message: impl fmt::Display) -> Value {
        let answers = channel.message(&message.to_string());
        assert_eq!(answers.len(), 1);
        serde_json::from_str(&answers[0]).unwrap()
    }

    #[test]
    fn both_dialects_are_applied_and_answered_with_current_values() {
        let (fake, channel) = channel();
        let scope = json!({
            "prompts": [{ "text": "ink", "weight": 1.0 }], "denoising_step_list": [800, 500], "paused": true, "vace_enabled": 1
        });
        let answer = say(&channel, scope);
        assert_eq!(answer["type"], "parameters_applied");
        let parameters = json!({ "prompt": [["ink", 1.0]], "t_index_list": [10, 25], "paused": true });
        assert_eq!(answer["parameters"], parameters);
        assert_eq!(answer["ignored"], json!(["vace_enabled"]));
        assert!(fake.paused.load(Ordering::Relaxed));
        let answer =
            say(&channel, json!({ "pipeline": "streamdiffusion", "params": { "prompt": "snow", "delta": 0.5 } }));
        assert_eq!(answer["parameters"], json!({ "prompt": "snow", "delta": 0.5 }));
        assert_eq!((fake.params().prompt, fake.params().delta), ("snow".into(), 0.5));
    }

    #[test]
    fn a_transition_takes_the_place_of_prompts() {
        let (fake, channel) = channel();
        let message = json!({
            "prompts": [{ "text": "harbour" }],
            "transition": { "target_prompts": [{ "text": "neon" }], "num_steps": 24,
                            "temporal_interpolation_method": "slerp" },
            "noise_scale": 0.5
        });
        assert_eq!(say(&channel, message)["parameters"]["prompt"], json!([["neon", 1.0]]));
        let transition = fake.transition.lock().unwrap().clone().unwrap();
        assert_eq!((transition.num_steps, transition.target_prompts.len()), (24, 1));
        assert_eq!(fake.params().t_index_list[0], 25);
    }

    #[test]
    fn invalid_message_changes_nothing_and_reports_its_paths() {
        let (fake, channel) = channel();
        let before = fake.params();
        for (message, path) in [
            (json!({ "delta": 0.1, "noise_scale": 2 }), "noise_scale"),
            (json!({ "delta": 0.1, "guidance_scale": -1 }), "guidance_scale"),
            (json!({ "delta": 0.1, "prompts": [{ "weight": 1 }] }), "prompts[0].text"),
            (json!({ "delta": 0.1, "transition": { "num_steps": -1 } }), "transition.target_prompts"),
            (json!({ "delta": 0.1, "transition": { "target_prompts": [{ "text": "a", "weight": 0 }] } }), "prompt"),
            (json!({ "paused": true, "denoising_step_list": [100, 200] }), "denoising_step_list"),
        ] {
            let answer = say(&channel, &message);
            assert_eq!(answer["type"], "error", "{message}");
            let fields = answer["fields"].as_array().unwrap();
            assert!(fields.iter().any(|field| field["path"] == path), "{message}: {answer}");
            assert_eq!(fake.params(), before);
            assert!(!fake.paused.load(Ordering::Relaxed));
        }
        for text in ["", "[]", "{", "null", "{\"delta\": 1e999}"] {
            assert_eq!(say(&channel, text)["type"], "error");
        }
    }

    /// Messages, each for the parameters that the ones before have left.
    fn messages() -> Vec<Value> {
        vec![
            json!({ "prompts": [{ "text": "ink", "weight": 1.0 }, { "text": "snow", "weight": 0.5 }], "paused": true }),
            json!({ "transition": { "target_prompts": [{ "text": "neon" }], "num_steps": 24,
                                    "temporal_interpolation_method": "slerp" }, "prompts": [{ "text": "harbour" }] }),
            json!({ "denoising_step_list": [800, 500], "delta": 0.5 }),
            json!({ "noise_scale": 0.5 }),
            json!({ "noise_scale": 1, "input_mode": "video", "paused": false }),
            json!({ "input_mode": "text" }),
            json!({ "params": { "prompt": "snow", "guidance_scale": 1.5 }, "base_seed": 5, "vace_enabled": true }),
            json!({ "seed": null, "width": null, "delta": null, "prompt_interpolation_method": "linear" }),
            json!({ "transition": { "target_prompts": [{ "text": "dawn", "weight": 2 }] }, "seed": 7 }),
            json!({ "delta": 0.1, "noise_scale": 2 }),
            json!({ "delta": 0.1, "guidance_scale": -1 }),
            json!({ "delta": 0.1, "prompts": [{ "weight": 1 }] }),
            json!({ "delta": 0.1, "transition": { "num_steps": -1 } }),
            json!({ "delta": 0.1, "transition": { "target_prompts": [{ "text": "a", "weight": 0 }] } }),
            json!({ "paused": true, "denoising_step_list": [100, 200] }),
        ]
    }

    #[test]
    fn a_server_in_a_hosts_process_understands_the_same_messages() {
        let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
        let engine = Engine::builder().params(params.clone()).build().unwrap();
        let session = engine.start(SessionOptions::default()).unwrap();
        let inside = SessionChannel::new(session.handle());
        let (fake, channel) = channel();
        *fake.params.lock().unwrap() = params;
        for message in messages() {
            let answer = say(&channel, &message);
            let mut other: Value = serde_json::from_str(&inside.message(&message.to_string())[0]).unwrap();
            // Only a server in a host's process knows these.
            for key in ["version", "cost", "notices"] {
                other.as_object_mut().unwrap().remove(key);
            }
            assert_eq!(other, answer, "{message}");
            assert_eq!(session.handle().params(), fake.params(), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gets_one_answer(text in ".*") {
            prop_assert_eq!(channel().1.message(&text).len(), 1);
        }
    }
}

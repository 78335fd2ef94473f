//! Targets that read text.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dreamframe::params::{ParamsPatch, StreamDiffusionParams};
use dreamframe::transport::ChannelHandler as _;
use dreamframe::transport::parameters::{AppliedParameters, ParameterChange, ParameterError, ParameterTarget, Steps};
use dreamframe::transport::sdp::{Candidate, Description, Fragment};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

/// Any text as parameters and as a patch: it is refused with violations, or what it makes can be written and read
/// again.
pub fn params_json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(patch) = ParamsPatch::from_json(text) else { return };
    let again = ParamsPatch::from_json(&patch.to_json()).expect("a patch that was accepted is accepted again");
    assert_eq!(patch, again);
    let Ok((params, _)) = patch.merge(&StreamDiffusionParams::default()) else { return };
    params.validate().expect("a merge gives valid parameters");
    let (again, _) = StreamDiffusionParams::from_json(&params.to_json()).expect("valid parameters are read again");
    assert_eq!(params, again);
}

/// Any bytes as the body of a request: it is rejected, or the parameters that result are shown.
pub fn request_body(bytes: &[u8]) {
    dreamframe_server::fuzz_api::request_body(bytes);
}

/// Any text as a description, a fragment and a candidate: it is refused, or what it makes keeps its bounds.
pub fn sdp(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(description) = Description::parse(text) {
        for section in description.live() {
            assert!(section.ufrag.is_some() && section.pwd.is_some() && section.fingerprint.is_some());
        }
    }
    if let Ok(fragment) = Fragment::parse(text) {
        for usable in fragment.candidates.iter().filter_map(Candidate::usable) {
            let again = Candidate { text: usable.clone(), ..Candidate::default() };
            assert_eq!(again.usable(), Some(usable), "the one form is stable");
        }
    }
}

/// Any text as an offer, to a side that sends, receives or both: it is refused with a reason, or what is made of it has
/// the sections of the offer, and each line of it is one line.
pub fn sdp_answer(bytes: &[u8]) {
    let Some((&directions, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    dreamframe::transport::peer::fuzz_api::answer(text, directions & 1 != 0, directions & 2 != 0);
}

/// A toy session whose parameters a data channel changes.
#[derive(Debug, Default)]
struct Toy(Mutex<(StreamDiffusionParams, Steps)>);

impl ParameterTarget for Toy {
    fn apply(&self, message: &Map<String, Value>) -> Result<AppliedParameters, ParameterError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let change =
            ParameterChange::read(message, &state.0, &state.1).map_err(|error| ParameterError::from(&error))?;
        change.check_transition(&state.0).map_err(|error| ParameterError::from(&error))?;
        let merged = ParamsPatch::from_value(change.values.clone().into()).and_then(|patch| patch.merge(&state.0));
        let (params, notices) = merged.map_err(|error| ParameterError::from(&error))?;
        let parameters = change.current_values(&params);
        *state = (params, change.steps);
        Ok(AppliedParameters { parameters, ignored: change.ignored, notices, ..AppliedParameters::default() })
    }

    fn wait(&self, _: &Map<String, Value>, _: Instant) -> Duration {
        Duration::ZERO
    }

    fn notices(&self) -> broadcast::Receiver<String> {
        broadcast::Sender::new(1).subscribe()
    }
}

/// Lines of any text as messages of a data channel, in the library's or Scope's form: each has one answer, in JSON; an
/// error changes nothing and has a text, and the parameters stay valid.
pub fn channel_messages(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let toy = Toy::default();
    let params = || toy.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
    for line in text.lines().take(100) {
        let before = params();
        let answers = toy.message(line);
        let [answer] = answers.as_slice() else { panic!("{} answers", answers.len()) };
        let answer: Value = serde_json::from_str(answer).expect("an answer is JSON");
        match answer["type"].as_str() {
            Some("parameters_applied") => params().validate().expect("what is applied is valid"),
            Some("error") => {
                assert_eq!(params(), before, "an error changes nothing");
                assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()));
            }
            other => panic!("an answer of type {other:?}"),
        }
    }
}

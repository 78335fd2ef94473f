//! Messages as changes of a stream: parameters, and the additional keys of Daydream Scope's messages. Pure: independent of
//! streams and sessions.
//!
//! Scope's engine starts at a timestep that follows from `noise_scale`, and continues with `denoising_step_list`. Here
//! both become one `t_index_list` ([`Steps`]): each timestep is rounded to the nearest index of the grid, and
//! `noise_scale` moves the first one to the timestep `1000 * noise_scale`; the others keep their distances in
//! proportion to the rest of the grid. A higher value means more change, and setting it back restores the list.
//!
//! Names of parameters have the same meaning as over HTTP. Other keys are ignored, as Scope's clients expect.

use serde_json::{Map, Value, json};

use super::message::{is_parameter, named_parameters};
use super::steps::Steps;
use crate::conditioning::transition::Transition;
use crate::error::{Error, Result, Violation};
use crate::params::{Interpolation, ParamsPatch, StreamDiffusionParams, TimestepSpacing, Weighted};

/// The meaning of a message: a change of a stream. `docs/parameter-channel.md` and `docs/scope.md` have the keys.
///
/// ```
/// use dreamframe::StreamDiffusionParams;
/// use dreamframe::transport::parameters::{ParameterChange, Steps};
///
/// # fn main() -> dreamframe::Result<()> {
/// let message = serde_json::json!({"prompts": [{"text": "a garden", "weight": 1.0}], "paused": true, "odd": 1});
/// let params = StreamDiffusionParams::demo();
/// let change = ParameterChange::read(message.as_object().unwrap(), &params, &Steps::default())?;
/// assert_eq!(change.values["prompt"], serde_json::json!([["a garden", 1.0]]));
/// assert_eq!((change.paused, change.ignored), (Some(true), vec!["odd".to_owned()]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ParameterChange {
    /// The parameters to change, as in a [`ParamsPatch`].
    pub values: Map<String, Value>,
    /// A transition to another prompt; takes precedence over a prompt.
    pub transition: Option<Transition>,
    /// Whether frames are held back from now on.
    pub paused: Option<bool>,
    /// The source of frames.
    pub input_mode: Option<InputMode>,
    /// The state of the steps, for the next message.
    pub steps: Steps,
    /// Keys without a meaning.
    pub ignored: Vec<String>,
}

/// The source of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputMode {
    /// No frames of a client: pictures are made from the prompt alone.
    Text,
    /// A publisher's video.
    Video,
}

impl InputMode {
    /// Returns the name in messages: `text` or `video`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Video => "video",
        }
    }
}

impl ParameterChange {
    /// Reads a message for a stream that has `params`; `steps` is the state that the message before left.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every known key that has an invalid value; the message is then not applied. Values that are
    /// valid here may still be refused by the parameters' own rules.
    pub fn read(message: &Map<String, Value>, params: &StreamDiffusionParams, steps: &Steps) -> Result<Self> {
        let mut reader = Reader { message, faults: Vec::new() };
        let mut change = Self { steps: steps.clone(), ..Self::default() };
        (change.values, change.ignored) = named_parameters(message);
        drop_absent(&mut change.values);
        change.ignored.retain(|key| !SCOPE.contains(&key.as_str()));
        reader.scope(&mut change);
        reader.steps(&mut change, params);
        if reader.faults.is_empty() { Ok(change) } else { Err(Error::invalid_params(reader.faults)) }
    }

    /// Checks the target of the transition by the rules of the parameters, so that an invalid one is refused before the
    /// rest of its message is applied.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation.
    pub fn check_transition(&self, params: &StreamDiffusionParams) -> Result<()> {
        let Some(transition) = &self.transition else { return Ok(()) };
        ParamsPatch::from_value(json!({ "prompt": transition.target_prompts }))?.merge(params)?;
        Ok(())
    }

    /// Returns what the message named, with its values in `params`, those after the change: the `parameters` of
    /// [`AppliedParameters`](super::AppliedParameters).
    pub fn current_values(&self, params: &StreamDiffusionParams) -> Map<String, Value> {
        let now = params.to_value();
        let prompt = self.transition.is_some().then_some("prompt");
        let names = self.values.keys().map(String::as_str).chain(prompt);
        let mut values: Map<_, _> = names.filter_map(|name| Some((name.to_owned(), now.get(name)?.clone()))).collect();
        values.extend(self.transition.as_ref().map(|transition| ("transition".into(), json!(transition))));
        values.extend(self.input_mode.map(|mode| ("input_mode".into(), mode.name().into())));
        values.extend(self.paused.map(|paused| ("paused".into(), paused.into())));
        values
    }
}

/// The supported keys of Scope.
const SCOPE: [&str; 8] = [
    "prompts",
    "transition",
    "noise_scale",
    "denoising_step_list",
    "denoising_steps",
    "paused",
    "input_mode",
    "base_seed",
];

/// Drops what `null` means to be absent: values of the keys that Scope has too. `null` for any other parameter means its
/// default.
pub(super) fn drop_absent(message: &mut Map<String, Value>) {
    let is_of_scope = |key: &str| SHARED.contains(&key) || !is_parameter(key);
    message.retain(|key, value| !value.is_null() || !is_of_scope(key));
}

/// The parameters with names of Scope.
const SHARED: [&str; 4] = ["prompt_interpolation_method", "seed", "width", "height"];

struct Reader<'a> {
    message: &'a Map<String, Value>,
    faults: Vec<Violation>,
}

impl<'a> Reader<'a> {
    /// Returns the value of `key`; `null` is the same as absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.message.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(Violation::new(path, message));
    }

    /// Parses the value of `key`; `what` describes the expected value.
    fn value<T>(&mut self, key: &str, what: &str, parse: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(key)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.refuse(key, format!("got {}, expected {what}", shown(value)));
        }
        parsed
    }

    fn scope(&mut self, change: &mut ParameterChange) {
        if let Some(prompts) = self.value("prompts", PROMPTS, Value::as_array)
            && let Some(prompts) = self.prompts("prompts", prompts)
        {
            change.values.entry("prompt").or_insert(pairs(&prompts));
        }
        if let Some(transition) = self.value("transition", "an object", Value::as_object) {
            change.transition = self.transition(transition);
            change.values.remove("prompt");
        }
        if let Some(seed) = self.value("base_seed", "a whole number of at least 0", Value::as_u64) {
            change.values.entry("seed").or_insert(seed.into());
        }
        change.paused = self.value("paused", "true or false", Value::as_bool);
        change.input_mode = self.value("input_mode", "\"text\" or \"video\"", |value| match value.as_str() {
            Some("text") => Some(InputMode::Text),
            Some("video") => Some(InputMode::Video),
            _ => None,
        });
    }

    fn steps(&mut self, change: &mut ParameterChange, params: &StreamDiffusionParams) {
        const LIST: &str = "a list of 1 to 4 timesteps from 1 to 1000, each less than the one before";
        let list = self.value("denoising_step_list", LIST, timesteps);
        let list = list.or_else(|| self.value("denoising_steps", LIST, timesteps));
        let noise = self.value("noise_scale", "a number from 0 to 1", |value| {
            value.as_f64().filter(|noise| (0.0..=1.0).contains(noise))
        });
        let own = |name: &str| change.values.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let num_inference_steps = own("num_inference_steps").unwrap_or(params.num_inference_steps);
        // Without frames of a client: all noise, unless the client has set it.
        let alone = change.input_mode == Some(InputMode::Text) && list.is_none() && change.steps == Steps::default();
        let noise = noise.or(alone.then_some(1.0));
        // Without frames of a client: maximum noise, unless the client has set it.
        if change.values.contains_key("t_index_list") || (list.is_none() && noise.is_none()) {
            return;
        }
        let spacing = change
            .values
            .get("timestep_spacing")
            .and_then(Value::as_str)
            .and_then(|name| TimestepSpacing::ALL.iter().copied().find(|spacing| spacing.name() == name));
        let timestep_spacing = spacing.unwrap_or(params.timestep_spacing);
        let changed =
            StreamDiffusionParams { num_inference_steps, timestep_spacing, ..StreamDiffusionParams::default() };
        // Without such a grid, the change is refused later.
        if let Ok(grid) = changed.timesteps() {
            let list = change.steps.apply(list, noise, &params.t_index_list, &grid);
            change.values.insert("t_index_list".into(), list.into());
        }
    }

    /// Parses prompts in Scope's format; `None` if they are invalid.
    fn prompts(&mut self, path: &str, items: &[Value]) -> Option<Vec<(String, f64)>> {
        if items.is_empty() {
            self.refuse(path, format!("got an empty list, expected {PROMPTS}"));
            return None;
        }
        let mut prompts = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let text = item.get("text").and_then(Value::as_str);
            let weight = item.get("weight").filter(|weight| !weight.is_null()).map_or(Some(1.0), Value::as_f64);
            match (text, weight.filter(|weight| *weight >= 0.0)) {
                (Some(text), Some(weight)) => prompts.push((text.to_owned(), weight)),
                (None, _) => self.refuse(&format!("{path}[{i}].text"), "missing, expected text"),
                (_, None) => {
                    let weight = item.get("weight").map(shown).unwrap_or_default();
                    self.refuse(
                        &format!("{path}[{i}].weight"),
                        format!("got {weight}, expected a number of at least 0"),
                    );
                }
            }
        }
        (prompts.len() == items.len()).then_some(prompts)
    }

    fn transition(&mut self, value: &Map<String, Value>) -> Option<Transition> {
        let (faults, mut inner) = (self.faults.len(), Reader { message: value, faults: Vec::new() });
        let targets = inner.value("target_prompts", PROMPTS, Value::as_array);
        if targets.is_none() && inner.faults.is_empty() {
            inner.refuse("target_prompts", format!("missing, expected {PROMPTS}"));
        }
        let targets = targets.and_then(|targets| inner.prompts("target_prompts", targets));
        let steps = inner.value("num_steps", "a whole number of at least 0", |value| {
            let whole =
                value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
            whole.and_then(|steps| u32::try_from(steps).ok())
        });
        let method = inner.value("temporal_interpolation_method", "\"linear\" or \"slerp\"", |value| {
            Interpolation::ALL.iter().copied().find(|method| value.as_str() == Some(method.name()))
        });
        let within = |fault: Violation| Violation::new(format!("transition.{}", fault.path), fault.message);
        self.faults.extend(inner.faults.into_iter().map(within));
        let targets = targets.filter(|_| self.faults.len() == faults)?;
        Some(Transition {
            target_prompts: Weighted::Blend(targets),
            // Scope's own defaults.
            num_steps: steps.unwrap_or(4),
            temporal_interpolation_method: method.unwrap_or(Interpolation::Linear),
        })
    }
}

const PROMPTS: &str = "a list of objects with text and weight";

/// Converts prompts to Daydream's format.
fn pairs(prompts: &[(String, f64)]) -> Value {
    prompts.iter().map(|(text, weight)| Value::from(vec![Value::from(text.as_str()), Value::from(*weight)])).collect()
}

fn timesteps(value: &Value) -> Option<Vec<u32>> {
    let whole =
        |step: &Value| step.as_f64().filter(|n| n.fract() == 0.0 && (1.0..=1000.0).contains(n)).map(|n| n as u32);
    let steps: Vec<u32> = value.as_array()?.iter().map(whole).collect::<Option<_>>()?;
    ((1..=4).contains(&steps.len()) && steps.windows(2).all(|pair| pair[1] < pair[0])).then_some(steps)
}

/// Returns the beginning of a value, for messages.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 48;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

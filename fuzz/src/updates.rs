//! Targets that change parameters many times in a row, and compare the result with a simple model.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe::params::{ParamsPatch, StreamDiffusionParams, diff, join_values, total_cost};
use dreamframe::{Error, ErrorKind};
use serde_json::{Map, Value, json};

/// The values that a parameter may have; none of these depends on another parameter.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Number(f64, f64),
    Whole { least: i64, most: i64, step: i64 },
    Flag,
    Choice(&'static [&'static str]),
    Text { least: usize, most: usize },
}

const SHARE: Rule = Rule::Number(0.0, 1.0);
const SIDE: Rule = Rule::Whole { least: 64, most: 2048, step: 8 };

/// Parameters, with their rules as the documentation states them. A dot separates an object from its field.
const PARAMETERS: [(&str, Rule); 26] = [
    ("prompt", Rule::Text { least: 0, most: 8192 }),
    ("negative_prompt", Rule::Text { least: 0, most: 8192 }),
    ("model_id", Rule::Text { least: 1, most: 512 }),
    ("guidance_scale", Rule::Number(0.0, 100.0)),
    ("delta", Rule::Number(0.0, 10.0)),
    ("cfg_type", Rule::Choice(&["none", "self", "full", "initialize"])),
    ("scheduler", Rule::Choice(&["lcm", "ddim", "tcd"])),
    ("prompt_interpolation_method", Rule::Choice(&["linear", "slerp"])),
    ("width", SIDE),
    ("height", SIDE),
    ("seed", Rule::Whole { least: 0, most: (1 << 53) - 1, step: 1 }),
    ("eta", SHARE),
    ("use_lcm_lora", Rule::Flag),
    ("use_denoising_batch", Rule::Flag),
    ("do_add_noise", Rule::Flag),
    ("skip_diffusion", Rule::Flag),
    ("enable_similar_image_filter", Rule::Flag),
    ("similar_image_filter_threshold", SHARE),
    ("similar_image_filter_max_skip_frame", Rule::Whole { least: 0, most: 100_000, step: 1 }),
    ("ip_adapter.scale", Rule::Number(0.0, 10.0)),
    ("cached_attention.enabled", Rule::Flag),
    ("cached_attention.max_frames", Rule::Whole { least: 1, most: 4, step: 1 }),
    ("cached_attention.interval", Rule::Whole { least: 1, most: 1440, step: 1 }),
    ("cached_attention.feature_similarity_threshold", SHARE),
    ("feature_reuse.interval", Rule::Whole { least: 1, most: 60, step: 1 }),
    ("image_preprocessing.enabled", Rule::Flag),
];

impl Rule {
    /// Returns whether `null`, which means the default, or a value of this rule.
    fn allows(self, value: &Value) -> bool {
        if value.is_null() {
            return true;
        }
        match self {
            Self::Number(least, most) => value.as_f64().is_some_and(|number| (least..=most).contains(&number)),
            Self::Whole { least, most, step } => {
                value.as_i64().is_some_and(|number| (least..=most).contains(&number) && number % step == 0)
            }
            Self::Flag => value.is_boolean(),
            Self::Choice(names) => value.as_str().is_some_and(|name| names.contains(&name)),
            Self::Text { least, most } => {
                value.as_str().is_some_and(|text| (least..=most).contains(&text.chars().count()))
            }
        }
    }

    /// Returns a value that is usually allowed.
    fn value(self, u: &mut Unstructured<'_>) -> Result<Value> {
        let wrong = [json!([[[]]]), json!({"a": {}}), json!("?"), json!(-1), json!(1e300), json!(0.3)];
        Ok(match u.int_in_range(0..=15)? {
            0 => Value::Null,
            1 => u.choose(&wrong)?.clone(),
            _ => match self {
                // Exact in any format of numbers.
                Self::Number(_, most) => json!(f64::from(u.int_in_range(0..=u16::MAX)?) / 65536.0 * most * 1.0625),
                Self::Whole { least, most, step } => json!(u.int_in_range(least / step..=most / step + 1)? * step),
                Self::Flag => json!(bool::arbitrary(u)?),
                Self::Choice(names) => json!(u.choose(names)?),
                Self::Text { .. } => json!(u.arbitrary::<&str>()?),
            },
        })
    }
}

/// A patch, as values by their paths.
#[derive(Debug)]
pub(crate) struct Patch {
    values: BTreeMap<&'static str, (Rule, Value)>,
    /// A name that no parameter has.
    unknown: bool,
}

impl<'a> Arbitrary<'a> for Patch {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut values = BTreeMap::new();
        for _ in 0..u.int_in_range(0..=4)? {
            let (path, rule) = *u.choose(&PARAMETERS)?;
            values.insert(path, (rule, rule.value(u)?));
        }
        Ok(Self { values, unknown: u.ratio(1, 16)? })
    }
}

impl Patch {
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        for (path, (_, value)) in &self.values {
            set(&mut object, path, value.clone());
        }
        if self.unknown {
            object.insert("promtp".to_owned(), json!(1));
        }
        object
    }

    /// Lists the paths whose values are not allowed.
    fn faults(&self) -> impl Iterator<Item = &str> {
        let wrong = self.values.iter().filter(|(_, (rule, value))| !rule.allows(value)).map(|(path, _)| *path);
        wrong.chain(self.unknown.then_some("promtp"))
    }
}

/// Sets the value at `path`, of one or two names.
fn set(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(object.insert(path.to_owned(), value)),
        Some((outer, inner)) => {
            let fields = object.entry(outer).or_insert_with(|| json!({}));
            fields.as_object_mut().expect("an object of parameters").insert(inner.to_owned(), value);
        }
    }
}

fn get<'a>(params: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(params, |value, name| &value[name])
}

/// The parameters that are in use, as the engine knows them and as the model does.
struct State {
    params: StreamDiffusionParams,
    model: Value,
    /// All accepted patches, joined.
    joined: Map<String, Value>,
}

/// Up to 100 patches in a row: one with an error names every error and changes nothing, any other changes exactly its
/// parameters, and all accepted ones joined have the same effect.
pub fn parameter_patches(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let default = StreamDiffusionParams::default();
    let defaults = default.to_value();
    let mut state = State { params: default.clone(), model: defaults.clone(), joined: Map::new() };
    for _ in 0..100 {
        let Ok(patch) = Patch::arbitrary(&mut input) else { break };
        step(&mut state, &patch, &defaults);
        if input.is_empty() {
            break;
        }
    }
    let joined = ParamsPatch::from_value(Value::Object(state.joined)).and_then(|patch| patch.merge(&default));
    assert_eq!(joined.expect("accepted patches are accepted together").0, state.params);
}

fn step(state: &mut State, patch: &Patch, defaults: &Value) {
    let values = patch.to_json();
    let merged = ParamsPatch::from_json(&Value::Object(values.clone()).to_string())
        .and_then(|patch| patch.merge(&state.params).map(|(params, _)| params));
    match merged {
        Ok(params) => {
            assert_eq!(patch.faults().next(), None, "{values:?} is accepted");
            check_difference(&state.params, &params, &values);
            state.params = params;
            for (path, (_, value)) in &patch.values {
                let value = if value.is_null() { get(defaults, path) } else { value };
                set(state.model.as_object_mut().expect("parameters are an object"), path, value.clone());
            }
            join_values(&mut state.joined, values);
        }
        Err(error) => check_faults(&error, patch),
    }
    let params = state.params.to_value();
    assert!(is_same(&params, &state.model), "{params} instead of {}", state.model);
}

fn check_faults(error: &Error, patch: &Patch) {
    assert_eq!(error.kind(), ErrorKind::InvalidParams);
    // Of a list, each item at fault is named.
    let named = error.violations().iter().map(|violation| violation.path.split('[').next().unwrap_or_default());
    let named: BTreeSet<&str> = named.collect();
    assert_eq!(named, patch.faults().collect());
    assert!(error.violations().iter().all(|violation| !violation.message.is_empty()));
}

/// Checks that the difference is of parameters that the patch names, and is itself a patch that makes it.
fn check_difference(old: &StreamDiffusionParams, new: &StreamDiffusionParams, patch: &Map<String, Value>) {
    let changes = diff(old, new);
    assert_eq!(changes.is_empty(), old == new);
    assert_eq!(total_cost(&changes).is_none(), changes.is_empty());
    for change in &changes {
        let name = change.path.split(['.', '[']).next().unwrap_or_default();
        assert!(patch.contains_key(name), "{} is no part of {patch:?}", change.path);
    }
    let between = ParamsPatch::between(old, new).expect("valid parameters have a difference");
    assert_eq!(between.merge(old).expect("a difference can be applied").0, *new);
}

/// Returns whether two values are the same; whole numbers may be integers or not.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(name, value): (&String, &Value)| other.get(name).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

//! Constraints of values, as data: checks, messages, the schema and the documentation derive from them.

use std::fmt;

use serde_json::{Value, json};

use crate::Violation;

/// The path of the whole document in violations.
pub(super) const ROOT: &str = "parameters";

/// The maximum number of values of a prompt or seed.
pub(super) const MAX_BLEND: usize = 16;
/// The constraint of a weight of a prompt or seed.
pub(super) const WEIGHT: Constraint = Constraint::Number { min: 0.0, max: 1000.0 };
/// The maximum number of violations that are reported one by one.
const MAX_VIOLATIONS: usize = 50;
/// The maximum number of parameters of a processor.
pub(super) const MAX_SETTINGS: usize = 32;

/// The values that a parameter may have; its `Display` form continues "must be".
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Constraint {
    /// True or false.
    Flag,
    /// An integer `min..=max`, a multiple of `step`.
    Integer {
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
        /// The number that the value must be a multiple of.
        step: u64,
    },
    /// A finite number `min..=max`.
    Number {
        /// The minimum.
        min: f64,
        /// The maximum.
        max: f64,
    },
    /// Text of `min..=max` characters.
    Text {
        /// The minimum number of characters.
        min: usize,
        /// The maximum number of characters.
        max: usize,
    },
    /// One of these names.
    Choice(&'static [&'static str]),
    /// One value, or 1 to 16 pairs `[value, weight]`.
    Weighted(&'static Constraint),
    /// A list of `min..=max` plain values.
    List {
        /// The minimum number of items.
        min: usize,
        /// The maximum number of items.
        max: usize,
        /// The constraint of each item.
        item: &'static Constraint,
    },
    /// A list of at most `max` objects, whose fields have rows of their own.
    Items {
        /// The maximum number of items.
        max: usize,
        /// The field that identifies items; `None` if their position does.
        key: Option<&'static str>,
    },
    /// Names, each with a value; `null` is the same as none.
    Named {
        /// The maximum number of names.
        max: usize,
        /// The constraint of each value.
        item: &'static Constraint,
    },
    /// The parameters of a processor: names, each with a flag, a number or text.
    Settings,
    /// The inner constraint, or `null`.
    Nullable(&'static Constraint),
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Integer { min, max, step: 1 } => write!(f, "an integer from {min} to {max}"),
            Self::Integer { min, max, step } => write!(f, "an integer from {min} to {max} in steps of {step}"),
            Self::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Text { min: 0, max } => write!(f, "text of at most {max} characters"),
            Self::Text { min, max } => write!(f, "text of {min} to {max} characters"),
            Self::Choice(names) => write!(f, "one of \"{}\"", names.join("\", \"")),
            Self::Weighted(value) => {
                write!(f, "{value}, or a list of 1 to {MAX_BLEND} pairs of it and a weight, {WEIGHT}")
            }
            Self::List { min, max, item } => write!(f, "a list of {min} to {max} items, each {item}"),
            Self::Items { max, .. } => write!(f, "a list of at most {max} objects"),
            Self::Named { max, item } => write!(f, "an object of at most {max} names, each with {item}, or null"),
            Self::Settings => write!(f, "an object of at most {MAX_SETTINGS} names, each with a flag, number or text"),
            Self::Nullable(value) => write!(f, "{value}, or null"),
        }
    }
}

impl Constraint {
    /// Returns the JSON Schema of a plain value; without a type for composed ones.
    pub(super) fn schema(&self) -> Value {
        let mut node = match self {
            Self::Flag => json!({"type": "boolean"}),
            Self::Integer { .. } => json!({"type": "integer"}),
            Self::Number { .. } => json!({"type": "number"}),
            Self::Text { .. } => json!({"type": "string"}),
            Self::Choice(names) => json!({"enum": names}),
            Self::Weighted(_)
            | Self::List { .. }
            | Self::Items { .. }
            | Self::Named { .. }
            | Self::Settings
            | Self::Nullable(_) => json!({}),
        };
        self.write_bounds(&mut node);
        node
    }

    /// Adds the bounds to the JSON Schema node of a type.
    pub(super) fn write_bounds(&self, node: &mut Value) {
        let bounds: &[(&str, Value)] = match *self {
            Self::Flag | Self::Choice(_) => &[],
            Self::Integer { min, max, step: 1 } => &[("minimum", min.into()), ("maximum", max.into())],
            Self::Integer { min, max, step } => {
                &[("minimum", min.into()), ("maximum", max.into()), ("multipleOf", step.into())]
            }
            Self::Number { min, max } => &[("minimum", min.into()), ("maximum", max.into())],
            Self::Text { min, max } => &[("minLength", min.into()), ("maxLength", max.into())],
            Self::Weighted(value) => return write_blend_bounds(value, node),
            Self::List { min, max, item } => {
                if let Some(inner) = node.get_mut("items") {
                    item.write_bounds(inner);
                }
                &[("minItems", min.into()), ("maxItems", max.into())]
            }
            Self::Items { max, .. } => &[("maxItems", max.into())],
            Self::Named { max, item } => {
                if let Some(inner) = node.get_mut("additionalProperties") {
                    item.write_bounds(inner);
                }
                &[("maxProperties", max.into())]
            }
            Self::Settings => {
                let setting = json!({"type": ["boolean", "number", "string"]});
                &[("additionalProperties", setting), ("maxProperties", MAX_SETTINGS.into())]
            }
            Self::Nullable(value) => return value.write_bounds(node),
        };
        if let Value::Object(node) = node {
            node.extend(bounds.iter().map(|(name, bound)| ((*name).to_owned(), bound.clone())));
        }
    }
}

/// Adds the bounds of a [`Weighted`](super::Weighted), whose node is a choice between a value and a list of pairs.
fn write_blend_bounds(value: &Constraint, node: &mut Value) {
    let Some([one, list]) = node.get_mut("anyOf").and_then(Value::as_array_mut).map(Vec::as_mut_slice) else {
        return;
    };
    value.write_bounds(one);
    if let Some([first, weight]) =
        list.pointer_mut("/items/prefixItems").and_then(Value::as_array_mut).map(Vec::as_mut_slice)
    {
        value.write_bounds(first);
        WEIGHT.write_bounds(weight);
    }
    if let Value::Object(list) = list {
        list.insert("minItems".into(), 1.into());
        list.insert("maxItems".into(), MAX_BLEND.into());
    }
}

/// Collects violations.
#[derive(Debug)]
pub(super) struct Checker {
    // The name of `null` in messages: the JSON form of typed values has it for numbers that are not finite.
    null: &'static str,
    violations: Vec<Violation>,
    /// The number of further violations.
    more: usize,
}

impl Checker {
    /// Checks JSON.
    pub(super) fn of_json() -> Self {
        Self { null: "null", violations: Vec::new(), more: 0 }
    }

    /// Checks the JSON form of typed parameters.
    pub(super) fn of_params() -> Self {
        Self { null: "a number that is not finite", violations: Vec::new(), more: 0 }
    }

    /// Adds a violation of the value at `path`; `message` has the value and its bound.
    pub(super) fn refuse(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        self.violations.push(Violation { path: path.into(), message: message.into() });
    }

    /// Returns true if further violations are counted only.
    pub(super) fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    /// Returns the violations; the last one has the number of those that were counted only.
    pub(super) fn finish(mut self) -> Vec<Violation> {
        if self.more > 0 {
            let message = format!("{} more violations", self.more);
            self.violations.push(Violation { path: ROOT.into(), message });
        }
        self.violations
    }

    /// Adds the violation that `value` is not within `constraint`.
    pub(super) fn refuse_value(&mut self, path: &str, value: &Value, constraint: impl fmt::Display) {
        let shown = if value.is_null() { self.null.to_owned() } else { show(value) };
        self.refuse(path, format!("got {shown}, expected {constraint}"));
    }

    /// Checks one value of plain type; lists and named values are checked item by item.
    pub(super) fn check(&mut self, path: &str, constraint: &Constraint, value: &Value) {
        let fits = match (constraint, value) {
            (Constraint::Flag, Value::Bool(_)) => true,
            (Constraint::Integer { min, max, step }, Value::Number(number)) => {
                number.as_u64().is_some_and(|number| (*min..=*max).contains(&number) && number.is_multiple_of(*step))
            }
            (Constraint::Number { min, max }, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            (Constraint::Text { min, max }, Value::String(text)) => (*min..=*max).contains(&text.chars().count()),
            (Constraint::Choice(names), Value::String(text)) => names.contains(&text.as_str()),
            (Constraint::Weighted(constraint), Value::Array(pairs)) => {
                return self.check_blend(path, constraint, pairs, value);
            }
            (Constraint::Weighted(inner), Value::String(_) | Value::Number(_)) => {
                return self.check(path, inner, value);
            }
            (Constraint::List { min, max, item }, Value::Array(items)) => {
                for (i, value) in items.iter().take(*max).enumerate() {
                    self.check(&format!("{path}[{i}]"), item, value);
                }
                (*min..=*max).contains(&items.len())
            }
            (Constraint::Items { max, .. }, Value::Array(items)) => items.len() <= *max,
            (Constraint::Named { max, item }, Value::Object(entries)) => {
                for (name, value) in entries.iter().take(*max) {
                    self.check(&format!("{path}.{name}"), item, value);
                }
                entries.len() <= *max
            }
            (Constraint::Settings, Value::Object(entries)) => {
                for (name, value) in entries.iter().take(MAX_SETTINGS) {
                    if !is_setting(value) {
                        self.refuse_value(&format!("{path}.{name}"), value, "true, false, a number or text");
                    }
                }
                entries.len() <= MAX_SETTINGS
            }
            (Constraint::Named { .. } | Constraint::Nullable(_), Value::Null) => true,
            (Constraint::Nullable(inner), _) => return self.check(path, inner, value),
            _ => false,
        };
        if !fits {
            self.refuse_value(path, value, constraint);
        }
    }

    fn check_blend(&mut self, path: &str, constraint: &Constraint, pairs: &[Value], whole: &Value) {
        if pairs.is_empty() || MAX_BLEND < pairs.len() {
            return self.refuse_value(path, whole, format_args!("a list of 1 to {MAX_BLEND} pairs"));
        }
        for (i, pair) in pairs.iter().enumerate() {
            match pair.as_array().map(Vec::as_slice) {
                Some([value, weight]) => {
                    self.check(&format!("{path}[{i}][0]"), constraint, value);
                    self.check(&format!("{path}[{i}][1]"), &WEIGHT, weight);
                }
                _ => self.refuse_value(&format!("{path}[{i}]"), pair, "a pair of a value and its weight"),
            }
        }
    }
}

/// Returns whether a parameter of a processor may have `value`: a flag, a number or text.
pub(super) fn is_setting(value: &Value) -> bool {
    value.is_boolean() || value.is_number() || value.is_string()
}

/// Formats a value for a message, shortened if it is long.
pub(super) fn show(value: &Value) -> String {
    const LONGEST: usize = 48;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let mut head: String = text.chars().take(LONGEST).collect();
            if head.len() < text.len() {
                head.push('…');
            }
            Value::String(head).to_string()
        }
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(entries) => format!("an object of {}", entries.len()),
    }
}

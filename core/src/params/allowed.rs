//! What a value may be, as data: one description from which checks, messages, the schema and the table are made.

use std::fmt;

use serde_json::{Value, json};

use crate::Violation;

/// How a violation calls the whole document.
pub(super) const ROOT: &str = "parameters";

/// How many values one prompt or seed list may hold.
pub(super) const MAX_BLEND: usize = 16;
/// What a weight in such a list may be.
pub(super) const WEIGHT: Allowed = Allowed::Number { min: 0.0, max: 1000.0 };
/// How many faults are told one by one.
const MAX_VIOLATIONS: usize = 50;
/// How many parameters a processor may be given.
pub(super) const MAX_SETTINGS: usize = 32;

/// Describes the values that a parameter may have; its `Display` form reads after "must be".
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Allowed {
    /// True or false.
    Flag,
    /// A whole number `min..=max`, a multiple of `step`.
    Integer {
        /// The least value.
        min: u64,
        /// The greatest value.
        max: u64,
        /// What the value must be a multiple of.
        step: u64,
    },
    /// A finite number `min..=max`.
    Number {
        /// The least value.
        min: f64,
        /// The greatest value.
        max: f64,
    },
    /// Text of `min..=max` characters.
    Text {
        /// The least number of characters.
        min: usize,
        /// The greatest number of characters.
        max: usize,
    },
    /// One of these names.
    Choice(&'static [&'static str]),
    /// One value, or 1 to 16 pairs `[value, weight]`.
    Weighted(&'static Allowed),
    /// A list of `min..=max` plain values.
    List {
        /// The least number of items.
        min: usize,
        /// The greatest number of items.
        max: usize,
        /// What each item may be.
        item: &'static Allowed,
    },
    /// A list of at most `max` objects, whose fields have rows of their own.
    Items {
        /// The greatest number of items.
        max: usize,
        /// The field by which items are told apart; without one it is their place in the list.
        key: Option<&'static str>,
    },
    /// Names, each with a value; `null` is the same as none.
    Named {
        /// The greatest number of names.
        max: usize,
        /// What each value may be.
        item: &'static Allowed,
    },
    /// The parameters of a processor: names, each with a flag, a number or text.
    Settings,
    /// As the inner description, or `null`.
    Nullable(&'static Allowed),
}

impl fmt::Display for Allowed {
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

impl Allowed {
    /// Returns the JSON Schema of a plain value; what is made of others has none of its own.
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

    /// Writes the bounds into the JSON Schema node of a type, beside the types that it has already.
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
            Self::Settings => &[("maxProperties", MAX_SETTINGS.into())],
            Self::Nullable(value) => return value.write_bounds(node),
        };
        if let Value::Object(node) = node {
            node.extend(bounds.iter().map(|(name, bound)| ((*name).to_owned(), bound.clone())));
        }
    }
}

/// Writes the bounds of a [`Weighted`](super::Weighted): its node is a choice between a value and a list of pairs.
fn write_blend_bounds(value: &Allowed, node: &mut Value) {
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

/// Collects what is wrong with values.
#[derive(Debug)]
pub(super) struct Checker {
    // What a `null` is called: plain data that was written as JSON has it where a number was not finite.
    null: &'static str,
    violations: Vec<Violation>,
    /// How many there are beside those.
    more: usize,
}

impl Checker {
    /// Checks JSON that someone wrote.
    pub(super) fn of_json() -> Self {
        Self { null: "null", violations: Vec::new(), more: 0 }
    }

    /// Checks the JSON form of typed parameters.
    pub(super) fn of_params() -> Self {
        Self { null: "not a finite number", violations: Vec::new(), more: 0 }
    }

    /// Notes that the value at `path` breaks a rule; `message` reads after the path.
    pub(super) fn refuse(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        self.violations.push(Violation { path: path.into(), message: message.into() });
    }

    /// Whether what is noted from now on is only counted.
    pub(super) fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    /// Returns what was noted, and at the end how much was only counted.
    pub(super) fn finish(mut self) -> Vec<Violation> {
        if self.more > 0 {
            let message = format!("have {} more faults", self.more);
            self.violations.push(Violation { path: ROOT.into(), message });
        }
        self.violations
    }

    /// Notes that `value` is not what `allowed` says.
    pub(super) fn refuse_value(&mut self, path: &str, value: &Value, allowed: impl fmt::Display) {
        let shown = if value.is_null() { self.null.to_owned() } else { show(value) };
        self.refuse(path, format!("is {shown}, but must be {allowed}"));
    }

    /// Checks one value of plain type; lists and named values are checked item by item.
    pub(super) fn check(&mut self, path: &str, allowed: &Allowed, value: &Value) {
        let fits = match (allowed, value) {
            (Allowed::Flag, Value::Bool(_)) => true,
            (Allowed::Integer { min, max, step }, Value::Number(number)) => {
                number.as_u64().is_some_and(|number| (*min..=*max).contains(&number) && number.is_multiple_of(*step))
            }
            (Allowed::Number { min, max }, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            (Allowed::Text { min, max }, Value::String(text)) => (*min..=*max).contains(&text.chars().count()),
            (Allowed::Choice(names), Value::String(text)) => names.contains(&text.as_str()),
            (Allowed::Weighted(allowed), Value::Array(pairs)) => return self.check_blend(path, allowed, pairs, value),
            (Allowed::Weighted(inner), Value::String(_) | Value::Number(_)) => return self.check(path, inner, value),
            (Allowed::List { min, max, item }, Value::Array(items)) => {
                for (i, value) in items.iter().take(*max).enumerate() {
                    self.check(&format!("{path}[{i}]"), item, value);
                }
                (*min..=*max).contains(&items.len())
            }
            (Allowed::Items { max, .. }, Value::Array(items)) => items.len() <= *max,
            (Allowed::Named { max, item }, Value::Object(entries)) => {
                for (name, value) in entries.iter().take(*max) {
                    self.check(&format!("{path}.{name}"), item, value);
                }
                entries.len() <= *max
            }
            (Allowed::Settings, Value::Object(entries)) => {
                for (name, value) in entries.iter().take(MAX_SETTINGS) {
                    if value.is_array() || value.is_object() {
                        self.refuse_value(&format!("{path}.{name}"), value, "true, false, a number or text");
                    }
                }
                entries.len() <= MAX_SETTINGS
            }
            (Allowed::Named { .. } | Allowed::Nullable(_), Value::Null) => true,
            (Allowed::Nullable(inner), _) => return self.check(path, inner, value),
            _ => false,
        };
        if !fits {
            self.refuse_value(path, value, allowed);
        }
    }

    fn check_blend(&mut self, path: &str, allowed: &Allowed, pairs: &[Value], whole: &Value) {
        if pairs.is_empty() || MAX_BLEND < pairs.len() {
            return self.refuse_value(path, whole, format_args!("a list of 1 to {MAX_BLEND} pairs"));
        }
        for (i, pair) in pairs.iter().enumerate() {
            match pair.as_array().map(Vec::as_slice) {
                Some([value, weight]) => {
                    self.check(&format!("{path}[{i}][0]"), allowed, value);
                    self.check(&format!("{path}[{i}][1]"), &WEIGHT, weight);
                }
                _ => self.refuse_value(&format!("{path}[{i}]"), pair, "a pair of a value and its weight"),
            }
        }
    }
}

/// Writes a value for a message: whole if it is short.
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

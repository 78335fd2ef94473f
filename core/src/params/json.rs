//! Strict reading of JSON: limited size and depth, no duplicate names, errors with the path.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::constraint::ROOT;
use crate::{Error, Result, Violation};

/// The maximum length of JSON, in bytes: enough for the largest style image as a data URL, and all else.
pub const MAX_BYTES: usize = 16 << 20;

/// The maximum nesting of lists and objects; the parameters need five levels.
const MAX_DEPTH: usize = 8;

/// The maximum number of values of a document, nested ones included. Each takes about 72 bytes of memory; the
/// parameters have a few thousand at most.
const MAX_VALUES: usize = 100_000;

/// The maximum length of a name in a path, in characters.
const SHOWN_NAME: usize = 64;

/// Reads one JSON object.
///
/// # Errors
///
/// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) for text that is too long, not JSON, not an object,
/// nested too deeply, or has a name twice; the violation has the path at which reading stopped.
pub(super) fn read_object(text: &str) -> Result<Map<String, Value>> {
    read(text, MAX_BYTES)
}

/// Reads a JSON object of at most `max` bytes by the rules of parameters: at most 100,000 values, bounded depth, and no
/// name twice in an object.
///
/// # Errors
///
/// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) for a document that breaks a rule; the violation's
/// path is the place where reading stopped.
pub fn read_json_object(text: &str, max: usize) -> Result<Map<String, Value>> {
    read(text, max)
}

fn read(text: &str, max: usize) -> Result<Map<String, Value>> {
    if max < text.len() {
        return Err(refusal(ROOT, format!("got {} bytes, expected at most {max}", text.len())));
    }
    let (place, left) = (RefCell::new(Vec::new()), Cell::new(MAX_VALUES));
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Reader { place: &place, left: &left, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match read {
        Ok(value) => object(value),
        Err(error) => Err(refusal(&path(&place.borrow()), format!("invalid JSON: {error}"))),
    }
}

/// Returns the object of a JSON value.
pub(super) fn object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(refusal(ROOT, format!("got {}, expected an object", super::constraint::show(&value))))
        }
    }
}

/// Returns the error of one violation.
pub(super) fn refusal(path: &str, message: impl Into<String>) -> Error {
    Error::invalid_params(vec![Violation { path: path.into(), message: message.into() }])
}

/// A segment of a path.
enum Step {
    Name(String),
    Index(usize),
}

fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        // Writing to a `String` cannot fail.
        let _ = match step {
            Step::Name(name) if path.is_empty() => write!(path, "{name:.SHOWN_NAME$}"),
            Step::Name(name) => write!(path, ".{name:.SHOWN_NAME$}"),
            Step::Index(index) => write!(path, "[{index}]"),
        };
    }
    if path.is_empty() { ROOT.into() } else { path }
}

/// Reads a value; `place` is the path that was reached.
#[derive(Clone, Copy)]
struct Reader<'a> {
    place: &'a RefCell<Vec<Step>>,
    /// The number of values that may follow.
    left: &'a Cell<usize>,
    depth: usize,
}

impl Reader<'_> {
    /// Returns the reader of the items of a list or an object.
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        if MAX_DEPTH <= self.depth {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("more than {MAX_VALUES} values")));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut items = Vec::new();
        loop {
            self.place.borrow_mut().push(Step::Index(items.len()));
            let item = seq.next_element_seed(inside)?;
            self.place.borrow_mut().pop();
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            self.place.borrow_mut().push(Step::Name(name.clone()));
            if object.contains_key(&name) {
                return Err(A::Error::custom("duplicate name"));
            }
            let value = map.next_value_seed(inside)?;
            self.place.borrow_mut().pop();
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Violation {
        read_object(text).unwrap_err().violations()[0].clone()
    }

    #[test]
    fn an_error_has_the_path_at_which_reading_stopped() {
        assert_eq!(refused(r#"{"a": [1, {"b": 1e999}]}"#).path, "a[1].b");
        assert_eq!(refused(r#"{"a": {"b": 1, "b": 1}}"#).path, "a.b");
        assert_eq!(refused("[1]").message, "got a list of 1, expected an object");
        assert_eq!(refused("{} {}").path, "parameters");
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(read_object(&nested(MAX_DEPTH)).is_ok());
        assert!(refused(&nested(MAX_DEPTH + 2)).message.contains("nested deeper than 8 levels"));
        assert!(refused(&"[".repeat(1 << 20)).message.contains("nested deeper"));
    }

    #[test]
    fn the_number_of_values_is_limited() {
        let wide = |count: usize| format!("{{\"a\": [0{}]}}", ",0".repeat(count - 3));
        assert!(read_object(&wide(MAX_VALUES)).is_ok());
        assert!(refused(&wide(MAX_VALUES + 1)).message.contains("more than 100000 values"));
        let names: Vec<String> = (0..MAX_VALUES).map(|at| format!("\"{at}\": {{}}")).collect();
        assert!(refused(&format!("{{{}}}", names.join(","))).message.contains("more than 100000 values"));
    }

    #[test]
    fn long_names_are_shortened_in_paths() {
        let text = format!("{{\"{}\": 1e999}}", "x".repeat(1 << 20));
        assert_eq!(refused(&text).path, "x".repeat(SHOWN_NAME));
    }

    #[test]
    fn text_above_the_size_limit_is_not_parsed() {
        let text = " ".repeat(MAX_BYTES + 1);
        assert!(refused(&text).message.contains("expected at most 16777216"));
    }

    #[test]
    fn numbers_keep_their_precision() {
        let read = read_object(r#"{"a": 0.30000000000000004, "b": 5e-324, "c": 9007199254740991}"#).unwrap();
        assert_eq!(read["a"].as_f64(), Some(0.1 + 0.2));
        assert_eq!(read["b"].as_f64(), Some(5e-324));
        assert_eq!(read["c"].as_u64(), Some((1 << 53) - 1));
    }
}

//! Reading of a `config.json`: values or defaults within bounds, errors that name field, value and bound.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// The fields of one component's config. Unknown fields are ignored, `null` is as good as absent: the same file serves
/// every version of the libraries that wrote it.
#[derive(Debug)]
pub(super) struct Reader {
    component: &'static str,
    fields: Map<String, Value>,
}

impl Reader {
    /// Parses `text`, the config of `component`.
    pub(super) fn new(component: &'static str, text: &str) -> Result<Self> {
        let bad = |what: &str| Error::new(ErrorKind::BadModel, format!("{component} config: {what}"));
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self { component, fields }),
            Ok(_) => Err(bad("expected a JSON object")),
            Err(error) => Err(bad("invalid JSON").with_source(error)),
        }
    }

    /// Returns the value of `field`, unless absent or `null`.
    pub(super) fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Returns true if `field` is present, including `null`.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Returns the error of a `field` whose value is not the `expected` one.
    pub(super) fn bad(&self, field: &str, expected: impl std::fmt::Display) -> Error {
        match self.fields.get(field) {
            Some(value) => self.bad_value(field, value, expected),
            None => {
                let text = format!("{field} of the {} config: missing, expected {expected}", self.component);
                Error::new(ErrorKind::BadModel, text)
            }
        }
    }

    fn bad_value(&self, field: &str, value: &Value, expected: impl std::fmt::Display) -> Error {
        let text = format!("{field} of the {} config: got {}, expected {expected}", self.component, shown(value));
        Error::new(ErrorKind::BadModel, text)
    }

    /// Returns the error of a `field` whose value is fine elsewhere but not built here.
    pub(super) fn unsupported(&self, field: &str) -> Error {
        let value = shown(self.fields.get(field).unwrap_or(&Value::Null));
        Error::new(
            ErrorKind::Unsupported,
            format!("{field} of the {} config: got {value}, which is not supported", self.component),
        )
    }

    /// Refuses a `field` that has any value but those `allowed`; absent is fine.
    pub(super) fn only(&self, field: &str, allowed: &[Value]) -> Result<()> {
        let same = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        };
        match self.value(field) {
            Some(value) if !allowed.iter().any(|allowed| same(value, allowed)) => Err(self.unsupported(field)),
            _ => Ok(()),
        }
    }

    fn to_size(&self, field: &str, value: &Value, range: &RangeInclusive<usize>) -> Result<usize> {
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| range.contains(size)).ok_or_else(|| {
            let rule = format!("a whole number from {} to {}", range.start(), range.end());
            self.bad_value(field, value, rule)
        })
    }

    /// Returns a whole number in `range`, if there is one.
    pub(super) fn optional_size(&self, field: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        self.value(field).map(|value| self.to_size(field, value, &range)).transpose()
    }

    /// Returns a whole number in `range`.
    pub(super) fn size(&self, field: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize> {
        Ok(self.optional_size(field, range)?.unwrap_or(default))
    }

    /// Returns a list of `lengths` whole numbers, each in `range`.
    pub(super) fn list(
        &self,
        field: &str,
        default: &[usize],
        lengths: RangeInclusive<usize>,
        range: RangeInclusive<usize>,
    ) -> Result<Vec<usize>> {
        let Some(value) = self.value(field) else { return Ok(default.to_vec()) };
        let items = value.as_array().filter(|items| lengths.contains(&items.len()));
        let items = items.ok_or_else(|| {
            let count = if lengths.start() == lengths.end() {
                lengths.start().to_string()
            } else {
                format!("{} to {}", lengths.start(), lengths.end())
            };
            self.bad(field, format!("a list of {count} numbers"))
        })?;
        items.iter().map(|item| self.to_size(field, item, &range)).collect()
    }

    /// One whole number for all of `count`, or a list of `count`.
    pub(super) fn sizes(
        &self,
        field: &str,
        default: usize,
        count: usize,
        range: RangeInclusive<usize>,
    ) -> Result<Vec<usize>> {
        match self.value(field) {
            Some(Value::Array(_)) => self.list(field, &[], count..=count, range),
            _ => Ok(vec![self.size(field, default, range)?; count]),
        }
    }

    /// Whole numbers for `count` blocks of `layers[i]` layers each: one for all, one a block, or one a layer.
    pub(super) fn nested_sizes(
        &self,
        field: &str,
        layers: &[usize],
        range: RangeInclusive<usize>,
    ) -> Result<Option<Vec<Vec<usize>>>> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let wrong = |count: usize| self.bad(field, format!("{count} entries at each level"));
        // What `value` holds for each of `count`: its entries, or itself again and again.
        let spread = |value: &Value, count: usize| match value.as_array() {
            Some(items) if items.len() != count => Err(wrong(count)),
            Some(items) => Ok(items.clone()),
            None => Ok(vec![value.clone(); count]),
        };
        let block = |(block, &layers): (Value, &usize)| {
            spread(&block, layers)?.iter().map(|layer| self.to_size(field, layer, &range)).collect()
        };
        spread(value, layers.len())?.into_iter().zip(layers).map(block).collect::<Result<_>>().map(Some)
    }

    /// Returns a number in `range`.
    pub(super) fn float(&self, field: &str, default: f64, range: RangeInclusive<f64>) -> Result<f32> {
        let Some(value) = self.value(field) else { return Ok(default as f32) };
        let number = value.as_f64().filter(|number| range.contains(number));
        let rule = || self.bad(field, format!("a number from {} to {}", range.start(), range.end()));
        Ok(number.ok_or_else(rule)? as f32)
    }

    /// True or false.
    pub(super) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        let Some(value) = self.value(field) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.bad(field, "true or false"))
    }

    /// True or false for all of `count`, or a list of `count`.
    pub(super) fn flags(&self, field: &str, count: usize) -> Result<Vec<bool>> {
        let Some(Value::Array(items)) = self.value(field) else { return Ok(vec![self.flag(field, false)?; count]) };
        let flags: Option<Vec<bool>> = items.iter().map(Value::as_bool).collect();
        flags
            .filter(|flags| flags.len() == count)
            .ok_or_else(|| self.bad(field, format!("a flag, or a list of {count} flags")))
    }

    /// Names, as `default` if absent.
    pub(super) fn names(&self, field: &str, default: &[&'static str]) -> Result<Vec<&str>> {
        let Some(value) = self.value(field) else { return Ok(default.to_vec()) };
        let names = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        names.ok_or_else(|| self.bad(field, "a list of names"))
    }

    /// Returns the error of lists that must be equally long.
    pub(super) fn uneven(&self, field: &str, count: usize, other: &str) -> Error {
        self.bad(field, format!("{count} entries as in {other}"))
    }
}

/// Returns a value as an error shows it: short, whatever the file holds.
fn shown(value: &Value) -> String {
    const LIMIT: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= LIMIT { text } else { text.chars().take(LIMIT).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &str) -> Reader {
        Reader::new("test", text).unwrap()
    }

    #[test]
    fn a_number_outside_its_range_is_named_with_the_range() {
        let error = reader(r#"{"width": 1000000000}"#).size("width", 1, 1..=8192).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadModel);
        assert_eq!(
            error.to_string(),
            "width of the test config: got 1000000000, expected a whole number from 1 to 8192"
        );
        for text in ["-1", "1.5", "\"8\"", "0", "[8]", "1e30"] {
            let text = format!("{{\"width\": {text}}}");
            assert_eq!(reader(&text).size("width", 1, 1..=8192).unwrap_err().kind(), ErrorKind::BadModel, "{text}");
        }
    }

    #[test]
    fn one_number_serves_for_a_list() {
        assert_eq!(reader(r#"{"n": 3}"#).sizes("n", 1, 2, 1..=9).unwrap(), [3, 3]);
        assert_eq!(reader(r#"{"n": [3, 4]}"#).sizes("n", 1, 2, 1..=9).unwrap(), [3, 4]);
        assert_eq!(reader(r#"{"n": null}"#).sizes("n", 1, 2, 1..=9).unwrap(), [1, 1]);
        assert!(reader(r#"{"n": [3]}"#).sizes("n", 1, 2, 1..=9).is_err());
    }

    #[test]
    fn nested_numbers_are_one_for_all_or_one_a_block_or_one_a_layer() {
        let nested = |text: &str| reader(text).nested_sizes("n", &[2, 3], 0..=9);
        assert_eq!(nested("{}").unwrap(), None);
        assert_eq!(nested(r#"{"n": 4}"#).unwrap().unwrap(), [vec![4; 2], vec![4; 3]]);
        assert_eq!(nested(r#"{"n": [1, [2, 3, 4]]}"#).unwrap().unwrap(), [vec![1, 1], vec![2, 3, 4]]);
        assert!(nested(r#"{"n": [1, [2, 3]]}"#).is_err());
        assert!(nested(r#"{"n": [1]}"#).is_err());
    }

    #[test]
    fn an_option_that_is_not_built_is_unsupported() {
        let reader = reader(r#"{"scale": 1, "kind": "other"}"#);
        assert!(reader.only("scale", &[1.0.into()]).is_ok());
        assert!(reader.only("absent", &[]).is_ok());
        let error = reader.only("kind", &["default".into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.to_string(), "kind of the test config: got \"other\", which is not supported");
    }

    #[test]
    fn non_objects_are_rejected() {
        for text in ["", "[1]", "{\"a\": 1", "3"] {
            assert_eq!(Reader::new("test", text).unwrap_err().kind(), ErrorKind::BadModel, "{text}");
        }
    }
}

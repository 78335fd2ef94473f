//! AMF0: the encoding of values in RTMP commands. Nesting and size are bounded, since the peer chooses both.

/// Maximum nesting of objects; real commands have two levels.
const MAX_DEPTH: usize = 8;

/// An AMF0 value, as far as RTMP uses them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Boolean(bool),
    Text(String),
    Null,
    /// An object, or an array with names.
    Object(Vec<(String, Value)>),
    Array(Vec<Value>),
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// Looks up a named part of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let Self::Object(parts) = self else { return None };
        parts.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Creates an object of text.
    #[cfg(test)]
    pub(super) fn texts<const N: usize>(parts: [(&str, &str); N]) -> Self {
        Self::Object(parts.map(|(name, text)| (name.to_owned(), Self::Text(text.to_owned()))).into())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(0);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Boolean(value) => out.extend_from_slice(&[1, u8::from(*value)]),
            Self::Text(text) => match u16::try_from(text.len()) {
                Ok(_) => {
                    out.push(2);
                    write_name(text, out);
                }
                Err(_) => {
                    out.push(12);
                    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            },
            Self::Null => out.push(5),
            Self::Object(parts) => {
                out.push(3);
                for (name, value) in parts {
                    write_name(name, out);
                    value.write(out);
                }
                out.extend_from_slice(&[0, 0, 9]);
            }
            Self::Array(values) => {
                out.push(10);
                out.extend_from_slice(&(values.len() as u32).to_be_bytes());
                values.iter().for_each(|value| value.write(out));
            }
        }
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    let bytes = name.as_bytes();
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(len)]);
}

/// Writes values one after another.
pub(super) fn write(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| value.write(&mut out));
    out
}

/// Reads all values; `None` if they are cut off, too deep, or of a kind that RTMP does not use.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut reader = Reader { rest: bytes };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(MAX_DEPTH)?);
    }
    Some(values)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self, len: usize) -> Option<String> {
        Some(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn short_text(&mut self) -> Option<String> {
        let len = u16::from_be_bytes(self.number()?);
        self.text(len.into())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        Some(match self.number::<1>()? {
            [0] => Value::Number(f64::from_be_bytes(self.number()?)),
            [1] => Value::Boolean(self.number::<1>()? != [0]),
            [2] => Value::Text(self.short_text()?),
            [3] => self.object(depth)?,
            [5 | 6] => Value::Null,
            [8] => {
                // The count is only a hint: the end marker is authoritative.
                self.take(4)?;
                self.object(depth)?
            }
            [10] => {
                let len = u32::from_be_bytes(self.number()?);
                // Each element takes at least a byte, so that the count alone allocates nothing.
                let values = (0..len).map(|_| self.value(depth)).collect::<Option<_>>()?;
                Value::Array(values)
            }
            [11] => {
                // Milliseconds since 1970, then an unused time zone.
                let value = Value::Number(f64::from_be_bytes(self.number()?));
                self.take(2)?;
                value
            }
            [12] => {
                let len = u32::from_be_bytes(self.number()?);
                Value::Text(self.text(usize::try_from(len).ok()?)?)
            }
            _ => return None,
        })
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut parts = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix(&[0, 0, 9]) {
                self.rest = rest;
                return Some(Value::Object(parts));
            }
            let name = self.short_text()?;
            parts.push((name, self.value(depth)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (-1e9..1e9_f64).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            "[a-zA-Z0-9 ]{0,20}".prop_map(Value::Text),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..4).prop_map(Value::Object),
                prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_round_trip(values in prop::collection::vec(values(), 0..6)) {
            prop_assert_eq!(read(&write(&values)), Some(values));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }
    }

    #[test]
    fn a_text_past_64_kilobytes_is_written_as_a_long_one() {
        let values = [Value::Text("x".repeat(70_000))];
        assert_eq!(read(&write(&values)).as_deref(), Some(&values[..]));
    }

    #[test]
    fn nesting_is_bounded() {
        // An array of one array of one array …
        let deep = [10, 0, 0, 0, 1].repeat(1_000_000);
        assert_eq!(read(&deep), None);
    }

    #[test]
    fn an_array_that_claims_to_be_long_takes_no_memory() {
        assert_eq!(read(&[10, 255, 255, 255, 255, 5]), None);
    }
}

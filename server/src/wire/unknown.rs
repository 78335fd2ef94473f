//! Unknown keys: returned to the clients that sent them, up to a bound.

use serde_json::Value;

use super::Object;

/// The maximum number of unknown keys of a stream, and the maximum bytes of them with their values.
const MOST: usize = 64;
const MOST_BYTES: usize = 16 << 10;
/// Characters of a key in a message.
const SHOWN: usize = 100;

/// The unknown keys that a stream's clients have sent, each with its last value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unknown {
    kept: Object,
    bytes: usize,
    /// Whether a log message was written that not all are kept.
    is_told: bool,
}

impl Unknown {
    /// Stores keys within the limits, and returns messages for the log: one for each key, and one for the rest.
    pub(crate) fn keep(&mut self, keys: impl Iterator<Item = (String, Value)>) -> Vec<String> {
        let (mut notes, mut rest) = (Vec::new(), 0_usize);
        for (key, value) in keys {
            // The replaced value does not count, even if the new one exceeds the limit.
            let before = self.kept.shift_remove(&key);
            self.bytes -= before.as_ref().map_or(0, |before| size(&key, before));
            let bytes = self.bytes.saturating_add(size(&key, &value));
            if self.kept.len() >= MOST || bytes > MOST_BYTES {
                rest += 1;
                continue;
            }
            if before.is_none() {
                let shown: String = key.chars().take(SHOWN).collect();
                notes.push(format!("{shown:?} is unknown and has no effect"));
            }
            self.bytes = bytes;
            self.kept.insert(key, value);
        }
        if rest > 0 && !self.is_told {
            self.is_told = true;
            notes.push(format!(
                "{rest} further unknown keys are not shown: a stream shows at most {MOST} of {MOST_BYTES} bytes"
            ));
        }
        notes
    }

    /// The keys that are kept.
    pub(crate) fn kept(&self) -> &Object {
        &self.kept
    }
}

/// The approximate size of a key and its value as JSON, in bytes.
fn size(key: &str, value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 24,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| size("", item)).sum(),
        Value::Object(pairs) => pairs.iter().map(|(key, value)| size(key, value)).sum(),
    };
    key.len() + inside + 8
}

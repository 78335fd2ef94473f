//! The lines of an SDP description: `x=value`.

use super::{MAX_BYTES, MAX_LINE, MAX_LINES, Malformed};

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The letter before `=`.
    pub(super) kind: char,
    /// What follows it, without blanks at its end.
    pub(super) value: &'a str,
}

/// Reads the lines, which end with CRLF or LF; empty ones are skipped.
pub(super) fn read(text: &str) -> Result<Vec<Line<'_>>, Malformed> {
    if text.len() > MAX_BYTES {
        return Err(Malformed::new(format!("length: got {} bytes, expected at most {MAX_BYTES}", text.len())));
    }
    let mut lines = Vec::new();
    for (index, raw) in text.split(['\n', '\r']).filter(|l| !l.trim().is_empty()).enumerate() {
        let number = index + 1;
        if index == MAX_LINES {
            return Err(Malformed::new(format!("lines: got more than {MAX_LINES}, expected at most {MAX_LINES}")));
        }
        if raw.len() > MAX_LINE {
            return Err(Malformed::new(format!("line {number}: got {} bytes, expected at most {MAX_LINE}", raw.len())));
        }
        if raw.chars().any(char::is_control) {
            return Err(Malformed::new(format!("line {number}: got a control character")));
        }
        let mut chars = raw.chars();
        let kind = chars.next().filter(char::is_ascii_lowercase);
        match (kind, chars.as_str().strip_prefix('=')) {
            (Some(kind), Some(value)) => lines.push(Line { kind, value: value.trim_end() }),
            _ => return Err(Malformed::new(format!("line {number}: expected the form x=value"))),
        }
    }
    Ok(lines)
}

/// Splits an attribute into its name and its value, which is empty for a flag.
pub(super) fn attribute(text: &str) -> (&str, &str) {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (name.trim(), value.trim())
}

/// Checks that a value is a single word of `least` to `most` ASCII characters.
pub(super) fn word(name: &str, value: &str, least: usize, most: usize) -> Result<String, Malformed> {
    let fits = (least..=most).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(value.to_owned())
    } else {
        Err(Malformed::new(format!("{name}: expected one word of {least} to {most} characters")))
    }
}

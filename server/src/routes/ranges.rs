//! The header `Range` of requests for a file (RFC 9110, section 14): one range of bytes. Browsers play videos with it.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};

/// What a request for a file wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing: the client has it.
    Known,
    Whole,
    Part(Range<u64>),
    /// A range that has no byte of the file.
    Beyond,
}

impl Wanted {
    /// Reads the headers of a request for a file with the entity tag `tag` and `length` bytes. What is no single range of
    /// bytes has no effect, as the standard allows.
    pub(super) fn of(headers: &HeaderMap, tag: &str, length: u64) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let known = text(header::IF_NONE_MATCH).unwrap_or_default();
        if known.split(',').any(|one| ["*", tag].contains(&one.trim().trim_start_matches("W/"))) {
            return Self::Known;
        }
        // The client has the beginning of another file.
        if text(header::IF_RANGE).is_some_and(|had| had.trim() != tag) {
            return Self::Whole;
        }
        text(header::RANGE).and_then(|text| read(text, length)).unwrap_or(Self::Whole)
    }
}

/// Reads `bytes=0-99`, `bytes=100-` or `bytes=-50`.
fn read(text: &str, length: u64) -> Option<Wanted> {
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    let range = match (number(first)?, number(last)?) {
        (None, None) => return None,
        (None, Some(count)) => length.saturating_sub(count)..length,
        (Some(first), None) => first..length,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(_), Some(_)) => return None,
    };
    Some(if range.start < range.end { Wanted::Part(range) } else { Wanted::Beyond })
}

/// Reads a number, the largest one for any larger; `Some(None)` for no text, `None` for text that is no number.
fn number(text: &str) -> Option<Option<u64>> {
    match text {
        "" => Some(None),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(Some(text.parse().unwrap_or(u64::MAX))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(headers: &[(HeaderName, &str)]) -> Wanted {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        Wanted::of(&headers.collect(), "\"a\"", 100)
    }

    fn range(text: &str) -> Wanted {
        wanted(&[(header::RANGE, text)])
    }

    #[test]
    fn a_range_is_cut_at_the_end_of_the_file() {
        for (text, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-99", 0..100),
            ("bytes=90-", 90..100),
            ("Bytes= 90-200", 90..100),
            ("bytes=99-18446744073709551615", 99..100),
            ("bytes=0-99999999999999999999999", 0..100),
            ("bytes=-10", 90..100),
            ("bytes=-1000", 0..100),
        ] {
            assert_eq!(range(text), Wanted::Part(expected), "{text}");
        }
    }

    #[test]
    fn a_range_without_a_byte_of_the_file_cannot_be_sent() {
        for text in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(range(text), Wanted::Beyond, "{text}");
        }
    }

    #[test]
    fn anything_else_is_the_whole_file() {
        for text in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes=+1-2", "bytes=0-1,3-4", "lines=0-1"]
        {
            assert_eq!(range(text), Wanted::Whole, "{text}");
        }
        assert_eq!(wanted(&[]), Wanted::Whole);
    }

    #[test]
    fn a_client_that_has_the_file_or_another_one_gets_no_part() {
        let part = (header::RANGE, "bytes=0-0");
        assert_eq!(wanted(&[part.clone(), (header::IF_RANGE, "\"a\"")]), Wanted::Part(0..1));
        assert_eq!(wanted(&[part.clone(), (header::IF_RANGE, "\"b\"")]), Wanted::Whole);
        assert_eq!(wanted(&[part.clone(), (header::IF_NONE_MATCH, "\"b\", W/\"a\"")]), Wanted::Known);
        assert_eq!(wanted(&[part, (header::IF_NONE_MATCH, "\"b\"")]), Wanted::Part(0..1));
    }
}

//! Random identifiers, which cannot be guessed: of streams, stream keys and playback ids.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, PrimitiveDateTime};

/// Letters and digits that are not mistaken for each other; 16 of them are 93 bits.
const LETTERS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Random characters of an id.
const LENGTH: usize = 16;

/// Creates an id: `prefix`, such as `str_`, and 16 random characters.
pub(crate) fn new(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + LENGTH);
    id.push_str(prefix);
    let mut bytes = [0; 32];
    while id.len() < prefix.len() + LENGTH {
        // The system's generator does not fail on any supported platform; without it there are no secrets.
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        let room = prefix.len() + LENGTH - id.len();
        // Bytes past the last full round would make some letters more likely.
        let fair = bytes.iter().filter(|byte| **byte < 232);
        id.extend(
            fair.take(room).filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len())).map(|b| *b as char),
        );
    }
    id
}

/// Returns whether `text` has the form of an id with `prefix`.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    let random = text.strip_prefix(prefix).unwrap_or_default();
    random.len() == LENGTH && random.bytes().all(|byte| LETTERS.contains(&byte))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Writes milliseconds since 1970 as ISO 8601, UTC, with milliseconds; the last that can be written for any later.
pub(crate) fn iso(ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let at = at.unwrap_or(PrimitiveDateTime::MAX.assume_utc());
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, ms) = at.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_have_their_prefix_and_length_and_do_not_repeat() {
        let ids: BTreeSet<_> = (0..1000).map(|_| new("stk_")).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 20 && id.starts_with("stk_")));
        assert!(ids.iter().all(|id| id[4..].bytes().all(|byte| LETTERS.contains(&byte))));
        assert!(ids.iter().all(|id| is_id(id, "stk_") && !is_id(id, "str_")));
        for wrong in ["stk_", "stk_1111111111111110", "stk_11111111/../1111", "stk_11111111111111111"] {
            assert!(!is_id(wrong, "stk_"), "{wrong}");
        }
    }

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_770_113_472_345), "2026-02-03T10:11:12.345Z");
        assert_eq!(iso(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}

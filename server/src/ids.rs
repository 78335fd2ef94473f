//! Names that nobody can guess: of streams, of what publishes to them and of what is watched.

use std::time::{SystemTime, UNIX_EPOCH};

/// Letters and digits that nobody mistakes for each other; 16 of them are 93 bits.
const LETTERS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Random characters of an id.
const LENGTH: usize = 16;

/// Makes an id: `prefix`, such as `str_`, and 16 random characters.
pub(crate) fn new(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + LENGTH);
    id.push_str(prefix);
    let mut bytes = [0; 32];
    while id.len() < prefix.len() + LENGTH {
        // The system's generator does not fail on any platform that this program runs on; without it there is no secret.
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        let room = prefix.len() + LENGTH - id.len();
        // Bytes past the last whole round would make some letters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 232);
        id.extend(
            fair.take(room).filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len())).map(|b| *b as char),
        );
    }
    id
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Writes milliseconds since 1970 as ISO 8601, UTC, with milliseconds.
pub(crate) fn iso(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

/// Days since 1970 as a date of the Gregorian calendar, by eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
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
    }

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_770_113_472_345), "2026-02-03T10:11:12.345Z");
    }
}

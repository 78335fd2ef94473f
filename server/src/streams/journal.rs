//! The last events of a stream, which its status shows after a restart.

use std::collections::VecDeque;

use crate::ids;

/// The most lines that are kept, and the longest line in characters.
const LINES: usize = 40;
const LONGEST: usize = 400;

/// The last events, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    lines: VecDeque<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    /// In milliseconds since 1970: the last time.
    at: u64,
    text: String,
    times: u32,
}

impl Journal {
    /// Adds an event at `now`; one that is the same as the last is counted.
    pub(crate) fn record(&mut self, text: &str, now: u64) {
        let text: String = text.chars().take(LONGEST).collect();
        if let Some(last) = self.lines.back_mut().filter(|last| last.text == text) {
            last.at = now;
            last.times = last.times.saturating_add(1);
            return;
        }
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at: now, text, times: 1 });
    }

    /// The lines, each with its time.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |Line { at, text, times }: &Line| match times {
            1 => format!("{} {text}", ids::iso(*at)),
            _ => format!("{} {text} ({times} times)", ids::iso(*at)),
        };
        self.lines.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_repeats_are_counted() {
        let mut journal = Journal::default();
        for at in 0..100 {
            journal.record(&format!("event {at}"), 0);
        }
        journal.record("the same", 1);
        journal.record("the same", 2000);
        let lines = journal.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0], "1970-01-01T00:00:00.000Z event 61");
        assert_eq!(lines[LINES - 1], "1970-01-01T00:00:02.000Z the same (2 times)");
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut journal = Journal::default();
        journal.record(&"é".repeat(1 << 20), 0);
        assert_eq!(journal.lines()[0].chars().count(), LONGEST + 25);
    }
}

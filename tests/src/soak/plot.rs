//! Drawings and tables of recorded intervals.

use super::record::Interval;

/// Draws intervals.
pub fn svg(intervals: &[Interval]) -> String {
    let _ = intervals;
    String::new()
}

/// Writes intervals as a table.
pub fn table(intervals: &[Interval]) -> String {
    let _ = intervals;
    String::new()
}

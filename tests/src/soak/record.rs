//! What is recorded of each interval: a JSON line.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::Process;

/// An interval of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it ended, in UTC.
    pub end: String,
    /// The commit of the program, as the command line has it.
    pub commit: String,
    /// `server`, or `scale-out`.
    pub mode: String,
    /// The number of the run, from 1 on, among those of the file.
    pub piece: u32,
    /// The number of the interval, from 1 on, in its piece.
    pub interval: u32,
    /// How long it took.
    pub seconds: f64,
    /// What each process used.
    pub processes: BTreeMap<String, Usage>,
    /// What came of each stream.
    pub streams: Vec<StreamRecord>,
    /// The latency of the pictures of all streams.
    pub latency: Latency,
    /// What was done meanwhile.
    pub events: Events,
    /// The rules that were violated.
    pub failures: Vec<String>,
}

/// The least and the most of a figure that was sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The least.
    pub min: usize,
    /// The most.
    pub max: usize,
}

/// What a process used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Its resident memory in KiB.
    pub memory_kib: Range,
    /// Its threads.
    pub threads: Range,
    /// Its open descriptors.
    pub descriptors: Range,
}

/// Percentiles of the time from drawing a frame to its picture at the viewer, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the pictures have at most this one.
    pub p50: f64,
    /// Nine of ten have.
    pub p90: f64,
    /// 99 of a hundred have.
    pub p99: f64,
    /// All have.
    pub max: f64,
}

/// What came of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Its name.
    pub name: String,
    /// The new pictures that the viewer received.
    pub pictures: usize,
    /// Those whose number could not be read, such as the loading picture's.
    pub unread: u64,
    /// The latency of its pictures.
    pub latency: Latency,
    /// The longest time without a new picture, in milliseconds, except while the stream was deleted.
    pub longest_pause_ms: u64,
}

/// What was done in an interval.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Viewers that came and went.
    pub guests: u64,
    /// Those of them that received a picture.
    pub guests_with_pictures: u64,
    /// Accepted changes of parameters.
    pub changes: u64,
    /// Those of them that changed the size or the number of rows.
    pub structural_changes: u64,
    /// Publishers that were replaced.
    pub reconnects: u64,
    /// Streams that were deleted and created again.
    pub recreations: u64,
    /// The longest time from the request that creates a stream to its first picture, in milliseconds.
    pub first_picture_ms: u64,
    /// Restarts of Redis.
    pub redis_restarts: u64,
    /// Requests that were refused while Redis was down, or before workers had published themselves again.
    pub refused: u64,
    /// The longest time from the start of Redis until requests to all streams succeeded, in milliseconds.
    pub redis_recovery_ms: u64,
    /// The longest pause of a stream from the end of Redis until then, in milliseconds.
    pub redis_pause_ms: u64,
}

impl Range {
    fn with(range: Option<Self>, value: usize) -> Self {
        range.map_or(Self { min: value, max: value }, |range| Self {
            min: range.min.min(value),
            max: range.max.max(value),
        })
    }
}

impl Usage {
    /// Adds a sample of a process; `None` if it has ended.
    pub(super) fn with(usage: Option<Self>, process: &Process) -> Option<Self> {
        Some(Self {
            memory_kib: Range::with(usage.map(|usage| usage.memory_kib), process.resident_kib()?),
            threads: Range::with(usage.map(|usage| usage.threads), process.threads()),
            descriptors: Range::with(usage.map(|usage| usage.descriptors), process.descriptors()),
        })
    }
}

impl Latency {
    /// Returns the percentiles of some times.
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        // The smallest time that at least this part of the pictures does not exceed.
        let at = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(place).map_or(0.0, |time| (time.as_secs_f64() * 1e4).round() / 10.0)
        };
        Self { p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

/// Reads the intervals of a file; none if it does not exist.
///
/// # Errors
///
/// Those of the system; `InvalidData` for a line that is no interval.
pub fn read(path: &Path) -> io::Result<Vec<Interval>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let parse = |(number, line): (usize, &str)| {
        let why = |error| io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", number + 1));
        serde_json::from_str(line).map_err(why)
    };
    text.lines().enumerate().map(parse).collect()
}

/// Adds an interval to a file.
pub(super) fn append(path: &Path, interval: &Interval) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let line = serde_json::to_string(interval).map_err(io::Error::other)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Returns the time in UTC, to the second.
pub(super) fn timestamp() -> io::Result<String> {
    let output = Command::new("date").args(["-u", "+%FT%TZ"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_so_many_pictures_do_not_exceed() {
        let ms = |ms| Duration::from_millis(ms);
        let latency = Latency::of((1..=200).rev().map(ms).collect());
        assert_eq!(latency, Latency { p50: 100.0, p90: 180.0, p99: 198.0, max: 200.0 });
        assert_eq!(Latency::of(vec![ms(7)]), Latency { p50: 7.0, p90: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn a_range_has_the_least_and_the_most() {
        let range = [5, 3, 9].into_iter().fold(None, |range, value| Some(Range::with(range, value)));
        assert_eq!(range, Some(Range { min: 3, max: 9 }));
    }
}

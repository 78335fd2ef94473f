//! The long test in short: two runs of some seconds, of which the second continues the streams of the first.

use std::path::{Path, PathBuf};

use dreamframe_tests::native::has_tool;
use dreamframe_tests::soak::{Interval, Options, read, run, svg};

/// Enough for a restart of Redis, a guest of each stream, and a deleted stream.
const SECONDS: u64 = 8;
const STREAMS: usize = 2;

fn options(folder: &Path, scale_out: bool) -> Options {
    Options {
        program: env!("CARGO_BIN_EXE_dreamframe").into(),
        scale_out,
        streams: STREAMS,
        intervals: 1,
        interval_seconds: SECONDS,
        commit: "0123abc".into(),
        record: Some(record(folder)),
        keep: Some(folder.join("keep")),
    }
}

fn record(folder: &Path) -> PathBuf {
    folder.join("soak.jsonl")
}

/// Runs both pieces, and returns their intervals. How long streams pause depends on what else the machine does, so only
/// other failures count.
fn pieces(scale_out: bool) -> Vec<Interval> {
    let folder = tempfile::tempdir().unwrap();
    for piece in [1, 2] {
        let intervals = run(options(folder.path(), scale_out), |_| ()).unwrap();
        assert_eq!((intervals.len(), intervals[0].piece), (1, piece));
        let failures: Vec<_> = intervals[0].failures.iter().filter(|text| !text.contains(" ms, expected ")).collect();
        assert!(failures.is_empty(), "{failures:?}");
        for stream in &intervals[0].streams {
            assert!(stream.pictures > 0 && stream.latency.p50 > 0.0, "{stream:?}");
        }
        let events = &intervals[0].events;
        assert!(events.guests > 0 && events.changes > 0 && events.recreations > 0, "{events:?}");
    }
    let intervals = read(&record(folder.path())).unwrap();
    assert!(svg(&intervals).contains("worker 1") == scale_out);
    intervals
}

#[test]
fn streams_of_a_server_continue_in_another_run() {
    for interval in pieces(false) {
        assert_eq!(interval.processes.keys().collect::<Vec<_>>(), ["server"]);
    }
}

#[test]
fn streams_of_workers_continue_through_a_restart_of_redis_and_in_another_run() {
    if !has_tool("redis-server") {
        return;
    }
    for interval in pieces(true) {
        assert_eq!(interval.processes.keys().collect::<Vec<_>>(), ["gateway", "worker 1", "worker 2"]);
        assert_eq!(interval.events.redis_restarts, 1);
        assert!(interval.events.refused > 0, "{:?}", interval.events);
    }
}

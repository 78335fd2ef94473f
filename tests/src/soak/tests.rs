use super::*;

/// An interval of a run without failures.
pub(super) fn interval(piece: u32, number: u32) -> Interval {
    let usage = |mib: usize, count| Usage {
        memory_kib: Range { min: mib << 9, max: mib << 10 },
        threads: Range { min: count, max: count + 4 },
        descriptors: Range { min: 2 * count, max: 3 * count },
    };
    let processes = [("gateway", usage(12, 6)), ("worker 1", usage(80, 30)), ("worker 2", usage(70, 20))];
    let latency = Latency { p50: 61.2, p90: 90.0, p99: 180.5, max: 900.0 };
    Interval {
        end: format!("2026-11-26T1{number}:00:00Z"),
        commit: "0123abc".into(),
        mode: "scale-out".into(),
        piece,
        interval: number,
        seconds: 600.0,
        processes: processes.map(|(name, usage)| (name.to_owned(), usage)).into(),
        streams: vec![StreamRecord {
            name: "stream 1".into(),
            pictures: 5900,
            unread: 3,
            latency,
            longest_pause_ms: 700,
        }],
        latency,
        events: Events { redis_restarts: 1, redis_recovery_ms: 1900, redis_pause_ms: 120, ..Events::default() },
        failures: Vec::new(),
    }
}

#[test]
fn everything_happens_in_each_interval_and_nothing_while_redis_is_down() {
    for seconds in [20, 60, 100, 600] {
        let schedule = Schedule::new(seconds);
        let steps = || 2 * seconds..3 * seconds;
        assert_eq!(steps().filter(|&step| schedule.ends_redis(step)).count(), 1, "{seconds}");
        assert_eq!(steps().filter(|&step| schedule.deletes(step)).count(), 2, "{seconds}");
        for times in [10, 13, 15] {
            let due = steps().filter(|&step| schedule.is_due(step, 0, times)).count() as u64;
            assert!(due > times / 4 && due < 2 * times, "{seconds} {times} {due}");
        }
        let middle = 2 * seconds + seconds / 2;
        for step in middle - 1..=middle + schedule.down {
            assert!((0..3).all(|stream| !schedule.is_due(step, stream, 10)), "{seconds} {step}");
            assert!(!schedule.deletes(step) && !schedule.deletes(step - schedule.absent), "{seconds} {step}");
        }
    }
}

#[test]
fn recorded_intervals_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("soak.jsonl");
    assert_eq!(read(&path).unwrap(), []);
    for number in [1, 2] {
        append(&path, &interval(1, number)).unwrap();
    }
    assert_eq!(read(&path).unwrap(), [interval(1, 1), interval(1, 2)]);
    std::fs::write(&path, "{}\n").unwrap();
    assert!(read(&path).unwrap_err().to_string().starts_with("line 1: "));
}

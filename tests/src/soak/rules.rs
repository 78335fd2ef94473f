//! What counts as a failure of an interval.

use super::record::{Interval, Usage};

/// The most that the memory of a process may be above that of the warm-up, in KiB. It is several times the difference
/// between intervals, which is that of free memory. A worker with two streams has 900 guests in an hour, and exceeds it within
/// one if each leaves 20 KiB behind.
pub const GROWTH_KIB: usize = 16 << 10;
/// The most threads, and descriptors, that may remain above those of the warm-up. The least of an interval counts, which is
/// when there are no guests: what remains then is of guests that did not close their connection, in the last 15 seconds.
pub const MORE_THREADS: usize = 2;
/// See [`MORE_THREADS`].
pub const MORE_DESCRIPTORS: usize = 8;
/// The longest pause of a stream, in milliseconds, while publishers reconnect and sizes change.
pub const PAUSE_MS: u64 = 5000;
/// The longest pause, in milliseconds, while Redis is down, when nothing else happens: media does not need it.
pub const REDIS_PAUSE_MS: u64 = 2000;
/// The longest time, in milliseconds, from the start of Redis until requests succeed: workers publish themselves every two
/// seconds, and a connection takes two at most.
pub const RECOVERY_MS: u64 = 10_000;

/// Compares an interval with the rules, and with the first of its piece, the warm-up, if it is not that one; returns the
/// violations.
pub(super) fn violations(interval: &Interval, warm: Option<&Interval>) -> Vec<String> {
    let mut found = Vec::new();
    for stream in &interval.streams {
        if stream.longest_pause_ms > PAUSE_MS {
            let ms = stream.longest_pause_ms;
            found.push(format!("{}: got a pause of {ms} ms, expected at most {PAUSE_MS} ms", stream.name));
        }
        if stream.pictures == 0 {
            found.push(format!("{}: got no picture", stream.name));
        }
    }
    let events = &interval.events;
    for (what, got, most) in [
        ("a pause while Redis was down", events.redis_pause_ms, REDIS_PAUSE_MS),
        ("refused requests after Redis was started", events.redis_recovery_ms, RECOVERY_MS),
    ] {
        if got > most {
            found.push(format!("{what}: got {got} ms, expected at most {most} ms"));
        }
    }
    for (name, usage) in &interval.processes {
        if let Some(before) = warm.and_then(|warm| warm.processes.get(name)) {
            found.extend(growth(usage, before).into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    found
}

fn growth(now: &Usage, warm: &Usage) -> Vec<String> {
    let bounds = [
        ("KiB of memory", now.memory_kib.max, warm.memory_kib.max + GROWTH_KIB),
        ("threads", now.threads.min, warm.threads.min + MORE_THREADS),
        ("descriptors", now.descriptors.min, warm.descriptors.min + MORE_DESCRIPTORS),
    ];
    let exceeded = bounds.into_iter().filter(|(_, got, most)| got > most);
    exceeded.map(|(what, got, most)| format!("got {got} {what}, expected at most {most}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::record::{Range, StreamRecord};
    use crate::soak::tests::interval;

    #[test]
    fn an_interval_like_the_warm_up_has_no_violations() {
        assert_eq!(violations(&interval(1, 2), Some(&interval(1, 1))), Vec::<String>::new());
    }

    #[test]
    fn more_memory_threads_and_descriptors_than_after_the_warm_up_are_violations() {
        let (warm, mut now) = (interval(1, 1), interval(1, 2));
        let usage = now.processes.get_mut("gateway").unwrap();
        usage.memory_kib.max += GROWTH_KIB;
        usage.threads = Range { min: usage.threads.min + MORE_THREADS, max: 1000 };
        usage.descriptors = Range { min: usage.descriptors.min + MORE_DESCRIPTORS, max: 1000 };
        assert_eq!(violations(&now, Some(&warm)), Vec::<String>::new());
        let usage = now.processes.get_mut("gateway").unwrap();
        usage.memory_kib.max += 1;
        usage.threads.min += 1;
        usage.descriptors.min += 1;
        let found = violations(&now, Some(&warm));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|text| text.starts_with("gateway: got ")), "{found:?}");
        assert_eq!(violations(&now, None), Vec::<String>::new());
    }

    #[test]
    fn long_pauses_and_slow_recoveries_are_violations() {
        let mut now = interval(1, 1);
        now.streams.push(StreamRecord { pictures: 0, longest_pause_ms: PAUSE_MS + 1, ..now.streams[0].clone() });
        now.events.redis_pause_ms = REDIS_PAUSE_MS + 1;
        now.events.redis_recovery_ms = RECOVERY_MS + 1;
        assert_eq!(violations(&now, None).len(), 4);
    }
}

//! Unit tests of the synchronized parts. (Their files have no tests of their own, as the model compiles them too.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::event_log::{ENDS, EVENTS, End, EventLog, Forgotten};
use super::super::events::Event;
use super::super::latest_slot::LatestSlot;
use super::super::notifier::Notifier;

#[test]
fn newest_value_is_taken_and_the_replaced_one_returned() {
    let slot = LatestSlot::new();
    assert_eq!((slot.put(1), slot.put(2)), (None, Some(1)));
    assert_eq!((slot.take(), slot.take()), (Some(2), None));
    assert!(slot.is_empty());
}

#[test]
fn waiting_past_the_deadline_returns_none() {
    assert_eq!(Notifier::new().wait_until(Some(Instant::now()), || None::<()>), None);
    let soon = Instant::now() + Duration::from_millis(1);
    assert_eq!(Notifier::new().wait_until(Some(soon), || None::<()>), None);
}

#[test]
fn every_waiting_thread_is_woken() {
    let (notifier, count) = (Arc::new(Notifier::new()), Arc::new(AtomicU64::new(0)));
    let wait = |target: u64| {
        let (notifier, count) = (notifier.clone(), count.clone());
        std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(60);
            notifier.wait_until(Some(deadline), || (count.load(Ordering::Acquire) >= target).then_some(target))
        })
    };
    // More than there are slots.
    let waiting: Vec<_> = (1..=80).map(wait).collect();
    for _ in 0..80 {
        count.fetch_add(1, Ordering::Release);
        notifier.notify();
    }
    for (thread, target) in waiting.into_iter().zip(1..) {
        assert_eq!(thread.join().unwrap(), Some(target));
    }
}

#[test]
fn ends_are_remembered_until_as_many_have_ended_since() {
    let event_log = EventLog::new();
    assert_eq!(event_log.end(0), Ok(Some(End::Applied)));
    event_log.superseded(7);
    assert_eq!((event_log.end(7), event_log.end(6)), (Ok(Some(End::Superseded)), Ok(None)));
    event_log.applied(7 + ENDS as u64, Vec::new());
    assert_eq!((event_log.end(7), event_log.end(7 + ENDS as u64)), (Err(Forgotten), Ok(Some(End::Applied))));
    // One that ends very late does not hide the newer one.
    event_log.superseded(7);
    assert_eq!(event_log.end(7 + ENDS as u64), Ok(Some(End::Applied)));
    assert_eq!(event_log.active(), 7 + ENDS as u64);
}

#[test]
fn oldest_event_is_dropped_and_counted() {
    let event_log = EventLog::new();
    (0..EVENTS as u64 + 3).for_each(|version| event_log.record(Event::UpdateSuperseded { version }));
    assert_eq!(event_log.lost_events(), 3);
    assert!(matches!(event_log.next_event(), Some(Event::UpdateSuperseded { version: 3 })));
}

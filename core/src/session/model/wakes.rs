//! The slot and the notifier: the newest value always arrives, and no wake-up is lost.

use std::sync::Arc;

use super::latest_slot::LatestSlot;
use super::notifier::Notifier;
use super::primitives::{AtomicU64, Ordering};
use shuttle::thread;

/// Maximum number of schedules; the small models have fewer.
const SCHEDULES: usize = 20_000;

#[test]
fn the_newest_frame_always_arrives_and_none_arrives_twice() {
    shuttle::check_dfs(
        || {
            let (slot, notifier) = (Arc::new(LatestSlot::new()), Arc::new(Notifier::new()));
            let host = {
                let (slot, notifier) = (slot.clone(), notifier.clone());
                thread::spawn(move || {
                    let mut dropped = 0;
                    for frame in 1..=3 {
                        dropped += u32::from(slot.put(frame).is_some());
                        notifier.notify();
                    }
                    dropped
                })
            };
            let (mut last, mut taken) = (0, 0);
            while last < 3 {
                let frame = notifier.wait_until(None, || slot.take()).unwrap();
                assert!(last < frame, "frame {frame} after frame {last}");
                (last, taken) = (frame, taken + 1);
            }
            assert_eq!(taken + host.join().unwrap(), 3, "each frame is taken or dropped");
        },
        Some(SCHEDULES),
    );
}

#[test]
fn all_waiting_threads_are_notified() {
    shuttle::check_random(
        || {
            let (notifier, count) = (Arc::new(Notifier::new()), Arc::new(AtomicU64::new(0)));
            let waiting: Vec<_> = (1..=2)
                .map(|target| {
                    let (notifier, count) = (notifier.clone(), count.clone());
                    thread::spawn(move || {
                        notifier.wait_until(None, || (count.load(Ordering::Acquire) >= target).then_some(()));
                    })
                })
                .collect();
            for _ in 0..2 {
                count.fetch_add(1, Ordering::Release);
                notifier.notify();
            }
            waiting.into_iter().for_each(|thread| thread.join().unwrap());
        },
        SCHEDULES,
    );
}

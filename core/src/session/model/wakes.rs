//! The mailbox and the bell: nothing newer is lost, and nobody sleeps through the news.

use std::sync::Arc;

use super::bell::Bell;
use super::mailbox::Mailbox;
use super::sync::{AtomicU64, Ordering};
use shuttle::thread;

/// The most schedules that are tried; the small models have fewer.
const SCHEDULES: usize = 20_000;

#[test]
fn the_newest_frame_always_arrives_and_none_arrives_twice() {
    shuttle::check_dfs(
        || {
            let (mailbox, bell) = (Arc::new(Mailbox::new()), Arc::new(Bell::new()));
            let host = {
                let (mailbox, bell) = (mailbox.clone(), bell.clone());
                thread::spawn(move || {
                    let mut dropped = 0;
                    for frame in 1..=3 {
                        dropped += u32::from(mailbox.put(frame).is_some());
                        bell.ring();
                    }
                    dropped
                })
            };
            let (mut last, mut taken) = (0, 0);
            while last < 3 {
                let frame = bell.wait_until(None, || mailbox.take()).unwrap();
                assert!(last < frame, "frame {frame} after frame {last}");
                (last, taken) = (frame, taken + 1);
            }
            assert_eq!(taken + host.join().unwrap(), 3, "each frame is taken or dropped");
        },
        Some(SCHEDULES),
    );
}

#[test]
fn everybody_who_waits_hears_of_what_happened() {
    shuttle::check_random(
        || {
            let (bell, count) = (Arc::new(Bell::new()), Arc::new(AtomicU64::new(0)));
            let waiting: Vec<_> = (1..=2)
                .map(|target| {
                    let (bell, count) = (bell.clone(), count.clone());
                    thread::spawn(move || {
                        bell.wait_until(None, || (count.load(Ordering::Acquire) >= target).then_some(()));
                    })
                })
                .collect();
            for _ in 0..2 {
                count.fetch_add(1, Ordering::Release);
                bell.ring();
            }
            waiting.into_iter().for_each(|thread| thread.join().unwrap());
        },
        SCHEDULES,
    );
}

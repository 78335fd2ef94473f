//! Numbered pictures that are sent, and the received ones.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::frame::{FrameView, Timestamp};
use crate::transport::testing::{at, number, numbered};
use crate::transport::{Egress, FrameSink, now};

/// The side of a picture.
pub(super) const SIDE: u32 = 256;
/// Timeout that no test reaches, even on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(90);

/// Records the numbers of received pictures.
#[derive(Debug, Default)]
pub(super) struct Seen {
    numbers: Mutex<Numbers>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Numbers {
    shown: u32,
    seen: Vec<u32>,
}

impl FrameSink for Seen {
    fn frame(&self, frame: &FrameView<'_>) {
        if let Some(number) = number(frame) {
            self.numbers.lock().unwrap().seen.push(number);
            self.news.notify_all();
        }
    }
}

impl Seen {
    /// Shows pictures with increasing numbers until `count` further ones have been received; returns those.
    pub(super) fn while_publishing(&self, egress: &Egress, count: usize) -> Vec<u32> {
        let deadline = Instant::now() + LONG;
        let mut numbers = self.numbers.lock().unwrap();
        numbers.seen.clear();
        loop {
            numbers.seen.dedup();
            if numbers.seen.len() >= count {
                return numbers.seen.clone();
            }
            assert!(Instant::now() < deadline, "saw {:?} alone", numbers.seen);
            numbers.shown += 1;
            let picture = numbered(numbers.shown, SIDE, SIDE);
            egress.show(&at(picture, now().0 / 1_000_000).view());
            numbers = self.news.wait_timeout(numbers, Duration::from_millis(40)).unwrap().0;
        }
    }
}

/// Shows received frames to viewers.
#[derive(Debug)]
pub(super) struct Echo(pub(super) Egress);

impl FrameSink for Echo {
    fn frame(&self, frame: &FrameView<'_>) {
        assert_ne!(frame.stamp().timestamp, Timestamp(0), "frames are stamped");
        self.0.show(frame);
    }
}

//! A viewer's screen that measures pictures and keeps none.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dreamframe::FrameView;
use dreamframe::transport::{FrameSink, now};

use crate::network::{Drawn, read_blocks};

/// A latency above this is a number that was read wrongly.
const LONGEST: Duration = Duration::from_secs(120);

/// Measures the latency of numbered pictures, and the pauses between them. Pictures without a number, and those whose
/// number was the last one, do not end a pause.
#[derive(Debug)]
pub(super) struct Watch {
    drawn: Arc<Drawn>,
    seen: Mutex<Seen>,
    news: Condvar,
}

/// What was seen in an interval.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) latencies: Vec<Duration>,
    /// Pictures without a number.
    pub(super) unread: u64,
    /// The longest time without a new picture.
    pub(super) pause: Duration,
    /// Likewise, since [`Watch::mark`].
    marked_pause: Duration,
    last: Option<(u16, Instant)>,
}

impl Watch {
    pub(super) fn new(drawn: &Arc<Drawn>) -> Arc<Self> {
        Arc::new(Self { drawn: drawn.clone(), seen: Mutex::default(), news: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was seen since the last time, including the current pause.
    pub(super) fn take(&self) -> Seen {
        let mut seen = self.lock();
        seen.note_pause(Instant::now());
        let last = seen.last;
        std::mem::replace(&mut *seen, Seen { last, ..Seen::default() })
    }

    /// Measures pauses from the next picture on: the stream has ended, or has not begun.
    pub(super) fn reset(&self) {
        self.lock().last = None;
    }

    /// Begins a measurement of pauses of its own.
    pub(super) fn mark(&self) {
        self.lock().marked_pause = Duration::ZERO;
    }

    /// Returns the longest pause since [`mark`](Self::mark).
    pub(super) fn marked_pause(&self) -> Duration {
        let mut seen = self.lock();
        seen.note_pause(Instant::now());
        seen.marked_pause
    }

    /// Returns how long the stream has paused.
    pub(super) fn paused_for(&self) -> Duration {
        self.lock().last.map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }

    /// Waits for a numbered picture after [`reset`](Self::reset); returns whether it came in time.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let waited = self.news.wait_timeout_while(self.lock(), limit, |seen| seen.last.is_none());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Seen {
    fn note_pause(&mut self, at: Instant) {
        if let Some((_, last)) = self.last {
            let pause = at.saturating_duration_since(last);
            (self.pause, self.marked_pause) = (self.pause.max(pause), self.marked_pause.max(pause));
        }
    }

    fn note(&mut self, number: Option<u16>, latency: Option<Duration>, at: Instant) {
        let Some((number, latency)) = number.zip(latency.filter(|latency| *latency < LONGEST)) else {
            self.unread += 1;
            return;
        };
        if self.last.is_some_and(|(last, _)| last == number) {
            return;
        }
        self.note_pause(at);
        self.latencies.push(latency);
        self.last = Some((number, at));
    }
}

impl FrameSink for Watch {
    fn frame(&self, frame: &FrameView<'_>) {
        let (at, time) = (Instant::now(), now());
        let number = read_blocks(frame);
        let latency = number.and_then(|number| self.drawn.at(number)).map(|taken| time.since(taken));
        self.lock().note(number, latency, at);
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn repeated_pictures_and_pictures_without_a_number_do_not_end_a_pause() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        let mut note = |number, ms| seen.note(number, number.map(|_| 40 * MS), start + MS * ms);
        note(Some(1), 0);
        note(Some(2), 100);
        note(Some(2), 200);
        note(None, 300);
        note(Some(3), 450);
        note(Some(4), 500);
        assert_eq!((seen.pause, seen.latencies.len(), seen.unread), (350 * MS, 4, 1));
    }

    #[test]
    fn taking_clears_what_was_seen_but_the_pause_continues() {
        let watch = Watch::new(&Arc::default());
        watch.lock().last = Some((1, Instant::now() - 500 * MS));
        assert!(watch.take().pause >= 500 * MS);
        assert_eq!(watch.lock().pause, Duration::ZERO);
        assert!(watch.paused_for() >= 500 * MS && watch.marked_pause() >= 500 * MS);
    }

    #[test]
    fn a_pause_ends_where_measuring_begins_again() {
        let watch = Watch::new(&Arc::default());
        watch.lock().last = Some((1, Instant::now() - 500 * MS));
        watch.reset();
        watch.mark();
        assert_eq!((watch.paused_for(), watch.marked_pause(), watch.take().pause), Default::default());
        assert!(!watch.wait(Duration::ZERO));
    }
}

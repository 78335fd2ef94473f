//! Where pictures go: a viewer that keeps what it sees, and when.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dreamframe::FrameView;
use dreamframe::transport::{FrameSink, now};

use super::{Drawn, read};

/// A picture that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// When.
    pub at: Instant,
    /// Its number, if it has one.
    pub number: Option<u16>,
    /// How long after it was taken, where that is known.
    pub late: Option<Duration>,
    /// Its width and height.
    pub size: (u32, u32),
}

/// Keeps what it sees.
#[derive(Debug)]
pub struct Screen {
    drawn: Arc<Drawn>,
    seen: Mutex<Vec<Shown>>,
    news: Condvar,
}

impl Screen {
    /// Creates one for pictures whose times are those of `drawn`.
    pub fn new(drawn: &Arc<Drawn>) -> Arc<Self> {
        Arc::new(Self { drawn: drawn.clone(), seen: Mutex::default(), news: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that was seen since the last time.
    pub fn take(&self) -> Vec<Shown> {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until what was seen is `enough`; whether it was so in time.
    pub fn wait_until(&self, limit: Duration, mut enough: impl FnMut(&[Shown]) -> bool) -> bool {
        let waited = self.news.wait_timeout_while(self.lock(), limit, |seen| !enough(seen));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits for the first numbered picture that was taken after this is called; gives when it is seen.
    pub fn next_new(&self, limit: Duration) -> Option<Instant> {
        let (start, mut found) = (now(), None);
        let is_new =
            |shown: &Shown| shown.number.and_then(|number| self.drawn.at(number)).is_some_and(|at| at >= start);
        self.wait_until(limit, |seen| {
            found = seen.iter().rev().find(|shown| is_new(shown)).map(|shown| shown.at);
            found.is_some()
        });
        found
    }
}

impl FrameSink for Screen {
    fn frame(&self, frame: &FrameView<'_>) {
        let (at, time) = (Instant::now(), now());
        let number = read(frame);
        let late = number.and_then(|number| self.drawn.at(number)).map(|taken| time.since(taken));
        self.lock().push(Shown { at, number, late, size: (frame.width(), frame.height()) });
        self.news.notify_all();
    }
}

/// Returns the longest time from `start` to `end` in which no new picture was seen.
pub fn longest_gap(seen: &[Shown], start: Instant, end: Instant) -> Duration {
    let mut last = None;
    let news = seen
        .iter()
        .filter(|shown| shown.number.is_none() || std::mem::replace(&mut last, shown.number) != shown.number);
    let times: Vec<_> = std::iter::once(start).chain(news.map(|shown| shown.at)).chain([end]).collect();
    times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
}

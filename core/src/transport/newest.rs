//! The newest frame, for a host that takes frames when it likes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::media::FrameSink;
use crate::frame::{Frame, FrameId, FramePool, FrameView};
use crate::sync::latest_slot::LatestSlot;
use crate::sync::notifier::Notifier;

/// Frames that are copied, wait and are looked at.
const POOLED: usize = 3;

/// Keeps the newest frame until somebody takes it: what a player's frames go to where the host asks for them.
///
/// Any threads; whoever brings a frame waits for nobody. Frames are numbered from 0, so that a gap tells how many a newer one
/// has replaced.
#[derive(Debug)]
pub struct Newest {
    frame: LatestSlot<Frame>,
    news: Notifier,
    pool: FramePool,
    /// How many have come.
    count: AtomicU64,
    /// The width and, below it, the height of the last one; 0 before the first.
    size: AtomicU64,
    closed: AtomicBool,
}

impl Default for Newest {
    fn default() -> Self {
        Self::new()
    }
}

impl Newest {
    /// Makes one that has no frame yet.
    pub fn new() -> Self {
        Self {
            frame: LatestSlot::new(),
            news: Notifier::new(),
            pool: FramePool::new(POOLED),
            count: AtomicU64::new(0),
            size: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes the frame, and waits for one if there is none; `None` after `timeout`, and at once where it is
    /// [closed](Self::close).
    pub fn take_within(&self, timeout: Duration) -> Option<Frame> {
        // A time that no clock reaches is no deadline.
        let deadline = Instant::now().checked_add(timeout);
        let found = || {
            // Looked at first: the last frame comes before the end does.
            let closed = self.closed.load(Ordering::Acquire);
            let frame = self.frame.take();
            (closed || frame.is_some()).then_some(frame)
        };
        self.news.wait_until(deadline, found).flatten()
    }

    /// Takes the frame, if there is one.
    pub fn take(&self) -> Option<Frame> {
        self.frame.take()
    }

    /// Puts back a frame that was taken for nothing, unless a newer one is there.
    pub fn put_back(&self, frame: Frame) {
        self.frame.put_back(frame);
        self.news.notify();
    }

    /// Returns the width and height of the last frame, in pixels.
    pub fn size(&self) -> Option<(u32, u32)> {
        let size = self.size.load(Ordering::Relaxed);
        (size > 0).then_some(((size >> 32) as u32, size as u32))
    }

    /// Lets nobody wait any longer, as there will be no further frame. The last one can still be taken.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.news.notify();
    }
}

impl FrameSink for Newest {
    fn frame(&self, view: &FrameView<'_>) {
        // Too little memory now: the next one may find some.
        let Ok(mut frame) = self.pool.copy(view) else { return };
        frame.set_id(FrameId(self.count.fetch_add(1, Ordering::Relaxed)));
        self.size.store(u64::from(frame.width()) << 32 | u64::from(frame.height()), Ordering::Relaxed);
        drop(self.frame.put(frame));
        self.news.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PixelFormat;

    fn show(newest: &Newest, side: u32) {
        let pixels = vec![side as u8; PixelFormat::Rgb8.packed_len(side, side)];
        newest.frame(&FrameView::packed(PixelFormat::Rgb8, side, side, &pixels).unwrap());
    }

    #[test]
    fn the_newest_picture_is_given_once_with_its_number() {
        let newest = Newest::new();
        assert!(newest.take().is_none() && newest.size().is_none());
        (2..=4).for_each(|side| show(&newest, side));
        let frame = newest.take().unwrap();
        assert_eq!((frame.id(), frame.width(), newest.size()), (FrameId(2), 4, Some((4, 4))));
        assert!(newest.take().is_none());
    }

    #[test]
    fn what_is_put_back_gives_way_to_what_is_newer() {
        let newest = Newest::new();
        show(&newest, 2);
        let first = newest.take().unwrap();
        newest.put_back(first);
        let first = newest.take().unwrap();
        show(&newest, 3);
        newest.put_back(first);
        assert_eq!(newest.take().unwrap().id(), FrameId(1));
    }

    #[test]
    fn who_waits_gets_the_next_one_or_hears_the_end() {
        let newest = Newest::new();
        let forever = Duration::from_secs(u64::MAX);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| newest.take_within(forever).map(|frame| frame.width()));
            show(&newest, 5);
            assert_eq!(waiting.join().unwrap(), Some(5));
            let waiting = scope.spawn(|| newest.take_within(forever).is_none());
            newest.close();
            assert!(waiting.join().unwrap());
        });
    }
}

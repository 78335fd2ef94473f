//! The latest frame, for a host that polls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::media::FrameSink;
use crate::frame::{Frame, FrameId, FramePool, FrameView};
use crate::sync::latest_slot::LatestSlot;
use crate::sync::notifier::Notifier;

/// Number of pooled frames: being written, waiting and being read.
const POOLED: usize = 3;

/// Stores the latest frame until it is taken: a player's sink for a host that polls.
///
/// May be used from any thread; adding a frame never waits. Frames are numbered from 0, so that a gap is the number of
/// frames that newer ones have replaced.
///
/// ```
/// use dreamframe::transport::{FrameSink, LatestFrame};
/// use dreamframe::{FrameView, PixelFormat};
///
/// # fn main() -> dreamframe::Result<()> {
/// let sink = LatestFrame::new();
/// for grey in [10, 20] {
///     let pixels = [grey; 2 * 2 * 3];
///     sink.frame(&FrameView::packed(PixelFormat::Rgb8, 2, 2, &pixels)?);
/// }
/// // The second frame has replaced the first.
/// let frame = sink.take().expect("a frame");
/// assert_eq!((frame.id().0, frame.pixels()[0]), (1, 20));
/// assert!(sink.take().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LatestFrame {
    frame: LatestSlot<Frame>,
    news: Notifier,
    pool: FramePool,
    /// The number of frames received.
    count: AtomicU64,
    /// The width and, below it, the height of the last one; 0 before the first.
    size: AtomicU64,
    closed: AtomicBool,
}

impl Default for LatestFrame {
    fn default() -> Self {
        Self::new()
    }
}

impl LatestFrame {
    /// Creates one without a frame.
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

    /// Takes the frame, and waits for one if there is none; `None` after `timeout`, and immediately if it is
    /// [closed](Self::close).
    pub fn take_within(&self, timeout: Duration) -> Option<Frame> {
        // A deadline beyond the range of the clock means none.
        let deadline = Instant::now().checked_add(timeout);
        let found = || {
            // Checked first: the last frame arrives before the end.
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

    /// Puts back a frame that was not used, unless there is a newer one.
    pub fn put_back(&self, frame: Frame) {
        self.frame.put_back(frame);
        self.news.notify();
    }

    /// Returns the width and height of the last frame, in pixels.
    pub fn size(&self) -> Option<(u32, u32)> {
        let size = self.size.load(Ordering::Relaxed);
        (size > 0).then_some(((size >> 32) as u32, size as u32))
    }

    /// Ends all waiting, as there will be no further frame. The last one can still be taken.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.news.notify();
    }
}

impl FrameSink for LatestFrame {
    fn frame(&self, view: &FrameView<'_>) {
        // Out of memory: the next frame may succeed.
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

    fn show(latest: &LatestFrame, side: u32) {
        let pixels = vec![side as u8; PixelFormat::Rgb8.packed_len(side, side)];
        latest.frame(&FrameView::packed(PixelFormat::Rgb8, side, side, &pixels).unwrap());
    }

    #[test]
    fn the_newest_picture_is_given_once_with_its_number() {
        let latest = LatestFrame::new();
        assert!(latest.take().is_none() && latest.size().is_none());
        (2..=4).for_each(|side| show(&latest, side));
        let frame = latest.take().unwrap();
        assert_eq!((frame.id(), frame.width(), latest.size()), (FrameId(2), 4, Some((4, 4))));
        assert!(latest.take().is_none());
    }

    #[test]
    fn returned_frame_is_replaced_by_a_newer_one() {
        let latest = LatestFrame::new();
        show(&latest, 2);
        let first = latest.take().unwrap();
        latest.put_back(first);
        let first = latest.take().unwrap();
        show(&latest, 3);
        latest.put_back(first);
        assert_eq!(latest.take().unwrap().id(), FrameId(1));
    }

    #[test]
    fn waiting_thread_gets_the_next_frame_or_the_end() {
        let latest = LatestFrame::new();
        let forever = Duration::from_secs(u64::MAX);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| latest.take_within(forever).map(|frame| frame.width()));
            show(&latest, 5);
            assert_eq!(waiting.join().unwrap(), Some(5));
            let waiting = scope.spawn(|| latest.take_within(forever).is_none());
            latest.close();
            assert!(waiting.join().unwrap());
        });
    }
}

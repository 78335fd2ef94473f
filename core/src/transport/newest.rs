//! The newest frame, for a host that takes frames when it likes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::media::FrameSink;
use crate::frame::{Frame, FrameId, FramePool, FrameView};

/// Frames that are copied, wait and are looked at.
const POOLED: usize = 3;

/// Keeps the newest frame until somebody takes it: what a player's frames go to where the host asks for them.
///
/// Any threads; whoever brings a frame waits for nobody. Frames are numbered from 0, so that a gap tells how many a newer one
/// has replaced.
#[derive(Debug)]
pub struct Newest {
    /// Held for as long as it takes to move a frame's few words.
    place: Mutex<Place>,
    news: Condvar,
    pool: FramePool,
}

#[derive(Debug, Default)]
struct Place {
    frame: Option<Frame>,
    /// How many have come.
    count: u64,
    /// The width and height of the last one.
    size: Option<(u32, u32)>,
    closed: bool,
}

impl Default for Newest {
    fn default() -> Self {
        Self::new()
    }
}

impl Newest {
    /// Makes one that has no frame yet.
    pub fn new() -> Self {
        Self { place: Mutex::default(), news: Condvar::new(), pool: FramePool::new(POOLED) }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the frame, and waits for one if there is none; `None` after `timeout`, and at once where it is
    /// [closed](Self::close).
    pub fn take_within(&self, timeout: Duration) -> Option<Frame> {
        let nothing = |place: &mut Place| place.frame.is_none() && !place.closed;
        let waited = self.news.wait_timeout_while(self.place(), timeout, nothing);
        waited.unwrap_or_else(PoisonError::into_inner).0.frame.take()
    }

    /// Takes the frame, if there is one.
    pub fn take(&self) -> Option<Frame> {
        self.place().frame.take()
    }

    /// Puts back a frame that was taken for nothing, unless a newer one is there.
    pub fn put_back(&self, frame: Frame) {
        self.place().frame.get_or_insert(frame);
    }

    /// Gives the width and height of the frame that is taken next, in pixels; where there is none, of the last one.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.place().size
    }

    /// Lets nobody wait any longer, as there will be no further frame. The last one can still be taken.
    pub fn close(&self) {
        self.place().closed = true;
        self.news.notify_all();
    }
}

impl FrameSink for Newest {
    fn frame(&self, view: &FrameView<'_>) {
        // Too little memory now: the next one may find some.
        let Ok(mut frame) = self.pool.copy(view) else { return };
        let mut place = self.place();
        frame.set_id(FrameId(place.count));
        place.count += 1;
        place.size = Some((frame.width(), frame.height()));
        let before = place.frame.replace(frame);
        drop(place);
        self.news.notify_one();
        drop(before);
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

//! The frames that pictures are made from.

use crate::frame::{FrameId, Stamp};

/// How many frames are remembered: more than a stream has rows.
const KEPT: usize = 8;

/// A frame that a picture is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Source {
    pub(in crate::engine) id: FrameId,
    /// Its stamp, as the host set it.
    pub(in crate::engine) stamp: Stamp,
}

/// The frames last processed.
#[derive(Debug, Default)]
pub(super) struct SourceFrames {
    // A ring.
    kept: [Source; KEPT],
    next: usize,
}

impl SourceFrames {
    /// Remembers `source` in place of the oldest.
    pub(super) fn note(&mut self, source: Source) {
        if let Some(place) = self.kept.get_mut(self.next % KEPT) {
            *place = source;
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Returns the latest frame with this id; without its stamp if it is no longer remembered.
    pub(super) fn find(&self, id: FrameId) -> Source {
        let places = (1..=KEPT).map(|back| self.next.wrapping_sub(back) % KEPT);
        let mut sources = places.filter_map(|place| self.kept.get(place).copied());
        sources.find(|source| source.id == id).unwrap_or(Source { id, stamp: Stamp::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(id: u64, tag: u64) -> Source {
        Source { id: FrameId(id), stamp: Stamp { tag, ..Stamp::default() } }
    }

    #[test]
    fn the_last_frames_are_found_and_earlier_ones_have_no_stamp() {
        let mut sources = SourceFrames::default();
        (0..20).for_each(|id| sources.note(source(id, id + 100)));
        assert_eq!(sources.find(FrameId(19)), source(19, 119));
        assert_eq!(sources.find(FrameId(12)), source(12, 112));
        assert_eq!(sources.find(FrameId(11)), source(11, 0));
        // A session counts from 0 again.
        sources.note(source(19, 7));
        assert_eq!(sources.find(FrameId(19)), source(19, 7));
    }

    #[cfg(feature = "demo-model")]
    #[test]
    fn a_picture_has_the_stamp_of_its_source() {
        use crate::frame::{FrameView, PixelFormat, Timestamp};

        let params = crate::StreamDiffusionParams { width: 64, height: 64, ..crate::StreamDiffusionParams::demo() };
        let mut engine = crate::Engine::builder().params(params).build().unwrap();
        let (pixels, delay) = (vec![90; 64 * 64 * 3], engine.delay() as u64);
        let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels).unwrap();
        for index in 0..4_u64 {
            let stamp = Stamp { timestamp: Timestamp(index * 10), tag: index + 1 };
            let picture = engine.process(&frame.with_stamp(stamp)).unwrap();
            let source = index.saturating_sub(delay);
            assert_eq!(picture.source_id, FrameId(source));
            assert_eq!(picture.frame.stamp(), Stamp { timestamp: Timestamp(source * 10), tag: source + 1 });
        }
    }
}

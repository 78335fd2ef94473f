//! What leaves the engine.

use crate::frame::{Frame, FrameId, Stamp};
use crate::telemetry::Timings;

/// Pixels that leave the engine, and what they were made from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Picture {
    /// The pixels, with the stamp of the frame that they were made from; their buffer goes back to the engine's pool
    /// when this drops.
    pub frame: Frame,
    /// The frame with which the picture came out.
    pub id: FrameId,
    /// The frame that it was made from.
    pub source_id: FrameId,
    /// How it came about.
    pub kind: PictureKind,
    /// The version of the parameters that it was made with: the newest update applied, 0 before the first.
    pub version: u64,
    /// How long each stage took.
    pub timings: Timings,
}

impl Picture {
    pub(super) fn new(mut frame: Frame, info: PictureInfo) -> Self {
        let PictureInfo { id, source_id, stamp, kind, version, timings } = info;
        frame.set_id(id);
        frame.set_stamp(stamp);
        Self { frame, id, source_id, kind, version, timings }
    }

    /// Returns all but the pixels.
    pub fn info(&self) -> PictureInfo {
        let &Self { id, source_id, kind, version, timings, .. } = self;
        PictureInfo { id, source_id, stamp: self.frame.stamp(), kind, version, timings }
    }
}

/// A picture without its pixels, which lie in the host's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PictureInfo {
    /// The frame with which the picture came out.
    pub id: FrameId,
    /// The frame that it was made from.
    pub source_id: FrameId,
    /// What the host said of that frame.
    pub stamp: Stamp,
    /// How it came about.
    pub kind: PictureKind,
    /// The version of the parameters that it was made with: the newest update applied, 0 before the first.
    pub version: u64,
    /// How long each stage took.
    pub timings: Timings,
}

/// How a picture came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PictureKind {
    /// Restyled.
    New,
    /// The last picture again, because the frame hardly differs from the last one worked on.
    Repeated,
    /// Another one in the place of a picture that the safety checker flagged.
    Flagged,
    /// The frame itself, fitted to the stream's size, because `skip_diffusion` is on.
    Passed,
}

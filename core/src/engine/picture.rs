//! Pictures: the output of an engine.

use crate::frame::{Frame, FrameId, Stamp};
use crate::telemetry::Timings;

/// A picture: output pixels, and the frame that they were made from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Picture {
    /// The pixels, with the stamp of the frame that they were made from; their buffer returns to the engine's pool
    /// when this drops.
    pub frame: Frame,
    /// The frame whose processing returned the picture.
    pub id: FrameId,
    /// The frame that it was made from.
    pub source_id: FrameId,
    /// How it was made.
    pub kind: PictureKind,
    /// The version of the parameters in effect: that of the newest applied update, 0 before the first.
    pub version: u64,
    /// The duration of each stage.
    pub timings: Timings,
}

impl Picture {
    pub(super) fn new(mut frame: Frame, info: PictureInfo) -> Self {
        let PictureInfo { id, source_id, stamp, kind, version, timings } = info;
        frame.set_id(id);
        frame.set_stamp(stamp);
        Self { frame, id, source_id, kind, version, timings }
    }

    /// Returns the metadata.
    pub fn info(&self) -> PictureInfo {
        let &Self { id, source_id, kind, version, timings, .. } = self;
        PictureInfo { id, source_id, stamp: self.frame.stamp(), kind, version, timings }
    }
}

/// The metadata of a picture whose pixels are in the host's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PictureInfo {
    /// The frame whose processing returned the picture.
    pub id: FrameId,
    /// The frame that it was made from.
    pub source_id: FrameId,
    /// The stamp that the host set on that frame.
    pub stamp: Stamp,
    /// How it was made.
    pub kind: PictureKind,
    /// The version of the parameters in effect: that of the newest applied update, 0 before the first.
    pub version: u64,
    /// The duration of each stage.
    pub timings: Timings,
}

/// How a picture was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PictureKind {
    /// Restyled.
    New,
    /// A repeat of the last picture, because the frame is similar to the last one processed.
    Repeated,
    /// A replacement of a picture that the safety checker flagged.
    Flagged,
    /// The frame itself, resized to the stream's size, because `skip_diffusion` is on.
    Passed,
    /// Interpolated between the picture before and the picture of the frame, by a session whose parameter
    /// `interpolation` is on. Its ids, version and tag are those of the frame, which comes after it, and its timestamp is
    /// between those of both; its timings are 0.
    Interpolated,
}

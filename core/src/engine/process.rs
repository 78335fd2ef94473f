//! Processing of one frame.

use std::time::Instant;

use super::state::Source;
use super::{Engine, Picture, PictureInfo, PictureKind};
use crate::error::Result;
use crate::frame::{FrameId, FrameView, FrameViewMut};
use crate::telemetry::Timings;

impl Engine {
    /// Processes one frame, and returns the picture of the frame of [`delay`](Self::delay) calls ago, in a pooled
    /// buffer that returns to the pool when the picture is dropped.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, and errors of the device, also for the step of a current [transition](Self::transition). The
    /// stream continues with the next frame.
    pub fn process(&mut self, frame: &FrameView<'_>) -> Result<Picture> {
        self.process_as(FrameId(self.next_id), frame)
    }

    /// As [`process`](Self::process), for a frame with a given id.
    ///
    /// # Errors
    ///
    /// Those of `process`.
    pub(crate) fn process_as(&mut self, id: FrameId, frame: &FrameView<'_>) -> Result<Picture> {
        self.next_id = id.0;
        let (width, height) = self.size();
        let mut picture = self.pool.frame(self.context.options.output, width, height)?;
        let info = self.process_into(frame, &mut picture.view_mut())?;
        Ok(Picture::new(picture, info))
    }

    /// Returns the last picture again, for the frame `id`; `None` before the first.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(crate) fn repeat(&mut self, id: FrameId) -> Result<Option<Picture>> {
        let Some(Source { id: source_id, stamp }) = self.state.last_source() else { return Ok(None) };
        let start = Instant::now();
        let (width, height) = self.size();
        let mut picture = self.pool.frame(self.context.options.output, width, height)?;
        self.converter.from_signed(self.state.picture().pixels(), width, height, &mut picture.view_mut())?;
        let micros = Timings::micros(start.elapsed());
        let timings = Timings { postprocess: micros, total: micros, ..Timings::default() };
        let info = PictureInfo { id, source_id, stamp, kind: PictureKind::Repeated, version: self.version, timings };
        Ok(Some(Picture::new(picture, info)))
    }

    /// Processes one frame, and writes the picture into the host's memory, which has the engine's [`size`](Self::size).
    ///
    /// # Errors
    ///
    /// As [`process`](Self::process); on an error the contents of `out` are unspecified.
    pub fn process_into(&mut self, frame: &FrameView<'_>, out: &mut FrameViewMut<'_>) -> Result<PictureInfo> {
        let own = Source { id: FrameId(self.next_id), stamp: frame.stamp() };
        self.next_id += 1;
        let start = Instant::now();
        let mut timings = Timings::default();
        self.read(frame)?;
        timings.preprocess = Timings::micros(start.elapsed());
        self.step()?;
        let Self { state, active, context, .. } = self;
        let (kind, source) = state.restyle(active.pipeline(), own, context.options.flagged, &mut timings)?;
        let before = Instant::now();
        let (width, height) = self.size();
        self.converter.from_signed(self.state.picture().pixels(), width, height, out)?;
        timings.postprocess += Timings::micros(before.elapsed());
        timings.total = Timings::micros(start.elapsed());
        let Source { id: source_id, stamp } = source;
        Ok(PictureInfo { id: own.id, source_id, stamp, kind, version: self.version, timings })
    }

    fn read(&mut self, frame: &FrameView<'_>) -> Result<()> {
        let size = (self.params().width, self.params().height);
        let Self { state, active, context, converter, .. } = self;
        state.read(frame, converter, context.options.fit, size, active.pipeline().map(|pipeline| &pipeline.components))
    }
}

//! Processing of frames.

use std::time::Instant;

use super::in_flight::{CollectedPicture, InFlightFrame};
use super::state::{Source, Stage};
use super::{Engine, Picture, PictureInfo, PictureKind};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Queue, Transfer, View, ViewMut};
use crate::frame::{Fit, FrameConverter, FrameId, FrameView, FrameViewMut, PixelFormat, Stamp};
use crate::telemetry::Timings;

/// Returns the frame of a picture that is made from the prompt alone; it is scaled to the size of the stream.
fn grey() -> Result<FrameView<'static>> {
    FrameView::packed(PixelFormat::Rgb8, 1, 1, &[128; 3])
}

impl Engine {
    /// Processes one frame, and returns the picture of the frame of [`delay`](Self::delay) calls ago, in a pooled
    /// buffer that returns to the pool when the picture is dropped.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, and errors of the device, also for the step of a current [transition](Self::transition). The
    /// stream continues with the next frame; after an error of the device, it starts again with it, without the frames
    /// before. `InvalidArgument` if a [submitted](Self::submit) frame was not collected.
    pub fn process(&mut self, frame: &FrameView<'_>) -> Result<Picture> {
        self.process_as(FrameId(self.next_id), frame)
    }

    /// Like [`process`](Self::process), for a frame with a given id.
    ///
    /// # Errors
    ///
    /// Those of `process`.
    pub(crate) fn process_as(&mut self, id: FrameId, frame: &FrameView<'_>) -> Result<Picture> {
        self.next_id = id.0;
        self.check_none_in_flight()?;
        self.submit(frame)?;
        self.collect()
    }

    /// Processes one frame, and writes the picture into the host's memory, which has the engine's [`size`](Self::size).
    ///
    /// ```
    /// use dreamframe::{Engine, FrameView, FrameViewMut, PixelFormat, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let mut engine = Engine::builder().params(params).build()?;
    /// let (pixels, mut texture) = (vec![90; 64 * 64 * 4], vec![0; 64 * 64 * 4]);
    /// let frame = FrameView::packed(PixelFormat::Bgra8, 64, 64, &pixels)?;
    /// let mut out = FrameViewMut::packed(PixelFormat::Bgra8, 64, 64, &mut texture)?;
    /// let info = engine.process_into(&frame, &mut out)?;
    /// assert!(info.timings.total >= info.timings.unet);
    /// assert!(texture.iter().any(|&byte| byte != 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Like [`process`](Self::process); on an error the contents of `out` are unspecified.
    pub fn process_into(&mut self, frame: &FrameView<'_>, out: &mut FrameViewMut<'_>) -> Result<PictureInfo> {
        self.check_none_in_flight()?;
        self.submit(frame)?;
        self.collect_into(out)
    }

    /// Makes a picture from the prompt alone. A grey frame is processed [`delay`](Self::delay) + 1 times, so that the
    /// picture is that of the current parameters; the similar-image filter skips none of these. Nothing of the grey remains
    /// with a first index of 0 in `t_index_list`, and the picture depends on `seed`. Its
    /// [`source_id`](PictureInfo::source_id) is the number of the first of these frames.
    ///
    /// ```
    /// use dreamframe::{Engine, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let t_index_list = vec![0, 16, 32, 45];
    /// let params = StreamDiffusionParams { width: 64, height: 64, t_index_list, ..StreamDiffusionParams::demo() };
    /// let mut engine = Engine::builder().params(params).build()?;
    /// let picture = engine.text_to_image()?;
    /// assert_eq!((picture.frame.width(), picture.frame.height()), (64, 64));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`process`](Self::process).
    pub fn text_to_image(&mut self) -> Result<Picture> {
        self.fill_with_grey()?;
        self.process(&grey()?)
    }

    /// Like [`text_to_image`](Self::text_to_image), into the host's memory, as [`process_into`](Self::process_into).
    ///
    /// # Errors
    ///
    /// Those of `process_into`.
    pub fn text_to_image_into(&mut self, out: &mut FrameViewMut<'_>) -> Result<PictureInfo> {
        self.fill_with_grey()?;
        self.process_into(&grey()?, out)
    }

    /// Processes grey frames until the next one gives the picture of the current parameters.
    fn fill_with_grey(&mut self) -> Result<()> {
        for _ in 0..self.delay() {
            self.state.compute_next();
            self.process(&grey()?)?;
        }
        self.state.compute_next();
        Ok(())
    }

    /// Starts the processing of a frame. Each submitted frame must be [collected](Self::collect), in order; on a device
    /// that works while the host continues, the next frame can be submitted before. Returns the frame's id.
    ///
    /// ```
    /// use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let mut engine = Engine::builder().params(params).build()?;
    /// let pixels = vec![90; 64 * 64 * 3];
    /// let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?;
    /// let mut pictures = 0;
    /// for _ in 0..4 {
    ///     let mut in_flight = 0;
    ///     while in_flight < engine.depth() {
    ///         engine.submit(&frame)?;
    ///         in_flight += 1;
    ///     }
    ///     for _ in 0..in_flight {
    ///         engine.collect()?;
    ///         pictures += 1;
    ///     }
    /// }
    /// assert_eq!(pictures, 4 * engine.depth());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Like [`process`](Self::process); the frame is then not in flight. `InvalidArgument` if there are as many frames in
    /// flight as the device has [depth](Self::depth).
    pub fn submit(&mut self, frame: &FrameView<'_>) -> Result<FrameId> {
        self.submit_with(frame.stamp(), |queue, converter, fit, size, to| queue.import(frame, converter, fit, size, to))
    }

    /// Starts the processing of the frame that `import` writes into a buffer.
    ///
    /// # Errors
    ///
    /// Those of `submit`.
    pub(super) fn submit_with(
        &mut self,
        stamp: Stamp,
        import: impl FnOnce(&dyn Queue, &mut FrameConverter, Fit, (u32, u32), ViewMut<'_>) -> Result<()>,
    ) -> Result<FrameId> {
        let submitted = self.try_submit(stamp, import);
        self.restart_after(submitted)
    }

    /// Restarts the stream if `result` is an error of the device, which may be that of any earlier work, or if memory was
    /// missing for a part of the work.
    fn restart_after<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::Device | ErrorKind::OutOfMemory)) {
            self.state.restart();
            self.in_flight.lose();
        }
        result
    }

    fn try_submit(
        &mut self,
        stamp: Stamp,
        import: impl FnOnce(&dyn Queue, &mut FrameConverter, Fit, (u32, u32), ViewMut<'_>) -> Result<()>,
    ) -> Result<FrameId> {
        let own = Source { id: FrameId(self.next_id), stamp };
        let (fit, size) = (self.context.options.fit, (self.params().width, self.params().height));
        let (depth, version) = (self.in_flight.depth(), self.version);
        let Some(InFlightFrame { timer, .. }) = self.in_flight.next() else {
            let text = format!("frames in flight: got one more than {depth}, expected a call of `collect` before");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        timer.start();
        self.next_id += 1;
        let queue = self.state.queue().clone();
        let from = queue.mark();
        let components = self.active.pipeline().map(|pipeline| &pipeline.components);
        let converter = &mut self.converter;
        self.state.read(|queue, to| import(queue, converter, fit, size, to), components)?;
        timer.end(&*queue, Stage::Preprocess, from);
        self.step()?;
        self.note_external();
        let Self { state, active, context, in_flight, .. } = self;
        let Some(InFlightFrame { info, picture, transfer, timer }) = in_flight.next() else {
            return Err(Error::new(ErrorKind::Internal, "the memory of the next frame is in use"));
        };
        let (kind, source) = state.restyle(active.pipeline(), own, context.options.flagged, timer)?;
        *picture = state.last_picture();
        queue.begin_export(state.picture(*picture), transfer)?;
        let Source { id: source_id, stamp } = source;
        let timings = Timings::default();
        *info = Some(PictureInfo { id: own.id, source_id, stamp, kind, version, timings });
        in_flight.push();
        Ok(own.id)
    }

    /// Waits for the picture of the oldest submitted frame, and returns it as [`process`](Self::process) does.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if no frame is in flight, `OutOfMemory`, and errors of the device; the frame is then no longer
    /// in flight. After an error of the device, the frames that were in flight with it are errors, too.
    pub fn collect(&mut self) -> Result<Picture> {
        let (width, height) = self.size();
        let picture = self.pool.frame(self.context.options.output, width, height);
        let mut picture = picture.inspect_err(|_| {
            self.in_flight.pop();
        })?;
        let info = self.collect_into(&mut picture.view_mut())?;
        Ok(Picture::new(picture, info))
    }

    /// Like [`collect`](Self::collect), into the host's memory, which has the engine's [`size`](Self::size).
    ///
    /// # Errors
    ///
    /// As `collect`, and `InvalidFrame` for another size; on an error the contents of `out` are unspecified.
    pub fn collect_into(&mut self, out: &mut FrameViewMut<'_>) -> Result<PictureInfo> {
        self.collect_with(true, |queue, from, transfer, converter, size| {
            queue.finish_export(from, transfer, converter, size, out)
        })
    }

    /// Waits for the picture of the oldest submitted frame, which `export` writes into memory of the host, to which its
    /// transfer is if `to_host`.
    ///
    /// # Errors
    ///
    /// Those of `collect_into`.
    pub(super) fn collect_with(
        &mut self,
        to_host: bool,
        export: impl FnOnce(&dyn Queue, View<'_>, &mut Transfer, &mut FrameConverter, (u32, u32)) -> Result<()>,
    ) -> Result<PictureInfo> {
        let collected = self.try_collect(to_host, export);
        self.restart_after(collected)
    }

    fn try_collect(
        &mut self,
        to_host: bool,
        export: impl FnOnce(&dyn Queue, View<'_>, &mut Transfer, &mut FrameConverter, (u32, u32)) -> Result<()>,
    ) -> Result<PictureInfo> {
        let size = self.size();
        let Self { state, in_flight, converter, collected, .. } = self;
        let Some(InFlightFrame { info, picture, transfer, timer }) = in_flight.pop() else {
            let text = "frames in flight: got none, expected a call of `submit` before";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        let Some(info) = info else {
            return Err(Error::new(ErrorKind::Device, "the device failed after the frame was submitted"));
        };
        let queue = &**state.queue();
        let from = queue.mark();
        export(queue, state.picture(*picture), transfer, converter, size)?;
        timer.end(queue, Stage::Postprocess, from);
        info.timings = timer.timings(queue);
        std::mem::swap(&mut collected.transfer, transfer);
        collected.info = to_host.then_some((*info, size));
        Ok(*info)
    }

    /// Returns how many submitted frames may be in flight: 1 if the device finishes a frame before
    /// [`submit`](Self::submit) returns, as the CPU does.
    pub fn depth(&self) -> usize {
        self.in_flight.depth()
    }

    /// Returns the last picture again, for the frame `id`; `None` before the first. It needs no device, if the memory of the
    /// last transfer has the picture.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, and errors of the device.
    pub(crate) fn repeat(&mut self, id: FrameId) -> Result<Option<Picture>> {
        let start = Instant::now();
        let (width, height) = self.size();
        let mut picture = self.pool.frame(self.context.options.output, width, height)?;
        let (queue, CollectedPicture { transfer, info }) = (&**self.state.queue(), &mut self.collected);
        // Two sizes may have the same number of elements.
        let is_kept = info.as_ref().is_some_and(|(_, size)| *size == (width, height))
            && queue.export_again(transfer, &mut self.converter, (width, height), &mut picture.view_mut())?;
        let source = match info {
            Some((info, _)) if is_kept => Some((info.source_id, info.stamp)),
            _ => self.state.last_source().map(|Source { id, stamp }| (id, stamp)),
        };
        let Some((source_id, stamp)) = source else { return Ok(None) };
        if !is_kept {
            let last = self.state.picture(self.state.last_picture());
            let mut transfer = Transfer::new();
            queue.begin_export(last, &mut transfer)?;
            queue.finish_export(last, &mut transfer, &mut self.converter, (width, height), &mut picture.view_mut())?;
        }
        let micros = Timings::micros(start.elapsed());
        let timings = Timings { postprocess: micros, total: micros, ..Timings::default() };
        let info = PictureInfo { id, source_id, stamp, kind: PictureKind::Repeated, version: self.version, timings };
        Ok(Some(Picture::new(picture, info)))
    }

    /// Checks that no frames are in flight.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there are any.
    pub(super) fn check_none_in_flight(&self) -> Result<()> {
        match self.in_flight.len() {
            0 => Ok(()),
            count => {
                let text = format!("frames in flight: got {count}, expected none; collect them before");
                Err(Error::new(ErrorKind::InvalidArgument, text))
            }
        }
    }
}

//! One frame through the engine.

use std::time::Instant;

use super::control::ControlCalls;
use super::safety::Judge;
use super::unet::UnetCalls;
use super::{Active, Engine, Picture, PictureInfo, PictureKind};
use crate::error::Result;
use crate::filter::Decision;
use crate::frame::{FrameId, FrameView, FrameViewMut};
use crate::telemetry::Timings;

impl Engine {
    /// Works on one frame and gives the picture of the frame [`delay`](Self::delay) calls ago, in a pooled buffer that
    /// comes back when the picture drops.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, and what the device reports, also for a [transition](Self::transition) under way; the stream then
    /// goes on with the next frame.
    pub fn process(&mut self, frame: &FrameView<'_>) -> Result<Picture> {
        self.process_as(FrameId(self.next_id), frame)
    }

    /// As [`process`](Self::process), for a frame that has its number already.
    ///
    /// # Errors
    ///
    /// Those of `process`.
    pub(crate) fn process_as(&mut self, id: FrameId, frame: &FrameView<'_>) -> Result<Picture> {
        self.next_id = id.0;
        let (width, height) = self.size();
        let mut picture = self.pool.frame(self.workshop.options.output, width, height)?;
        let info = self.process_into(frame, &mut picture.view_mut())?;
        Ok(Picture::new(picture, info))
    }

    /// Gives the last picture again, for the frame `id`; none before the first.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(crate) fn repeat(&mut self, id: FrameId) -> Result<Option<Picture>> {
        let Some(source_id) = self.last_source else { return Ok(None) };
        let start = Instant::now();
        let (width, height) = self.size();
        let mut picture = self.pool.frame(self.workshop.options.output, width, height)?;
        self.converter.from_signed(&self.buffers.result, width, height, &mut picture.view_mut())?;
        let micros = Timings::micros(start.elapsed());
        let timings = Timings { postprocess: micros, total: micros, ..Timings::default() };
        let info = PictureInfo { id, source_id, kind: PictureKind::Repeated, version: self.version, timings };
        Ok(Some(Picture::new(picture, info)))
    }

    /// Works on one frame and writes the picture into the host's own pixels, of the stream's [`size`](Self::size).
    ///
    /// # Errors
    ///
    /// As [`process`](Self::process); on an error `out` may hold anything.
    pub fn process_into(&mut self, frame: &FrameView<'_>, out: &mut FrameViewMut<'_>) -> Result<PictureInfo> {
        let id = FrameId(self.next_id);
        self.next_id += 1;
        let start = Instant::now();
        let mut timings = Timings::default();
        let (width, height) = self.size();
        self.converter.to_signed(frame, self.workshop.options.fit, width, height, &mut self.buffers.image)?;
        timings.preprocess = Timings::micros(start.elapsed());
        self.step()?;
        // After a failed frame nothing may be repeated: the filter took that frame for the last one computed.
        let (kind, source_id) = self.restyle(id, &mut timings).inspect_err(|_| self.filter.reset())?;
        let shown = if kind == PictureKind::Passed { &self.buffers.image } else { &self.buffers.result };
        let before = Instant::now();
        self.converter.from_signed(shown, width, height, out)?;
        timings.postprocess += Timings::micros(before.elapsed());
        timings.total = Timings::micros(start.elapsed());
        Ok(PictureInfo { id, source_id, kind, version: self.version, timings })
    }

    /// Takes the image through filter, autoencoder and stream to the result.
    fn restyle(&mut self, id: FrameId, timings: &mut Timings) -> Result<(PictureKind, FrameId)> {
        let Active::Ready(pipeline) = &self.active else {
            // Until there is a pipeline again, the last picture stays; without one, the frame itself.
            return Ok(match self.last_source {
                Some(source) => (PictureKind::Repeated, source),
                None => (PictureKind::Passed, id),
            });
        };
        if pipeline.params.skip_diffusion {
            return Ok((PictureKind::Passed, id));
        }
        let buffers = &mut self.buffers;
        if pipeline.params.enable_similar_image_filter
            && self.filter.check(&buffers.image) == Decision::Skip
            && let Some(source) = self.last_source
        {
            return Ok((PictureKind::Repeated, source));
        }
        let pieces = &pipeline.pieces;
        let codec = pieces.codec();
        let before = Instant::now();
        codec.encoder.run(&codec.encoder_constants, &mut self.arena, &[&buffers.image], &mut [&mut buffers.latent])?;
        timings.encode = Timings::micros(before.elapsed());
        let before = Instant::now();
        let previous = self.last_source.map(|_| &*buffers.result);
        let (controls, arena, work) = (&pieces.controls, &mut self.arena, &mut self.work);
        self.control.observe(controls, &buffers.image, previous, arena, work)?;
        let control = ControlCalls { controls, state: &mut self.control, spent: before.elapsed() };
        let observed = control.spent;
        let before = Instant::now();
        let mut calls = UnetCalls {
            unet: pieces.unet(),
            constants: pieces.constants(),
            arena,
            past: &mut self.past,
            interval: pipeline.params.cached_attention.interval,
            control,
            work,
        };
        let source = FrameId(self.stream.step(&buffers.latent, id.0, &mut calls, &mut buffers.clean)?);
        let spent = calls.control.spent;
        timings.control = Timings::micros(spent);
        timings.unet = Timings::micros(before.elapsed().saturating_sub(spent.saturating_sub(observed)));
        self.control.advance(controls);
        let before = Instant::now();
        // Where this fails, there is no last picture any more.
        self.last_source = None;
        codec.decoder.run(&codec.decoder_constants, &mut self.arena, &[&buffers.clean], &mut [&mut buffers.result])?;
        timings.decode = Timings::micros(before.elapsed());
        let before = Instant::now();
        let judge = pieces.safety_checker().map(|checker| Judge {
            checker,
            threshold: pipeline.params.safety_checker_threshold as f32,
            instead: self.workshop.options.flagged,
        });
        let flagged = judge.map(|judge| self.guard.check(&judge, &mut buffers.result, source)).transpose()?.flatten();
        timings.postprocess = Timings::micros(before.elapsed());
        self.last_source = Some(flagged.unwrap_or(source));
        Ok(flagged.map_or((PictureKind::New, source), |shown| (PictureKind::Flagged, shown)))
    }
}

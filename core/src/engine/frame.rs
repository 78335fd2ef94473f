//! One frame through the engine.

use std::time::Instant;

use super::chains::Stage;
use super::control::ControlCalls;
use super::pipeline::{Pieces, Pipeline};
use super::safety::Judge;
use super::source::Source;
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
        let Some(Source { id: source_id, stamp }) = self.last_source else { return Ok(None) };
        let start = Instant::now();
        let (width, height) = self.size();
        let mut picture = self.pool.frame(self.workshop.options.output, width, height)?;
        self.converter.from_signed(self.buffers.result.pixels(), width, height, &mut picture.view_mut())?;
        let micros = Timings::micros(start.elapsed());
        let timings = Timings { postprocess: micros, total: micros, ..Timings::default() };
        let info = PictureInfo { id, source_id, stamp, kind: PictureKind::Repeated, version: self.version, timings };
        Ok(Some(Picture::new(picture, info)))
    }

    /// Works on one frame and writes the picture into the host's own pixels, of the engine's [`size`](Self::size).
    ///
    /// # Errors
    ///
    /// As [`process`](Self::process); on an error `out` may hold anything.
    pub fn process_into(&mut self, frame: &FrameView<'_>, out: &mut FrameViewMut<'_>) -> Result<PictureInfo> {
        let own = Source { id: FrameId(self.next_id), stamp: frame.stamp() };
        self.next_id += 1;
        let start = Instant::now();
        let mut timings = Timings::default();
        self.read(frame)?;
        timings.preprocess = Timings::micros(start.elapsed());
        self.step()?;
        self.sources.note(own);
        // After a failed frame nothing may be repeated: the filter took that frame for the last one computed.
        let (kind, source) = self.restyle(own, &mut timings).inspect_err(|_| self.filter.reset())?;
        self.work.processor_evaluations += self.chains.take_evaluations();
        let before = Instant::now();
        let (width, height) = self.size();
        self.converter.from_signed(self.buffers.result.pixels(), width, height, out)?;
        timings.postprocess += Timings::micros(before.elapsed());
        timings.total = Timings::micros(start.elapsed());
        let Source { id: source_id, stamp } = source;
        Ok(PictureInfo { id: own.id, source_id, stamp, kind, version: self.version, timings })
    }

    /// Takes the frame's pixels through `image_preprocessing`.
    fn read(&mut self, frame: &FrameView<'_>) -> Result<()> {
        let (width, height) = (self.params().width, self.params().height);
        let looks_back = self.pieces().is_some_and(Pieces::looks_back);
        let last = self.last_source.filter(|_| looks_back);
        let Self { converter, buffers, chains, .. } = self;
        converter.to_signed(frame, self.workshop.options.fit, width, height, buffers.image.pixels_mut())?;
        chains.remember(last.map(|_| &buffers.result));
        chains.frame(&mut buffers.image)
    }

    /// Takes the image through filter, autoencoder, stream and the other chains to the result.
    fn restyle(&mut self, own: Source, timings: &mut Timings) -> Result<(PictureKind, Source)> {
        let Self { chains, buffers, arena, work, .. } = self;
        let Active::Ready(pipeline) = &self.active else {
            // Until there is a pipeline again, the last picture stays; without one, the frame itself.
            if let Some(source) = self.last_source {
                return Ok((PictureKind::Repeated, source));
            }
            chains.picture(&buffers.image, &mut buffers.result)?;
            return Ok((PictureKind::Passed, own));
        };
        if pipeline.params.skip_diffusion {
            chains.picture(&buffers.image, &mut buffers.result)?;
            self.last_source = Some(own);
            return Ok((PictureKind::Passed, own));
        }
        if pipeline.params.enable_similar_image_filter
            && self.filter.check(&buffers.image) == Decision::Skip
            && let Some(source) = self.last_source
        {
            return Ok((PictureKind::Repeated, source));
        }
        let pipeline = pipeline.clone();
        let codec = pipeline.pieces.codec();
        let before = Instant::now();
        let image = buffers.image.pixels();
        codec.encoder.run(&codec.encoder_constants, arena, &[image], &mut [&mut buffers.latent])?;
        work.encoder_evaluations += 1;
        timings.encode = Timings::micros(before.elapsed());
        let source = self.denoise(&pipeline, own.id, timings)?;
        self.decode(&pipeline, source, timings)
    }

    /// Takes the frame's latent through the stream to the clean latent of the frame that it gives the id of.
    fn denoise(&mut self, pipeline: &Pipeline, id: FrameId, timings: &mut Timings) -> Result<Source> {
        let Self { chains, buffers, stream, arena, control, work, .. } = self;
        let pieces = &pipeline.pieces;
        let before = Instant::now();
        control.observe(&pieces.controls, &buffers.image, chains.previous(), arena, work)?;
        let observed = before.elapsed();
        let before = Instant::now();
        let last = self.has_latent.then_some(&buffers.clean);
        // Strengths are tuned on the noised latent, so that is what the processors see.
        chains.noised(stream.enter(&buffers.latent, id.0)?, pieces.codec().latent, last)?;
        let mut calls = UnetCalls {
            unet: pieces.unet(),
            constants: pieces.constants(),
            arena,
            past: &mut self.past,
            interval: pipeline.params.cached_attention.interval,
            control: ControlCalls { controls: &pieces.controls, state: control, spent: observed },
            work,
        };
        let source = self.sources.find(FrameId(stream.advance(&mut calls, buffers.next.pixels_mut())?));
        let spent = calls.control.spent;
        control.advance(&pieces.controls);
        chains.clean(&mut buffers.next, last)?;
        std::mem::swap(&mut buffers.clean, &mut buffers.next);
        self.has_latent = true;
        timings.control = Timings::micros(spent);
        timings.unet = Timings::micros(before.elapsed().saturating_sub(spent.saturating_sub(observed)));
        Ok(source)
    }

    /// Takes the clean latent, made from the frame `source`, to the result.
    fn decode(&mut self, pipeline: &Pipeline, source: Source, timings: &mut Timings) -> Result<(PictureKind, Source)> {
        let Self { chains, buffers, arena, filter, work, .. } = self;
        let codec = pipeline.pieces.codec();
        let before = Instant::now();
        if pipeline.params.enable_similar_image_filter {
            filter.keep(&mut buffers.image);
        }
        // Where this fails, there is no last picture any more.
        self.last_source = None;
        let plain = chains.is_empty(Stage::Picture);
        let decoded = if plain { &mut buffers.result } else { &mut buffers.image };
        let clean = buffers.clean.pixels();
        codec.decoder.run(&codec.decoder_constants, arena, &[clean], &mut [decoded.pixels_mut()])?;
        work.decoder_evaluations += 1;
        timings.decode = Timings::micros(before.elapsed());
        let before = Instant::now();
        if !plain {
            chains.picture(&buffers.image, &mut buffers.result)?;
        }
        let judge = pipeline.pieces.safety_checker().map(|checker| Judge {
            checker,
            threshold: pipeline.params.safety_checker_threshold as f32,
            instead: self.workshop.options.flagged,
        });
        work.safety_evaluations += u64::from(judge.is_some());
        let result = buffers.result.pixels_mut();
        let flagged = judge.map(|judge| self.guard.check(&judge, result, source)).transpose()?.flatten();
        timings.postprocess = Timings::micros(before.elapsed());
        self.last_source = Some(flagged.unwrap_or(source));
        Ok(flagged.map_or((PictureKind::New, source), |shown| (PictureKind::Flagged, shown)))
    }
}

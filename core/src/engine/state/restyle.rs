//! Processing of one frame: chains, filter, autoencoder, ControlNets, stream and safety checker.

use std::time::Instant;

use super::FrameState;
use super::control_calls::ControlCalls;
use super::guard::Judge;
use super::predict::UnetPredictor;
use super::sources::Source;
use crate::engine::options::Flagged;
use crate::engine::picture::PictureKind;
use crate::engine::pipeline::recipes::ChainSlot;
use crate::engine::pipeline::{Components, Pipeline};
use crate::error::Result;
use crate::filter::Decision;
use crate::frame::{Fit, FrameConverter, FrameId, FrameView};
use crate::telemetry::Timings;

impl FrameState {
    /// Converts the frame to the size `width` x `height`, and runs `image_preprocessing` on it.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, and those of the processors.
    pub(in crate::engine) fn read(
        &mut self,
        frame: &FrameView<'_>,
        converter: &mut FrameConverter,
        fit: Fit,
        (width, height): (u32, u32),
        components: Option<&Components>,
    ) -> Result<()> {
        let last = self.last_source.filter(|_| components.is_some_and(Components::looks_back));
        let Self { buffers, chains, .. } = self;
        converter.to_signed(frame, fit, width, height, buffers.image.pixels_mut())?;
        chains.remember(last.map(|_| &buffers.result));
        chains.frame(&mut buffers.image)
    }

    /// Makes the picture of the frame that was [read](Self::read) last, `own`; returns how it was made, and the frame
    /// that it was made from. Without a pipeline, the last picture stays, and before the first the frame itself is the
    /// picture.
    ///
    /// # Errors
    ///
    /// Those of processors, networks and the safety checker. The stream continues with the next frame.
    pub(in crate::engine) fn restyle(
        &mut self,
        pipeline: Option<&Pipeline>,
        own: Source,
        flagged: Flagged,
        timings: &mut Timings,
    ) -> Result<(PictureKind, Source)> {
        self.sources.note(own);
        // After an error no picture may be repeated: the filter took this frame for the last one computed.
        let made = self.try_restyle(pipeline, own, flagged, timings).inspect_err(|_| self.filter.reset())?;
        self.work.processor_evaluations += self.chains.take_evaluations();
        Ok(made)
    }

    fn try_restyle(
        &mut self,
        pipeline: Option<&Pipeline>,
        own: Source,
        flagged: Flagged,
        timings: &mut Timings,
    ) -> Result<(PictureKind, Source)> {
        let Self { chains, buffers, arena, work, .. } = self;
        let Some(pipeline) = pipeline else {
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
        let autoencoder = pipeline.components.autoencoder();
        let before = Instant::now();
        let image = buffers.image.pixels();
        autoencoder.encoder.run(&autoencoder.encoder_constants, arena, &[image], &mut [&mut buffers.latent])?;
        work.encoder_evaluations += 1;
        timings.encode = Timings::micros(before.elapsed());
        let source = self.denoise(pipeline, own.id, timings)?;
        self.decode(pipeline, source, flagged, timings)
    }

    /// Runs the stream on the frame's latent; returns the frame that the resulting clean latent was made from.
    fn denoise(&mut self, pipeline: &Pipeline, id: FrameId, timings: &mut Timings) -> Result<Source> {
        let Self { chains, buffers, stream, arena, control, attention, work, .. } = self;
        let components = &pipeline.components;
        let before = Instant::now();
        control.observe(&components.controls, &buffers.image, chains.previous(), arena, work)?;
        let observed = before.elapsed();
        let before = Instant::now();
        let last = self.has_latent.then_some(&buffers.clean);
        // The strengths of processors are tuned for the noised latent.
        chains.noised(stream.enter(&buffers.latent, id.0)?, components.autoencoder().latent, last)?;
        let mut calls = UnetPredictor {
            unet: components.unet(),
            constants: components.constants(),
            arena,
            attention,
            interval: pipeline.params.cached_attention.interval,
            control: ControlCalls { controls: &components.controls, state: control, spent: observed },
            work,
        };
        let source = stream.advance(&mut calls, buffers.next.pixels_mut())?;
        let spent = calls.control.spent;
        control.advance(&components.controls);
        chains.clean(&mut buffers.next, last)?;
        std::mem::swap(&mut buffers.clean, &mut buffers.next);
        self.has_latent = true;
        timings.control = Timings::micros(spent);
        timings.unet = Timings::micros(before.elapsed().saturating_sub(spent.saturating_sub(observed)));
        Ok(self.sources.find(FrameId(source)))
    }

    /// Decodes the clean latent, which was made from the frame `source`, to the picture.
    fn decode(
        &mut self,
        pipeline: &Pipeline,
        source: Source,
        flagged: Flagged,
        timings: &mut Timings,
    ) -> Result<(PictureKind, Source)> {
        let Self { chains, buffers, arena, filter, work, .. } = self;
        let autoencoder = pipeline.components.autoencoder();
        let before = Instant::now();
        if pipeline.params.enable_similar_image_filter {
            filter.keep(&mut buffers.image);
        }
        // If this fails, there is no last picture any more.
        self.last_source = None;
        let plain = chains.is_empty(ChainSlot::Picture);
        let decoded = if plain { &mut buffers.result } else { &mut buffers.image };
        let clean = buffers.clean.pixels();
        autoencoder.decoder.run(&autoencoder.decoder_constants, arena, &[clean], &mut [decoded.pixels_mut()])?;
        work.decoder_evaluations += 1;
        timings.decode = Timings::micros(before.elapsed());
        let before = Instant::now();
        if !plain {
            chains.picture(&buffers.image, &mut buffers.result)?;
        }
        let judge = pipeline.components.safety_checker().map(|checker| Judge {
            checker,
            threshold: pipeline.params.safety_checker_threshold as f32,
            instead: flagged,
        });
        work.safety_evaluations += u64::from(judge.is_some());
        let result = buffers.result.pixels_mut();
        let flagged = judge.map(|judge| self.guard.check(&judge, result, source)).transpose()?.flatten();
        timings.postprocess = Timings::micros(before.elapsed());
        self.last_source = Some(flagged.unwrap_or(source));
        Ok(flagged.map_or((PictureKind::New, source), |shown| (PictureKind::Flagged, shown)))
    }
}

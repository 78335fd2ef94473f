//! Processing of one frame: chains, filter, autoencoder, ControlNets, stream and safety checker.

use super::FrameState;
use super::buffers::FrameBuffers;
use super::control_calls::ControlCalls;
use super::guard::Judge;
use super::predict::UnetPredictor;
use super::sources::Source;
use super::timer::{FrameTimer, Stage};
use crate::engine::options::Flagged;
use crate::engine::picture::PictureKind;
use crate::engine::pipeline::recipes::ChainSlot;
use crate::engine::pipeline::{Components, Pipeline};
use crate::error::Result;
use crate::exec::{Queue, RunArgs, ViewMut};
use crate::filter::Decision;
use crate::frame::FrameId;

impl FrameState {
    /// Writes the frame into its buffer by `import`, and runs `image_preprocessing` on it.
    ///
    /// # Errors
    ///
    /// Those of `import`, the processors and the device.
    pub(in crate::engine) fn read(
        &mut self,
        import: impl FnOnce(&dyn Queue, ViewMut<'_>) -> Result<()>,
        components: Option<&Components>,
    ) -> Result<()> {
        let looks_back = self.last_source.is_some() && components.is_some_and(Components::looks_back);
        let Self { queue, buffers, chains, .. } = self;
        let queue = &**queue;
        import(queue, buffers.image.view_mut())?;
        let picture = buffers.picture;
        let mut staging = std::mem::take(&mut buffers.staging);
        let last = if looks_back { Some(queue.read(buffers.last_result(), &mut staging)) } else { None };
        let remembered = last.transpose().map(|last| chains.remember(last.map(|last| (last, picture))));
        buffers.staging = staging;
        remembered?;
        chains.frame(queue, &mut buffers.image, buffers.frame, &mut buffers.staging)
    }

    /// Creates the picture of the frame that was [read](Self::read) last, `own`; returns how it was made, and the frame
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
        timer: &mut FrameTimer,
    ) -> Result<(PictureKind, Source)> {
        self.sources.note(own);
        // After an error no picture may be repeated: the filter took this frame for the last one computed.
        let made = self.try_restyle(pipeline, own, flagged, timer).inspect_err(|_| self.filter.reset())?;
        self.work.processor_evaluations += self.chains.take_evaluations();
        Ok(made)
    }

    fn try_restyle(
        &mut self,
        pipeline: Option<&Pipeline>,
        own: Source,
        flagged: Flagged,
        timer: &mut FrameTimer,
    ) -> Result<(PictureKind, Source)> {
        let Some(pipeline) = pipeline else {
            if let Some(source) = self.last_source {
                return Ok((PictureKind::Repeated, source));
            }
            self.pass()?;
            return Ok((PictureKind::Passed, own));
        };
        if pipeline.params.skip_diffusion {
            self.pass()?;
            self.last_source = Some(own);
            return Ok((PictureKind::Passed, own));
        }
        if pipeline.params.enable_similar_image_filter {
            let image = self.queue.read(self.buffers.image.view(), &mut self.buffers.filtered)?;
            if self.filter.check(image) == Decision::Skip
                && let Some(source) = self.last_source
            {
                return Ok((PictureKind::Repeated, source));
            }
        }
        let Self { queue, buffers, scratch, autoencoder: kept, work, .. } = self;
        let autoencoder = pipeline.components.autoencoder();
        let from = queue.mark();
        buffers.encode(|inputs, outputs| {
            let (network, constants) = (&*autoencoder.encoder, &autoencoder.encoder_constants);
            if let (Some(kept), [image]) = (&mut kept.encoder, inputs) {
                work.unchanged_frame_pixels += kept.run(network, constants, *image, outputs)?;
                return Ok(());
            }
            network.run(RunArgs::new(constants, scratch, inputs, outputs))
        })?;
        work.encoder_evaluations += 1;
        timer.end(&**queue, Stage::Encode, from);
        let source = self.denoise(pipeline, own.id, timer)?;
        self.decode(pipeline, source, flagged, timer)
    }

    /// Makes the frame itself the next picture, after `image_postprocessing`.
    fn pass(&mut self) -> Result<()> {
        let Self { queue, buffers, chains, .. } = self;
        let (size, picture) = (buffers.frame, buffers.picture);
        let (image, result, staging) = buffers.image_and_result();
        chains.picture(&**queue, (image, size), (result, picture), staging)?;
        buffers.finish_result();
        Ok(())
    }

    /// Runs the stream on the frame's latent; returns the frame that the resulting clean latent was made from.
    fn denoise(&mut self, pipeline: &Pipeline, id: FrameId, timer: &mut FrameTimer) -> Result<Source> {
        let Self { queue, chains, buffers, stream, scratch, control, attention, features, work, .. } = self;
        let queue = &**queue;
        let components = &pipeline.components;
        let from = queue.mark();
        let frame = (&buffers.image, &mut buffers.staging);
        control.observe(queue, &components.controls, frame, chains.previous(), scratch, work)?;
        timer.end(queue, Stage::Control, from);
        let from = queue.mark();
        let last = self.has_latent.then_some(&buffers.clean);
        let shape = buffers.latent_shape;
        // The strengths of processors are tuned for the noised latent.
        chains.noised(queue, stream.enter(&buffers.latent, id.0)?, shape, last, &mut buffers.staging)?;
        let mut calls = UnetPredictor {
            unet: components.unet(),
            constants: components.constants(),
            scratch,
            attention,
            cache: (&pipeline.params.cached_attention).into(),
            features,
            reuse: &pipeline.params.feature_reuse,
            control: ControlCalls { queue, controls: &components.controls, state: control, timer },
            work,
        };
        let source = stream.advance(&mut calls, &mut buffers.next)?;
        control.advance(queue, &components.controls)?;
        chains.clean(queue, buffers.next.view_mut(), shape, last, &mut buffers.staging)?;
        std::mem::swap(&mut buffers.clean, &mut buffers.next);
        self.has_latent = true;
        timer.end(queue, Stage::Unet, from);
        Ok(self.sources.find(FrameId(source)))
    }

    /// Decodes the clean latent, which was made from the frame `source`, to the picture.
    fn decode(
        &mut self,
        pipeline: &Pipeline,
        source: Source,
        flagged: Flagged,
        timer: &mut FrameTimer,
    ) -> Result<(PictureKind, Source)> {
        let Self { queue, chains, buffers, scratch, autoencoder: kept, filter, guard, work, .. } = self;
        let queue = &**queue;
        let autoencoder = pipeline.components.autoencoder();
        let from = queue.mark();
        if pipeline.params.enable_similar_image_filter {
            let FrameBuffers { image, filtered, .. } = &mut *buffers;
            filter.keep(|kept| {
                if !image.exchange(kept) {
                    std::mem::swap(filtered, kept);
                }
            });
        }
        // If this fails, there is no last picture any more.
        self.last_source = None;
        let plain = chains.is_empty(ChainSlot::Picture);
        let (size, picture) = (buffers.frame, buffers.picture);
        buffers.decode(plain, |inputs, outputs| {
            let (network, constants) = (&*autoencoder.decoder, &autoencoder.decoder_constants);
            if let (Some(kept), [latent]) = (&mut kept.decoder, inputs) {
                work.unchanged_latent_pixels += kept.run(network, constants, *latent, outputs)?;
                return Ok(());
            }
            network.run(RunArgs::new(constants, scratch, inputs, outputs))
        })?;
        let (image, result, staging) = buffers.image_and_result();
        work.decoder_evaluations += 1;
        timer.end(queue, Stage::Decode, from);
        let from = queue.mark();
        if !plain {
            chains.picture(queue, (image, size), (result, picture), staging)?;
        }
        let judge = pipeline.components.safety_checker().map(|checker| Judge {
            checker,
            threshold: pipeline.params.safety_checker_threshold as f32,
            instead: flagged,
        });
        work.safety_evaluations += u64::from(judge.is_some());
        let check = |judge| guard.check(queue, &judge, (result, staging), source);
        let flagged = judge.map(check).transpose()?.flatten();
        timer.end(queue, Stage::Postprocess, from);
        buffers.finish_result();
        self.last_source = Some(flagged.unwrap_or(source));
        Ok(flagged.map_or((PictureKind::New, source), |shown| (PictureKind::Flagged, shown)))
    }
}

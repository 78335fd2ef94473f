//! All of it together, on the caller's thread: frames in, pictures out, parameters changed between two frames.
//!
//! An [`Engine`] has no thread, lock or file of its own once it is built; the same parameters and frames give the same
//! bytes. An update makes a second pipeline beside the first out of shared pieces, and then the two change places.

mod builder;
mod bytes;
mod conditioning;
#[cfg(all(test, feature = "demo-model"))]
mod memory_tests;
mod models;
mod options;
#[cfg(test)]
mod packed_tests;
mod picture;
mod piece;
mod pipeline;
mod text;
mod unet;

use std::sync::Arc;
use std::time::Instant;

pub use self::builder::EngineBuilder;
pub use self::options::{EngineOptions, ExecutorKind};
pub use self::picture::{Picture, PictureInfo, PictureKind};
use self::pipeline::{FrameMemory, Pipeline, Workshop};
use self::unet::UnetCalls;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Arena;
pub use crate::exec::Dtype;
use crate::filter::{Decision, SimilarFilter};
use crate::frame::{FrameConverter, FrameId, FramePool, FrameView, FrameViewMut};
use crate::load::Calibration;
use crate::params::{Change, Cost, Notice, ParamsPatch, StreamDiffusionParams, diff, total_cost};
use crate::stream::StreamBatch;
use crate::telemetry::Timings;

/// Pictures that a host may hold while their buffers still come from the pool.
const POOLED: usize = 4;

/// A StreamDiffusion engine: a frame in, a picture out, on the thread that calls.
///
/// A picture is made from the frame [`delay`](Self::delay) calls before. The first frame fills all rows of the stream, so
/// that no picture is half-made.
#[derive(Debug)]
pub struct Engine {
    workshop: Workshop,
    pipeline: Arc<Pipeline>,
    stream: StreamBatch,
    filter: SimilarFilter,
    converter: FrameConverter,
    pool: FramePool,
    arena: Arena,
    /// The frame as the networks see it, `[height, width, 3]` in -1..1.
    image: Vec<f32>,
    latent: Vec<f32>,
    clean: Vec<f32>,
    /// The last picture, in the same form; what a skipped frame gives again.
    result: Vec<f32>,
    /// The frame that `result` was made from; none before the first picture.
    last_source: Option<FrameId>,
    next_id: u64,
    notices: Vec<Notice>,
}

/// What an update came to.
#[derive(Debug, Clone)]
pub struct Update {
    /// The dearest of the changes; none where nothing changed.
    pub cost: Option<Cost>,
    /// What changed.
    pub changes: Vec<Change>,
    /// What was accepted and means something else here, or was changed along with it.
    pub notices: Vec<Notice>,
}

/// An update that is made, and waits to be applied between two frames.
#[derive(Debug)]
pub struct Prepared {
    pipeline: Arc<Pipeline>,
    /// Scratch memory, where the engine's was too small.
    arena: Option<Arena>,
    update: Update,
}

impl Engine {
    /// Starts to put an engine together: the demo model with its own settings, unless told otherwise.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    fn new(workshop: Workshop, params: StreamDiffusionParams, mut notices: Vec<Notice>) -> Result<Self> {
        let pipeline = Arc::new(Pipeline::build(&workshop, params, None, &mut notices)?);
        let stream = StreamBatch::new(pipeline.codec().latent.len(), pipeline.stream.clone())?;
        let mut engine = Self {
            workshop,
            filter: new_filter(&pipeline.params),
            stream,
            converter: FrameConverter::new(),
            pool: FramePool::new(POOLED),
            arena: Arena::new(),
            image: Vec::new(),
            latent: Vec::new(),
            clean: Vec::new(),
            result: Vec::new(),
            last_source: None,
            next_id: 0,
            notices,
            pipeline: pipeline.clone(),
        };
        engine.reserve(pipeline.memory())?;
        engine.resize();
        Ok(engine)
    }

    /// Works on one frame and gives the picture of the frame [`delay`](Self::delay) calls ago, in a pooled buffer that
    /// comes back when the picture drops.
    ///
    /// # Errors
    ///
    /// `InvalidFrame`, and what the device reports; the stream then goes on with the next frame.
    pub fn process(&mut self, frame: &FrameView<'_>) -> Result<Picture> {
        let (width, height) = self.size();
        let mut picture = self.pool.frame(self.workshop.options.output, width, height)?;
        let info = self.process_into(frame, &mut picture.view_mut())?;
        picture.set_id(info.id);
        Ok(Picture { frame: picture, id: info.id, source_id: info.source_id, kind: info.kind, timings: info.timings })
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
        self.converter.to_signed(frame, self.workshop.options.fit, width, height, &mut self.image)?;
        timings.preprocess = Timings::micros(start.elapsed());
        // After a failed frame nothing may be repeated: the filter took that frame for the last one computed.
        let (kind, source_id) = self.restyle(id, &mut timings).inspect_err(|_| self.filter.reset())?;
        let shown = if kind == PictureKind::Passed { &self.image } else { &self.result };
        let before = Instant::now();
        self.converter.from_signed(shown, width, height, out)?;
        timings.postprocess = Timings::micros(before.elapsed());
        timings.total = Timings::micros(start.elapsed());
        Ok(PictureInfo { id, source_id, kind, timings })
    }

    /// Takes `image` through filter, autoencoder and stream into `result`.
    fn restyle(&mut self, id: FrameId, timings: &mut Timings) -> Result<(PictureKind, FrameId)> {
        let pipeline = &*self.pipeline;
        if pipeline.params.skip_diffusion {
            return Ok((PictureKind::Passed, id));
        }
        if pipeline.params.enable_similar_image_filter
            && self.filter.check(&self.image) == Decision::Skip
            && let Some(source) = self.last_source
        {
            return Ok((PictureKind::Repeated, source));
        }
        let codec = pipeline.codec();
        let before = Instant::now();
        codec.encoder.run(&codec.encoder_constants, &mut self.arena, &[&self.image], &mut [&mut self.latent])?;
        timings.encode = Timings::micros(before.elapsed());
        let before = Instant::now();
        let mut calls = UnetCalls { unet: pipeline.unet(), constants: pipeline.constants(), arena: &mut self.arena };
        let source = FrameId(self.stream.step(&self.latent, id.0, &mut calls, &mut self.clean)?);
        timings.unet = Timings::micros(before.elapsed());
        let before = Instant::now();
        codec.decoder.run(&codec.decoder_constants, &mut self.arena, &[&self.clean], &mut [&mut self.result])?;
        timings.decode = Timings::micros(before.elapsed());
        self.last_source = Some(source);
        Ok((PictureKind::New, source))
    }

    /// Changes parameters between two frames: whole, or on an error not at all.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn update(&mut self, patch: &ParamsPatch) -> Result<Update> {
        let prepared = self.prepare(patch)?;
        self.apply(prepared)
    }

    /// Changes parameters in place, by the same rules as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn edit(&mut self, change: impl FnOnce(&mut StreamDiffusionParams)) -> Result<Update> {
        let mut params = self.params().clone();
        change(&mut params);
        let prepared = self.prepare_params(params, Vec::new())?;
        self.apply(prepared)
    }

    /// Makes whatever `patch` needs, beside what is in use: slow where something is loaded.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation, `Unsupported`, `NotFound`, `BadModel`, `OutOfMemory` with the bytes that are
    /// needed; nothing has changed then.
    pub fn prepare(&self, patch: &ParamsPatch) -> Result<Prepared> {
        let (params, notices) = patch.merge(self.params())?;
        self.prepare_params(params, notices)
    }

    fn prepare_params(&self, params: StreamDiffusionParams, mut notices: Vec<Notice>) -> Result<Prepared> {
        params.validate()?;
        let changes = diff(self.params(), &params);
        let cost = total_cost(&changes);
        let pipeline = if changes.is_empty() {
            self.pipeline.clone()
        } else {
            Arc::new(Pipeline::build(&self.workshop, params, Some(&*self.pipeline), &mut notices)?)
        };
        let needed = pipeline.memory().arena;
        let arena = (!self.arena.holds(needed)).then(|| Arena::with_room(needed)).transpose()?;
        Ok(Prepared { pipeline, arena, update: Update { cost, changes, notices } })
    }

    /// Puts what was prepared in the place of what is in use: quick, between two frames. Rows in flight go on where model
    /// and size stay.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for what another engine prepared, `OutOfMemory`; nothing has changed then.
    pub fn apply(&mut self, prepared: Prepared) -> Result<Update> {
        let Prepared { pipeline, arena, update } = prepared;
        if Arc::ptr_eq(&pipeline, &self.pipeline) {
            return Ok(update);
        }
        self.arena = arena.unwrap_or_else(|| std::mem::take(&mut self.arena));
        self.reserve(pipeline.memory())?;
        if pipeline.continues(&self.pipeline) {
            self.stream.configure(pipeline.stream.clone())?;
        } else {
            self.stream = StreamBatch::new(pipeline.codec().latent.len(), pipeline.stream.clone())?;
            self.last_source = None;
        }
        let (old, new) = (&self.pipeline.params, &pipeline.params);
        if old.seed == new.seed && old.enable_similar_image_filter == new.enable_similar_image_filter {
            self.filter.configure(new.similar_image_filter_threshold as f32, new.similar_image_filter_max_skip_frame);
            self.filter.reset();
        } else {
            self.filter = new_filter(new);
        }
        self.pipeline = pipeline;
        self.resize();
        Ok(update)
    }

    /// Takes the memory for every buffer that `needed` names, and leaves what is in them.
    fn reserve(&mut self, needed: FrameMemory) -> Result<()> {
        self.arena.reserve(needed.arena)?;
        let Self { image, result, latent, clean, .. } = self;
        for (buffer, len) in
            [(image, needed.picture), (result, needed.picture), (latent, needed.latent), (clean, needed.latent)]
        {
            buffer.try_reserve_exact(len.saturating_sub(buffer.len())).map_err(|error| {
                Error::new(ErrorKind::OutOfMemory, format!("no memory for a frame's {len} numbers")).with_source(error)
            })?;
        }
        Ok(())
    }

    /// Gives every buffer the size that the pipeline needs, so that frames allocate nothing.
    fn resize(&mut self) {
        let FrameMemory { picture, latent, .. } = self.pipeline.memory();
        self.image.resize(picture, 0.0);
        self.result.resize(picture, 0.0);
        self.latent.resize(latent, 0.0);
        self.clean.resize(latent, 0.0);
    }

    /// Says how the UNet's layers are done in eight bits, by what they read so far.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an engine that was not built [to observe](EngineBuilder::observing) or has seen no frame,
    /// `BadModel` where a layer read what is not a number.
    pub fn calibration(&self) -> Result<Calibration> {
        let observer = self.workshop.observer.as_ref().filter(|_| self.next_id > 0);
        let observer = observer.ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "the engine does not observe its layers, or has seen no frame")
        })?;
        bytes::calibrate(self.pipeline.models(), observer, self.next_id as usize)
    }

    /// The parameters in use.
    pub fn params(&self) -> &StreamDiffusionParams {
        &self.pipeline.params
    }

    /// What was fixed when the engine was built.
    pub fn options(&self) -> &EngineOptions {
        &self.workshop.options
    }

    /// What was accepted at the start and means something else here.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The size of pictures in pixels: width, height.
    pub fn size(&self) -> (u32, u32) {
        (self.params().width, self.params().height)
    }

    /// How many frames later than its frame a picture leaves.
    pub fn delay(&self) -> usize {
        self.stream.delay()
    }

    /// UNet rows that one frame costs.
    pub fn evaluations_per_frame(&self) -> usize {
        self.pipeline.unet().evaluations()
    }

    /// The base model in use: where it was found.
    pub fn model(&self) -> &str {
        &self.pipeline.models().location
    }

    /// What runs the networks and what it uses of this machine, in words.
    pub fn device(&self) -> String {
        self.workshop.executor.describe()
    }

    /// How many threads work on a frame.
    pub fn threads(&self) -> usize {
        self.workshop.executor.threads()
    }
}

fn new_filter(params: &StreamDiffusionParams) -> SimilarFilter {
    let seed = params.seed.iter().next().map_or(0, |(&seed, _)| seed);
    SimilarFilter::new(params.similar_image_filter_threshold as f32, params.similar_image_filter_max_skip_frame, seed)
}

/// A dtype that the executor does not have is refused by name; the processor's own limits are the executor's to tell.
fn check_dtype(options: &EngineOptions) -> Result<()> {
    if options.executor == ExecutorKind::Reference && options.dtype != Dtype::F32 {
        let text = format!("dtype {} is not built for the executor {}; f32 is", options.dtype, options.executor);
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(())
}

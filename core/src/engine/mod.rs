//! The StreamDiffusion engine, on the caller's thread: frames in, pictures out, parameters changed between two frames.
//!
//! A built [`Engine`] has no thread, lock or open file of its own. The same parameters and frames give the same bytes.
//! An update builds a second pipeline, which shares all unchanged components with the first, and swaps the two.

mod builder;
mod device;
mod device_frames;
mod host;
mod host_images;
mod in_flight;
mod memory_fit;
#[cfg(feature = "onnx")]
mod onnx_devices;
mod options;
mod picture;
mod pipeline;
mod process;
mod progress;
mod state;
#[cfg(test)]
mod tests;
mod transition;
mod update;

// Behind the modules above, so that the documentation of `Engine` begins with what processes frames.
mod info;
pub(crate) mod verify;

use std::sync::Arc;

pub use self::builder::EngineBuilder;
pub use self::device::Device;
pub use self::host::{SafetyChecker, StyleImages};
use self::in_flight::{CollectedPicture, InFlight};
#[cfg(feature = "onnx")]
pub use self::onnx_devices::{OnnxReport, ProviderReport};
pub use self::options::{
    BatchStreams, Batching, ControlImages, EngineOptions, ExecutorKind, Flagged, LoraMode, OnnxOptions, RegionReuse,
    Vae,
};
pub use self::picture::{Picture, PictureInfo, PictureKind};
use self::pipeline::context::BuildContext;
#[cfg(feature = "hub")]
pub use self::pipeline::requirements::FetchedModel;
use self::pipeline::{Pipeline, quantization};
pub use self::progress::Progress;
use self::state::FrameState;
pub use self::update::{Plan, Prepared, Snapshot, Update, Workbench};
use crate::error::{Error, ErrorKind, Result};
pub use crate::exec::{Dtype, Provider};
use crate::frame::{FrameConverter, FramePool};
use crate::interpolation::Rife;
use crate::load::Calibration;
use crate::params::{Notice, ParamsPatch, StreamDiffusionParams};

/// How many pictures a host may hold before further ones are allocated outside of the pool.
const POOLED: usize = 4;

/// A StreamDiffusion engine, which restyles frames on the thread that calls it.
///
/// [`process`](Self::process) returns the picture of the frame that it was given [`delay`](Self::delay) calls earlier. The
/// first frame fills all rows of the stream batch, so that the first picture is fully denoised too.
///
/// ```
/// use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let mut engine = Engine::builder().params(params).build()?;
/// let pixels = vec![127_u8; 320 * 180 * 4];
/// for _ in 0..3 {
///     let picture = engine.process(&FrameView::packed(PixelFormat::Bgra8, 320, 180, &pixels)?)?;
///     assert_eq!((picture.frame.width(), picture.frame.height()), engine.size());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Engine {
    context: Arc<BuildContext>,
    active: Active,
    state: FrameState,
    in_flight: InFlight,
    collected: CollectedPicture,
    converter: FrameConverter,
    pool: FramePool,
    next_id: u64,
    /// Whether each frame advances the current transition by a step.
    steps: bool,
    /// The version of the newest applied update.
    version: u64,
    notices: Vec<Notice>,
    /// How often the images of the host had changed at the last frame.
    external_version: u64,
}

/// The pipeline in use.
#[derive(Debug)]
enum Active {
    Ready(Arc<Pipeline>),
    /// None: it was released to free memory for the next one. These are its parameters.
    Released(Box<StreamDiffusionParams>),
}

impl Engine {
    /// Returns a builder for an engine; by default, with the embedded demo model and its settings.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    fn new(context: BuildContext, params: StreamDiffusionParams, mut notices: Vec<Notice>) -> Result<Self> {
        let context = Arc::new(context);
        let pipeline = Arc::new(Pipeline::build(&context, params, None, None, &[], &mut notices)?);
        Ok(Self {
            state: FrameState::new(context.queue.clone(), &pipeline)?,
            in_flight: InFlight::new(context.queue.depth()),
            collected: CollectedPicture::new(),
            converter: FrameConverter::new(),
            pool: FramePool::new(POOLED),
            next_id: 0,
            steps: false,
            version: 0,
            notices,
            external_version: 0,
            active: Active::Ready(pipeline),
            context,
        })
    }

    /// Changes parameters between two frames. On an error, no parameter has changed.
    ///
    /// If the plan [frees first](Plan::frees_first), the pipeline in use is released before the new one is built, and
    /// is built again if that fails.
    ///
    /// # Errors
    ///
    /// Like [`prepare`](Self::prepare).
    pub fn update(&mut self, patch: &ParamsPatch) -> Result<Update> {
        let plan = self.plan(patch)?;
        self.carry_out(plan)
    }

    /// Changes parameters in place, by the same rules as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// Like [`prepare`](Self::prepare).
    pub fn edit(&mut self, change: impl FnOnce(&mut StreamDiffusionParams)) -> Result<Update> {
        let mut params = self.params().clone();
        change(&mut params);
        let plan = self.workbench().plan(&self.snapshot()?, params, Vec::new())?;
        self.carry_out(plan)
    }

    fn carry_out(&mut self, plan: Plan) -> Result<Update> {
        if !plan.frees_first() {
            let prepared = plan.prepare()?;
            return self.apply(prepared);
        }
        let (bench, old) = (self.workbench(), self.params().clone());
        let (params, mut update) = plan.into_parts();
        self.release();
        let prepared = match bench.prepare(params, None, &[]) {
            Ok(prepared) => prepared,
            Err(error) => {
                let prepared = bench.prepare(old, None, &[])?;
                self.apply(prepared)?;
                return Err(error);
            }
        };
        update.notices.extend(self.apply(prepared)?.notices);
        Ok(update)
    }

    /// Returns what `patch` would change, and the cost; changes nothing. The first step of an update in a host with
    /// threads of its own:
    ///
    /// ```
    /// use dreamframe::{Engine, ParamsPatch, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let mut engine = Engine::builder().params(params).build()?;
    /// let plan = engine.plan(&ParamsPatch::from_json(r#"{"prompt": "moonlit night"}"#)?)?;
    /// let prepared = std::thread::spawn(|| plan.prepare());
    /// // Frames are processed here meanwhile.
    /// let update = engine.apply(prepared.join().expect("the thread did not panic")?)?;
    /// assert_eq!(update.changes.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation; `InvalidArgument` for a [released](Self::release) engine.
    pub fn plan(&self, patch: &ParamsPatch) -> Result<Plan> {
        let (params, notices) = patch.merge(self.params())?;
        self.workbench().plan(&self.snapshot()?, params, notices)
    }

    /// Builds everything that `patch` needs, without touching the pipeline in use. Slow if anything is loaded.
    ///
    /// # Errors
    ///
    /// Those of [`plan`](Self::plan) and [`Workbench::prepare`]; nothing has changed then.
    pub fn prepare(&self, patch: &ParamsPatch) -> Result<Prepared> {
        self.plan(patch)?.prepare()
    }

    /// Returns a handle that prepares updates of this engine on other threads.
    pub fn workbench(&self) -> Workbench {
        Workbench(self.context.clone())
    }

    /// Returns the pipeline in use.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a [released](Self::release) engine.
    pub fn snapshot(&self) -> Result<Snapshot> {
        match &self.active {
            Active::Ready(pipeline) => Ok(Snapshot(pipeline.clone())),
            Active::Released(_) => {
                Err(Error::new(ErrorKind::InvalidArgument, "the engine was released, and has no pipeline"))
            }
        }
    }

    /// Replaces the pipeline in use by the prepared one, between two frames. Quick. Frames in flight are kept if model
    /// and size stay.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an update that was prepared for another engine, or for a pipeline that is no longer in
    /// use, or while [submitted](Self::submit) frames are in flight; nothing has changed then.
    pub fn apply(&mut self, mut prepared: Prepared) -> Result<Update> {
        self.swap(&mut prepared)?;
        Ok(prepared.update)
    }

    /// Like [`apply`](Self::apply), and leaves the replaced pipeline in `prepared`, which may be dropped on another
    /// thread: freeing the memory of a model takes longer than a frame may.
    ///
    /// # Errors
    ///
    /// Those of `apply`.
    pub fn swap(&mut self, prepared: &mut Prepared) -> Result<()> {
        self.check_turn(prepared)?;
        self.check_none_in_flight()?;
        self.version += 1;
        let pipeline = prepared.pipeline.clone();
        if prepared.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, &pipeline)) {
            return Ok(());
        }
        self.state.swap(&mut prepared.state, &pipeline)?;
        // The replaced pipeline stays alive as the base of `prepared`.
        self.active = Active::Ready(pipeline);
        Ok(())
    }

    /// Sets the version of the following pictures, for callers that number updates themselves.
    pub(crate) fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn check_turn(&self, prepared: &Prepared) -> Result<()> {
        let same = match (&self.active, &prepared.base) {
            (Active::Ready(pipeline), Some(base)) => Arc::ptr_eq(pipeline, base),
            (Active::Released(_), None) => true,
            (Active::Ready(_), None) | (Active::Released(_), Some(_)) => false,
        };
        let problem = if !Arc::ptr_eq(&self.context, &prepared.context) {
            "the update was prepared for another engine"
        } else if !same {
            "the update was prepared before another one was applied; prepare it again"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, problem))
    }

    /// Returns the network that interpolates between pictures, if the parameters name one.
    pub(crate) fn interpolation_network(&self) -> Option<Arc<Rife>> {
        match &self.active {
            Active::Ready(pipeline) => pipeline.components.interpolation_network().cloned(),
            Active::Released(_) => None,
        }
    }

    /// Frees the pipeline in use, so that one can be built that does not fit in memory together with it. Until
    /// [`apply`](Self::apply) sets another one, each frame returns the last picture again.
    pub fn release(&mut self) {
        self.active = Active::Released(Box::new(self.params().clone()));
        self.state.release();
    }

    /// Returns the int8 calibration of the layers of the UNet and the autoencoder, from the activations recorded so far.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an engine that was not built [to record](EngineBuilder::observing) or has processed no
    /// frame, `BadModel` if an activation was NaN.
    pub fn calibration(&self) -> Result<Calibration> {
        let observers = self.context.observers.as_ref().filter(|_| self.next_id > 0);
        let observers = observers.ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "the engine does not record activations, or has processed no frame")
        })?;
        let components = &self.snapshot()?.0.components;
        let (models, frames) = (components.models(), self.next_id as usize);
        let unet = (&models.unet, &*components.unet_weights().weights);
        let autoencoder = (&models.autoencoder, &*models.autoencoder_weights);
        quantization::calibrate(unet, autoencoder, &models.location, observers, frames)
    }
}

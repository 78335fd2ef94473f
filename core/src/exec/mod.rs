//! The interface between an engine and a device, and its implementations.
//!
//! An [`Executor`] compiles programs to [`Network`]s. Values that networks exchange are in [`Buffer`]s, which the
//! executor's [`Queue`] makes, fills and combines.

mod arena;
mod buffer;
pub mod cpu;
pub mod memory;
#[cfg(any(test, feature = "internals"))]
pub mod null;
pub mod observe;
mod past;
mod queue;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod run;
#[cfg(any(test, feature = "internals"))]
pub mod simulated;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use dreamframe_kernels::Isa;

pub use self::buffer::{Buffer, DeviceView, DeviceViewMut, View, ViewMut};
pub use self::cpu::background;
pub use self::past::{FrameKeys, MOST_PAST_FRAMES, Past};
pub use self::queue::{HostQueue, Mark, Queue, Scratch, Transfer};
pub use self::run::{Inputs, RunArgs, StepTime};
use crate::error::Result;
use crate::net::{Program, Weights};

/// The number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// The fastest one of the device without a visible loss: bf16 if the processor multiplies it, else f32.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, 5 of them of the exponent. Not on the CPU.
    F16,
    /// The upper 16 bits of `F32`; sums and statistics stay `F32`.
    Bf16,
    /// Layers that weights have byte scales for in 8 bits, the rest in `Bf16`.
    Int8,
}

impl Dtype {
    /// The type that the kernels of an instruction set work on.
    pub fn of(isa: Isa) -> Self {
        match isa {
            Isa::Portable | Isa::Avx2 | Isa::Avx512 => Self::F32,
            Isa::Bf16 => Self::Bf16,
            Isa::Int8 => Self::Int8,
        }
    }
}

/// A device and its kernels.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Its name in reports: `reference`, `cpu`.
    fn name(&self) -> &'static str;

    /// Its name and what it uses of this machine, in words.
    fn describe(&self) -> String {
        self.name().to_owned()
    }

    /// Returns the number format of values and weights; never [`Dtype::Auto`].
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    /// How many threads work on a frame.
    fn threads(&self) -> usize;

    /// Returns at least how many bytes of scratch memory a run of `program` needs, as far as that is known before any
    /// weight is read.
    fn least_scratch_bytes(&self, _program: &Program) -> usize {
        0
    }

    /// Returns the queue that networks of this executor run in. By default, values are in memory of the host.
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(HostQueue)
    }

    /// Lays out `program` for this device, reading and packing what it needs of `weights`; packed forms are kept there
    /// and shared by every program compiled over them. Slow: never on the frame path.
    ///
    /// # Errors
    ///
    /// `BadModel` where a weight is missing or misshapen, `OutOfMemory`, `Unsupported`.
    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>>;
}

/// A compiled program. Shared between threads: what a run changes is in its [`Scratch`].
pub trait Network: Send + Sync + fmt::Debug {
    /// Returns the program.
    fn program(&self) -> &Program;

    /// Returns how many bytes of scratch memory a run needs.
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Computes all that does not change from frame to frame (keys and values of a prompt, time embeddings).
    /// `inputs` are the program's constant inputs in order, each channels-last and as long as its shape. May run on any
    /// thread, during runs.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a wrong number or length of inputs, and those of the device.
    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants>;

    /// Runs on one frame. A device may finish it later: [`Queue`]s keep the order of what is given to them. On the CPU
    /// it allocates nothing if the scratch memory has [`scratch_bytes`](Self::scratch_bytes).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a wrong number or length of inputs or outputs, for constants or a past of another network,
    /// and for buffers of another device; those of the device. After an error the frame of the past that was to be
    /// overwritten is invalid.
    fn run(&self, args: RunArgs<'_, '_>) -> Result<()>;

    /// Returns how many bytes the keys and values of one frame need; 0 if no layer uses those of earlier frames.
    fn frame_keys_bytes(&self) -> usize {
        0
    }

    /// Allocates memory for the keys and values of one frame, on any thread.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    fn frame_keys(&self) -> Result<FrameKeys> {
        Ok(FrameKeys::new(()))
    }

    /// As [`run`](Self::run), on slices of host memory. Allocates for more than 8 inputs or outputs.
    ///
    /// # Errors
    ///
    /// Those of `run`.
    fn run_on_host(
        &self,
        constants: &Constants,
        scratch: &mut Scratch,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) -> Result<()> {
        run::with_views(inputs, outputs, |inputs, outputs| self.run(RunArgs::new(constants, scratch, inputs, outputs)))
    }
}

/// What a network worked out from its constant inputs; belongs to the network that made it.
pub struct Constants(Box<dyn Any + Send + Sync>);

impl Constants {
    /// Wraps an executor's own form.
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The executor's own form, if `T` is it.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Constants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constants").finish_non_exhaustive()
    }
}

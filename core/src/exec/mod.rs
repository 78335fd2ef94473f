//! The interface between an engine and a device, and its implementations.
//!
//! An [`Executor`] compiles programs to [`Network`]s. Values that networks exchange are in [`Buffer`]s, which the
//! executor's [`Queue`] allocates, fills and combines.

mod arena;
mod buffer;
pub mod cost;
pub mod cpu;
#[cfg(any(test, feature = "internals"))]
pub mod many_cores;
pub mod memory;
#[cfg(any(test, feature = "internals"))]
pub mod null;
pub mod observe;
#[cfg(feature = "onnx")]
pub mod onnx;
mod past;
mod provider;
mod queue;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod region;
mod run;
pub(crate) mod shared_pass;
#[cfg(any(test, feature = "internals"))]
pub mod simulated;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use dreamframe_kernels::Isa;

pub use self::buffer::{Buffer, DeviceView, DeviceViewMut, View, ViewMut};
pub use self::cpu::background;
pub use self::past::{FrameKeys, Injection, MOST_PAST_FRAMES, Past};
pub use self::provider::Provider;
pub(crate) use self::queue::check_frame_memory;
pub use self::queue::{HostQueue, Mark, Queue, Scratch, Transfer};
pub use self::region::Region;
pub use self::run::{Inputs, JobTime, RunArgs, StepBytes, StepTime};
use crate::error::Result;
use crate::net::{Branches, Program, Weights};

/// The number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// The fastest one of the device without visible loss. On the CPU bf16 if it multiplies that; otherwise int8 if it
    /// multiplies that and the engine's first model has a calibration of sufficient quality, as the demo model has;
    /// otherwise f32.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// 16 bits, 5 of them for the exponent. Not supported on the CPU.
    F16,
    /// The upper 16 bits of `F32`; sums and statistics stay `F32`.
    Bf16,
    /// int8 for layers with quantization parameters, otherwise `Bf16`, or `F32` on processors without bf16.
    Int8,
}

impl Dtype {
    /// Returns the bytes of a number; those of `F32` for `Auto`, and of values and other weights for `Int8`.
    pub fn bytes(self) -> usize {
        match self {
            Self::Auto | Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Int8 => cpu::size_beside_int8(),
        }
    }

    /// The number format of an instruction set.
    pub fn of(isa: Isa) -> Self {
        match isa {
            Isa::Portable | Isa::Avx2 | Isa::Avx512 | Isa::Neon => Self::F32,
            Isa::Bf16 | Isa::AmxBf16 | Isa::NeonBf16 => Self::Bf16,
            Isa::AvxVnni | Isa::Avx512Vnni | Isa::Int8 | Isa::AmxInt8 | Isa::NeonDot | Isa::NeonI8mm => Self::Int8,
        }
    }
}

/// A device and its kernels.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Returns its name in reports: `reference`, `cpu`.
    fn name(&self) -> &'static str;

    /// Returns a description with the hardware in use.
    fn describe(&self) -> String {
        self.name().to_owned()
    }

    /// Returns the number format of values and weights; never [`Dtype::Auto`].
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    /// Returns the number of threads that process a frame.
    fn threads(&self) -> usize;

    /// Returns whether a batch takes clearly less time than its rows one after the other.
    fn is_faster_in_batches(&self) -> bool {
        true
    }

    /// Returns a text that is equal for executors whose networks and buffers can be used together: those of one device.
    /// `None` if passes of networks are never shared by engines.
    fn device_key(&self) -> Option<String> {
        None
    }

    /// Returns an estimate of how much longer a frame of `program` over `weights` takes with `branches` than with their
    /// changes merged into the weights, as a share of its time. By default 0: other executors compile a network with
    /// its weights, so that a merge costs more than a branch.
    ///
    /// # Errors
    ///
    /// Those of [`Branches::add_to`].
    fn branch_cost(&self, _program: &Program, _weights: &Weights, _branches: &Branches) -> Result<f64> {
        Ok(0.0)
    }

    /// Returns a lower bound of the bytes of scratch memory for a run of `program`, which is known before weights are
    /// read.
    fn least_scratch_bytes(&self, _program: &Program) -> usize {
        0
    }

    /// Returns the queue that networks of this executor run in. By default, values are in memory of the host.
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(HostQueue)
    }

    /// Compiles `program` for this device, reading and packing the required `weights`; packed forms are cached there
    /// and shared by all programs over them. Slow: never on the frame path.
    ///
    /// # Errors
    ///
    /// `BadModel` if a weight is missing or misshapen, `OutOfMemory`, `Unsupported`.
    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>>;

    /// Compiles `program` for runs of which only those pixels are computed that depend on [`RunArgs::changed`], with
    /// memory from [`Network::kept_values`]. `None` if the device does not support that, or if a value of the program
    /// depends on all pixels.
    ///
    /// # Errors
    ///
    /// Those of [`compile`](Self::compile).
    fn compile_keeping(&self, _program: &Arc<Program>, _weights: &Weights) -> Result<Option<Arc<dyn Network>>> {
        Ok(None)
    }
}

/// A compiled program. Shared between threads: a run writes to its [`Scratch`] memory only.
pub trait Network: Send + Sync + fmt::Debug {
    /// Returns the program.
    fn program(&self) -> &Program;

    /// Returns how many bytes of scratch memory a run needs.
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Computes everything that does not change between frames (keys and values of a prompt, time embeddings).
    /// `inputs` are the program's constant inputs in order, each channels-last and as long as its shape. May run on any
    /// thread, during runs.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a wrong number or length of inputs, and those of the device.
    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants>;

    /// Runs on one frame. A device may finish it later: a [`Queue`] preserves the order of operations. On the CPU
    /// it allocates nothing if the scratch memory has [`scratch_bytes`](Self::scratch_bytes).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a wrong number or length of inputs or outputs, for constants or a past of another network,
    /// and for buffers of another device; those of the device. After an error the frame of the past that was to be
    /// overwritten is invalid.
    fn run(&self, args: RunArgs<'_, '_>) -> Result<()>;

    /// Returns how many bytes [`kept_values`](Self::kept_values) allocates; 0 without [`Executor::compile_keeping`].
    fn kept_bytes(&self) -> usize {
        0
    }

    /// Allocates scratch memory that keeps all values of a run for the next one, on any thread.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    fn kept_values(&self) -> Result<Scratch> {
        Ok(Scratch::new())
    }

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

    /// Like [`run`](Self::run), on slices of host memory. Allocates for more than 8 inputs or outputs.
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

/// Values computed from constant inputs; valid for the network that computed them only.
pub struct Constants(Box<dyn Any + Send + Sync>);

impl Constants {
    /// Wraps the executor's own type.
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// Returns the executor's own type, if it is `T`.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Constants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constants").finish_non_exhaustive()
    }
}

//! How a program runs: the contract of an executor, and the ones there are.

pub mod cpu;
pub mod memory;
#[cfg(any(test, feature = "internals"))]
pub mod null;
pub mod observe;
mod past;
#[cfg(any(test, feature = "reference"))]
pub mod reference;
mod slices;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use dreamframe_kernels::Isa;
use dreamframe_kernels::numbers::extend_with_zeros;

pub use self::cpu::background;
pub use self::past::{FrameKeys, MOST_PAST_FRAMES, Past};
pub use self::slices::Slices;
use crate::error::Result;
use crate::net::{Program, Weights, pages};

/// The number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// 32 bits.
    #[default]
    F32,
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

    /// What it keeps values and weights in.
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    /// How many threads work on a frame.
    fn threads(&self) -> usize;

    /// At least how many bytes of scratch memory a run of `program` needs, as far as that is known before any weight is
    /// read.
    fn least_arena_bytes(&self, _program: &Program) -> usize {
        0
    }

    /// Lays out `program` for this device, reading and packing what it needs of `weights`; packed forms are kept there
    /// and shared by every program compiled over them. Slow: never on the frame path.
    ///
    /// # Errors
    ///
    /// `BadModel` where a weight is missing or misshapen, `OutOfMemory`, `Unsupported`.
    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>>;
}

/// A program, ready to run. Shared between threads; what a run changes lies in its [`Arena`].
pub trait Network: Send + Sync + fmt::Debug {
    /// What it runs.
    fn program(&self) -> &Program;

    /// How many numbers a run needs room for.
    fn arena_len(&self) -> usize;

    /// Works out all that does not change from frame to frame (keys and values of a prompt, time embeddings).
    /// `inputs` are the program's constant inputs in order, each channels-last and as long as its shape. May run on any
    /// thread, beside frames.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a wrong number or length of inputs, and what the device reports.
    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants>;

    /// Runs on one frame: `inputs` are the program's frame inputs in order, `outputs` are filled in order. Allocates
    /// nothing once the arena has grown.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a wrong number or length of inputs, outputs or foreign constants, and what the device
    /// reports.
    fn run(
        &self,
        constants: &Constants,
        arena: &mut Arena,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) -> Result<()>;

    /// How many bytes the keys and values of one frame take; 0 where no layer of the program looks back.
    fn frame_keys_bytes(&self) -> usize {
        0
    }

    /// Makes room for the keys and values of one frame, on any thread.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    fn frame_keys(&self) -> Result<FrameKeys> {
        Ok(FrameKeys::new(()))
    }

    /// As [`run`](Self::run), where layers that look back see the frames of `past` as well, and leave their keys and values
    /// there. `run` itself looks back to nothing and leaves nothing. After an error the frame that was to be overwritten
    /// holds nothing of use.
    ///
    /// # Errors
    ///
    /// Those of `run`, and `InvalidArgument` for a `past` of another network or with numbers that name no frame.
    fn run_with_past(
        &self,
        constants: &Constants,
        arena: &mut Arena,
        _past: &mut Past<'_>,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) -> Result<()> {
        self.run(constants, arena, inputs, outputs)
    }

    /// As [`run`](Self::run), and adds the time of each step to `times`, in order; those are filled in if there are none
    /// yet. Leaves them empty where the device does not tell.
    ///
    /// # Errors
    ///
    /// Those of `run`.
    fn profile(
        &self,
        constants: &Constants,
        arena: &mut Arena,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        times: &mut Vec<StepTime>,
    ) -> Result<()> {
        times.clear();
        self.run(constants, arena, inputs, outputs)
    }
}

/// What a step of a network is, and how long it took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepTime {
    /// The step and its shapes, in words; the same for steps that cost the same.
    pub what: String,
    /// Multiplications and additions of its products, counted as the plain algorithm does them; 0 for other steps.
    pub operations: f64,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
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

/// Scratch memory of the frame loop, shared by the networks of a pipeline since they run one after the other.
#[derive(Debug, Default)]
pub struct Arena {
    numbers: Vec<f32>,
}

/// Numbers in a cache line, to which arenas are aligned.
const LINE: usize = 16;
/// What an arena is called in messages.
const WHAT: &str = "the networks' scratch memory";

impl Arena {
    /// No memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for `len` numbers.
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve).
    pub fn with_room(len: usize) -> Result<Self> {
        let mut arena = Self::new();
        arena.reserve(len)?;
        Ok(arena)
    }

    /// Grows to at least `len` numbers; called when a pipeline is put together, so that frames find it grown.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed; nothing has been allocated then, and the arena is as it was.
    pub fn reserve(&mut self, len: usize) -> Result<()> {
        if self.holds(len) {
            return Ok(());
        }
        let bytes = len.saturating_add(LINE).saturating_mul(size_of::<f32>());
        memory::require(bytes, WHAT)?;
        let mut numbers: Vec<f32> = Vec::new();
        numbers.try_reserve_exact(len.saturating_add(LINE)).map_err(|_| memory::refused(bytes, WHAT))?;
        pages::prefer_large(numbers.as_ptr().cast(), bytes);
        extend_with_zeros(&mut numbers, len + LINE);
        self.numbers = numbers;
        Ok(())
    }

    /// Whether `len` numbers have room.
    pub fn holds(&self, len: usize) -> bool {
        self.numbers.len() >= len.saturating_add(LINE)
    }

    /// All of it, aligned to a cache line; holds what the run before left there.
    pub fn numbers(&mut self) -> &mut [f32] {
        let skip = self.numbers.as_ptr().align_offset(LINE * size_of::<f32>()).min(self.numbers.len());
        &mut self.numbers[skip..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_arena_that_cannot_grow_says_what_it_needs_and_stays_as_it_was() {
        let mut arena = Arena::new();
        arena.reserve(100).unwrap();
        arena.numbers()[99] = 7.0;
        for len in [usize::MAX, usize::MAX / 16, 1 << 52] {
            let refused = arena.reserve(len).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
            assert!(refused.to_string().contains("needs") && arena.holds(100) && !arena.holds(len), "{refused}");
        }
        assert_eq!(arena.numbers()[99], 7.0);
    }
}

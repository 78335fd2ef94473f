//! The shipped CPU path: a static plan over one arena, packed weights, kernels chosen at run time.

mod attention;
mod choice;
mod elementwise;
mod image;
mod keys;
mod network;
mod norm;
mod pack;
mod past;
mod pointwise;
mod pool;
mod product;
mod profile;
mod run;
mod span;
mod step;
mod tables;
#[cfg(test)]
mod tests;
mod walk;
mod winograd;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

pub use dreamframe_kernels::Isa;
use dreamframe_kernels::Kernels;

use self::choice::Choice;
#[cfg(any(test, feature = "internals"))]
pub use self::choice::Form as WinogradForm;
use self::network::CpuNetwork;
use self::pool::Pool;
pub use self::pool::background;
use self::step::Rooms;
use super::{Dtype, Executor, Network};
use crate::error::{Error, ErrorKind, Result};
use crate::net::plan::Plan;
use crate::net::{Program, Weights};

/// How a [`CpuExecutor`] uses the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuOptions {
    /// How many threads work on a frame, with the one that calls; `None` for as many as this process may use at once.
    /// The result does not depend on it.
    pub threads: Option<NonZeroUsize>,
    /// What values and weights are kept in.
    pub dtype: Dtype,
    /// Which instructions; `None` takes the fastest for `dtype` that the machine has, or what the environment variable
    /// `DREAMFRAME_CPU` names.
    pub isa: Option<Isa>,
    /// Whether each thread but the caller's stays on a core of its own, so that no two of them share one. Done on Linux,
    /// for the first executor of a process, and where there are as many cores as threads.
    pub pin: bool,
    /// Whether convolutions of side 3 are done with fewer multiplications where that was measured to be faster: 2.25 times
    /// fewer in bf16, up to 4 times in f32. What bf16 rounds away is then 1.5 times as much (f32 is off by about what it
    /// is without), and weights take up to 1.8 times the memory in bf16, 4 times in f32.
    pub winograd: bool,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self { threads: None, dtype: Dtype::Auto, isa: None, pin: true, winograd: true }
    }
}

/// The most threads that an executor starts.
const MOST_THREADS: usize = 1024;

/// Runs networks on this machine's processor. Its threads sleep while there is nothing to do; executors of as many
/// threads share them, and they end when the last network of these is dropped.
#[derive(Debug)]
pub struct CpuExecutor {
    kernels: &'static Kernels,
    pool: Arc<Pool>,
    winograd: Choice,
}

impl CpuExecutor {
    /// Starts the threads and chooses the kernels.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a dtype or instructions that the machine does not have, `InvalidArgument` for instructions that
    /// are not `dtype`'s, an unknown name in `DREAMFRAME_CPU`, or more than 1024 threads, `Device` where a thread cannot
    /// be started.
    pub fn new(options: CpuOptions) -> Result<Self> {
        let kernels = choose(options)?;
        let all = || available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS);
        let threads = options.threads.map_or_else(all, NonZeroUsize::get);
        if threads > MOST_THREADS {
            let text = format!("threads: got {threads}, expected at most {MOST_THREADS}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let winograd = if options.winograd { Choice::Measured } else { Choice::Never };
        Ok(Self { kernels, pool: Pool::shared(threads, options.pin)?, winograd })
    }

    /// Does every convolution of side 3 that can be in Winograd's form as `form` says, whether that is faster or not. bf16
    /// loses too much with tiles of side 4.
    ///
    /// # Panics
    ///
    /// Where the tiles' side is not 2 or 4, or a block has none.
    #[cfg(any(test, feature = "internals"))]
    pub fn always_winograd(self, form: WinogradForm) -> Self {
        assert!(matches!(form.side, 2 | 4) && form.tiles > 0, "{form:?}");
        Self { winograd: Choice::Always(form), ..self }
    }

    /// Which instructions it uses.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// Measures what the machine can do at this moment, in billions of multiplications and additions a second: loops that
    /// touch no memory, on all threads. Takes some milliseconds.
    #[allow(unsafe_code, reason = "calls a kernel by itself")]
    pub fn peak(&self) -> f64 {
        const ROUNDS: usize = 2_000_000;
        let Kernels { bytes, lanes, .. } = *self.kernels;
        let own = (self.kernels.peak, self.kernels.peak_sums, self.kernels.group);
        let (peak, sums, group) = bytes.map_or(own, |bytes| (bytes.peak, bytes.peak_sums, bytes.group));
        let pieces = self.threads();
        let start = Instant::now();
        self.pool.run(pieces, &|_, _| {
            // SAFETY: the table is there only where the processor has its instructions.
            std::hint::black_box(unsafe { peak(ROUNDS) });
        });
        let each = 2 * ROUNDS * sums * lanes * group;
        (pieces * each) as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

/// What to keep values in for the most pictures a second with no visible loss: bf16 where the processor multiplies it, else
/// f32; or what the instructions are for that `DREAMFRAME_CPU` names.
pub fn fastest_dtype() -> Dtype {
    let fastest = if Isa::Bf16.available() { Dtype::Bf16 } else { Dtype::F32 };
    // A name that is none is refused when an executor is made.
    named_isa().ok().flatten().map_or(fastest, Dtype::of)
}

/// The fastest instruction set for values of `dtype` that this machine has.
fn best(dtype: Dtype) -> Option<Isa> {
    Isa::ALL.into_iter().rev().find(|&isa| Dtype::of(isa) == dtype && isa.available())
}

/// The instructions that `DREAMFRAME_CPU` names, where it is set.
fn named_isa() -> Result<Option<Isa>> {
    let Some(name) = std::env::var("DREAMFRAME_CPU").ok().filter(|name| !name.is_empty()) else { return Ok(None) };
    let names = Isa::ALL.map(Isa::name).join(", ");
    let unknown = || format!("DREAMFRAME_CPU: got {name:?}, expected one of {names}");
    Isa::from_name(&name).map(Some).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, unknown()))
}

/// The kernels that `options` ask for.
fn choose(options: CpuOptions) -> Result<&'static Kernels> {
    let dtype = match options.dtype {
        Dtype::Auto => options.isa.map_or_else(fastest_dtype, Dtype::of),
        dtype @ (Dtype::F32 | Dtype::F16 | Dtype::Bf16 | Dtype::Int8) => dtype,
    };
    let asked = match options.isa {
        Some(isa) => Some((isa, dtype)),
        None => named_isa()?.map(|isa| (isa, dtype)),
    };
    let Some((isa, dtype)) = asked else {
        if dtype == Dtype::F16 {
            let text = format!("dtype: got {dtype} for the executor cpu, expected auto, f32, bf16 or int8");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let none = || {
            let lacks = Isa::ALL.into_iter().filter(|&isa| Dtype::of(isa) == dtype).flat_map(Isa::missing);
            let lacks = lacks.collect::<Vec<_>>().join(", ");
            let text = format!("dtype {dtype} needs instructions that this processor lacks: {lacks}");
            Error::new(ErrorKind::Unsupported, text)
        };
        return best(dtype).and_then(Isa::kernels).ok_or_else(none);
    };
    if Dtype::of(isa) != dtype {
        let text = format!("dtype: got {dtype}, expected {} for the instructions {}", Dtype::of(isa), isa.name());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let best = Isa::ALL.into_iter().rev().find(|isa| isa.available()).map_or("none", Isa::name);
    isa.kernels().ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("this processor does not support {}; the best that it supports is {best}", isa.name()),
        )
    })
}

impl Executor for CpuExecutor {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn describe(&self) -> String {
        let threads = self.threads();
        format!("cpu ({}, {threads} {})", self.isa().name(), if threads == 1 { "thread" } else { "threads" })
    }

    fn dtype(&self) -> Dtype {
        Dtype::of(self.isa())
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn least_scratch_bytes(&self, program: &Program) -> usize {
        let rooms = Rooms { kernels: self.kernels, winograd: self.winograd, program, weights: None };
        Plan::new(program, &rooms).arena_len.saturating_mul(self.kernels.size)
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(CpuNetwork::new(program, weights, self.kernels, self.winograd, &self.pool)?))
    }
}

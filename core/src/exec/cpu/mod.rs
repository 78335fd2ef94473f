//! The CPU executor: a static memory plan, packed weights, kernels selected at run time.

mod attention;
mod changes;
mod conv_window;
mod cost;
mod elementwise;
mod image;
mod inject;
mod keys;
mod merge;
mod nearest;
mod network;
mod norm;
mod pack;
mod past;
mod pointwise;
mod pool;
mod product;
mod profile;
mod recorder;
mod run;
mod small_weights;
mod span;
mod step;
#[cfg(test)]
pub(super) mod tests;
mod winograd;
mod winograd_policy;

use std::num::NonZeroUsize;
use std::sync::Arc;
#[cfg(any(test, feature = "internals"))]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

pub use dreamframe_kernels::Isa;
use dreamframe_kernels::Kernels;

use self::network::CpuNetwork;
use self::pool::Pool;
pub use self::pool::background;
use self::step::CpuLayout;
#[cfg(any(test, feature = "internals"))]
pub use self::winograd_policy::Form as WinogradForm;
use self::winograd_policy::WinogradPolicy;
use super::{Dtype, Executor, Network};
use crate::error::{Error, ErrorKind, Result};
use crate::net::plan::Plan;
use crate::net::{Branches, Program, Weights};

/// Options of a [`CpuExecutor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuOptions {
    /// Number of threads that process a frame, including the caller's; `None` for as many as this process may use.
    /// The result does not depend on it. Of more threads than cores that the process may use, as many as cores work.
    pub threads: Option<NonZeroUsize>,
    /// The number format of values and weights.
    pub dtype: Dtype,
    /// The instruction set; `None` for the fastest of this machine for `dtype`, or the one given by the environment
    /// variable `DREAMFRAME_CPU`.
    pub isa: Option<Isa>,
    /// Whether each thread except the caller's is pinned to a core. Supported on Linux and Windows, for the first
    /// executor of a process, and if there are as many cores as threads. On Linux, the cores are those of one node of
    /// the memory, if it has as many: of the node that the caller is on, otherwise of the one with the most cores.
    pub pin: bool,
    /// Whether 3x3 convolutions use Winograd's algorithm where that was measured to be faster. It needs 2.25 times
    /// fewer multiplications in bf16, and up to 4 times fewer in f32. The rounding error of bf16 is then 1.5 times as
    /// large (that of f32 is about the same), and weights take up to 1.8 times the memory in bf16, 4 times in f32.
    pub winograd: bool,
}

impl Default for CpuOptions {
    fn default() -> Self {
        Self { threads: None, dtype: Dtype::Auto, isa: None, pin: true, winograd: true }
    }
}

/// Maximum number of threads of an executor.
const MAX_THREADS: usize = 1024;

/// Runs networks on the CPU. Its threads sleep while idle. Executors with the same number of threads share them, and
/// they end when the last network of these is dropped.
#[derive(Debug)]
pub struct CpuExecutor {
    kernels: &'static Kernels,
    pool: Arc<Pool>,
    winograd: WinogradPolicy,
}

impl CpuExecutor {
    /// Starts the threads and selects the kernels.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a dtype or an instruction set that the machine lacks, `InvalidArgument` for instructions that
    /// are not `dtype`'s, an unknown name in `DREAMFRAME_CPU`, or more than 1024 threads, `Device` if a thread cannot
    /// be started.
    pub fn new(options: CpuOptions) -> Result<Self> {
        let kernels = choose(options)?;
        let all = || available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
        let threads = options.threads.map_or_else(all, NonZeroUsize::get);
        if threads > MAX_THREADS {
            let text = format!("threads: got {threads}, expected at most {MAX_THREADS}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let winograd = if options.winograd { WinogradPolicy::Measured } else { WinogradPolicy::Never };
        Ok(Self { kernels, pool: Pool::shared(threads, options.pin)?, winograd })
    }

    /// Returns one that runs on the thread of the caller alone, in `dtype`, whatever `DREAMFRAME_CPU` names.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a dtype that the machine lacks, `InvalidArgument` for an unknown name in `DREAMFRAME_CPU`.
    pub(crate) fn alone(dtype: Dtype) -> Result<Self> {
        let isa = named_isa()?.filter(|isa| Dtype::of(*isa) == dtype).or_else(|| best(dtype));
        Self::new(CpuOptions { threads: Some(NonZeroUsize::MIN), dtype, isa, pin: false, winograd: true })
    }

    /// Forces Winograd's algorithm with the parameters `form` for every supported convolution, even if it is slower.
    /// With tiles of side 4, bf16 is too inaccurate.
    ///
    /// # Panics
    ///
    /// If the tiles' side is not 2 or 4, or a block has no tiles.
    #[cfg(any(test, feature = "internals"))]
    pub fn always_winograd(self, form: WinogradForm) -> Self {
        assert!(matches!(form.side, 2 | 4) && form.tiles > 0, "{form:?}");
        Self { winograd: WinogradPolicy::Always(form), ..self }
    }

    /// Returns the instruction set.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// Measures how long a job takes beyond its pieces if all threads take part, in nanoseconds: what a tenth of the
    /// jobs take at most, since other work on the machine only delays them. Takes some milliseconds.
    #[cfg(any(test, feature = "internals"))]
    pub fn job_nanos(&self) -> f64 {
        const ROUNDS: usize = 2001;
        // A job that another caller's keeps from the threads must end, too.
        const MOST_SPINS: usize = 1 << 16;
        let threads = self.threads();
        let mut times: Vec<u64> = (0..ROUNDS)
            .map(|_| {
                let begun = AtomicUsize::new(0);
                let start = Instant::now();
                // Each piece ends when each thread has one.
                self.pool.run(threads, &|_, _| {
                    begun.fetch_add(1, Ordering::AcqRel);
                    for _ in 0..MOST_SPINS {
                        if begun.load(Ordering::Acquire) == threads {
                            break;
                        }
                        std::hint::spin_loop();
                    }
                });
                recorder::nanos_since(start)
            })
            .collect();
        times.sort_unstable();
        times[ROUNDS / 10] as f64
    }

    /// Measures the current peak performance of this machine, in billions of multiplications and additions per second,
    /// on all threads, without memory accesses. Takes some milliseconds.
    #[allow(unsafe_code, reason = "calls a kernel by itself")]
    pub fn peak(&self) -> f64 {
        const ROUNDS: usize = 2_000_000;
        let Kernels { bytes, lanes, .. } = *self.kernels;
        let own = (self.kernels.peak, self.kernels.peak_sums, self.kernels.group);
        let (peak, sums, group) = bytes.map_or(own, |bytes| (bytes.peak, bytes.peak_sums, bytes.group));
        let pieces = self.threads();
        let start = Instant::now();
        self.pool.run(pieces, &|_, _| {
            // SAFETY: a table of kernels exists only if the CPU supports its instructions.
            std::hint::black_box(unsafe { peak(ROUNDS) });
        });
        let each = 2 * ROUNDS * sums * lanes * group;
        (pieces * each) as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

/// Returns the number format with the most pictures per second without visible loss: bf16 if the CPU multiplies it,
/// otherwise f32; or the format of the instruction set given by `DREAMFRAME_CPU`.
pub fn fastest_dtype() -> Dtype {
    fastest_dtype_of(|| false)
}

/// Like [`fastest_dtype`], for a model that is `calibrated` for int8 or not: int8 for one that is, if the CPU multiplies int8,
/// but not bf16.
pub(crate) fn fastest_dtype_of(calibrated: impl FnOnce() -> bool) -> Dtype {
    // An invalid name is rejected when an executor is created.
    let named = named_isa().ok().flatten().map(Dtype::of);
    named.unwrap_or_else(|| fastest_of(|dtype| best(dtype).is_some(), calibrated))
}

/// Returns the fastest of the formats that the CPU `multiplies`.
fn fastest_of(multiplies: impl Fn(Dtype) -> bool, calibrated: impl FnOnce() -> bool) -> Dtype {
    if multiplies(Dtype::Bf16) {
        Dtype::Bf16
    } else if multiplies(Dtype::Int8) && calibrated() {
        Dtype::Int8
    } else {
        Dtype::F32
    }
}

/// Returns the fastest instruction set of this machine for values of `dtype`.
fn best(dtype: Dtype) -> Option<Isa> {
    Isa::ALL.into_iter().rev().find(|&isa| Dtype::of(isa) == dtype && isa.available())
}

/// Returns the bytes of values, and of weights that are not int8, on this machine with [`Dtype::Int8`].
pub(super) fn size_beside_int8() -> usize {
    best(Dtype::Int8).and_then(Isa::kernels).map_or(size_of::<u16>(), |kernels| kernels.size)
}

/// Returns the instruction set given by `DREAMFRAME_CPU`, if it is set.
fn named_isa() -> Result<Option<Isa>> {
    let Some(name) = std::env::var("DREAMFRAME_CPU").ok().filter(|name| !name.is_empty()) else { return Ok(None) };
    let names = Isa::ALL.map(Isa::name).join(", ");
    let unknown = || format!("DREAMFRAME_CPU: got {name:?}, expected one of {names}");
    Isa::from_name(&name).map(Some).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, unknown()))
}

/// Returns the kernels for `options`.
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
            let least = Isa::ALL.into_iter().find(|&isa| Dtype::of(isa) == dtype);
            let text = least.map_or_else(
                || format!("dtype: got {dtype}, expected f32 on this kind of processor"),
                |isa| {
                    let lacks = isa.missing().join(", ");
                    format!("dtype {dtype} needs instructions that this processor lacks: {lacks}")
                },
            );
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

    /// One row has enough work for all cores.
    fn is_faster_in_batches(&self) -> bool {
        false
    }

    fn device_key(&self) -> Option<String> {
        Some(format!("{} {:?}", self.describe(), self.winograd))
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn branch_cost(&self, program: &Program, weights: &Weights, branches: &Branches) -> Result<f64> {
        self.added_by(program, weights, branches)
    }

    fn least_scratch_bytes(&self, program: &Program) -> usize {
        let layout = CpuLayout { kernels: self.kernels, winograd: self.winograd, program, weights: None };
        Plan::new(program, &layout).arena_len.saturating_mul(self.kernels.size)
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(CpuNetwork::new(program, weights, self.kernels, self.winograd, &self.pool, false)?))
    }

    fn compile_keeping(&self, program: &Arc<Program>, weights: &Weights) -> Result<Option<Arc<dyn Network>>> {
        let layout = CpuLayout { kernels: self.kernels, winograd: self.winograd, program, weights: Some(weights) };
        if !changes::is_local_plan(&Plan::keeping(program, &layout)) {
            return Ok(None);
        }
        let network = CpuNetwork::new(program, weights, self.kernels, self.winograd, &self.pool, true)?;
        Ok(Some(Arc::new(network)))
    }
}

#[cfg(test)]
mod format_tests {
    use super::*;

    #[test]
    fn int8_is_the_fastest_format_where_bf16_is_missing_and_the_model_is_calibrated() {
        let formats =
            |multiplied: &[Dtype]| [false, true].map(|it| fastest_of(|dtype| multiplied.contains(&dtype), || it));
        assert_eq!(formats(&[Dtype::F32]), [Dtype::F32, Dtype::F32]);
        assert_eq!(formats(&[Dtype::F32, Dtype::Int8]), [Dtype::F32, Dtype::Int8]);
        assert_eq!(formats(&[Dtype::F32, Dtype::Int8, Dtype::Bf16]), [Dtype::Bf16, Dtype::Bf16]);
    }
}

//! A device of an execution provider: its sessions, its memory, and the operations between networks.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::super::{Buffer, Dtype, Network, Provider, View, ViewMut};
use super::conversions::Conversions;
use super::glue::Glue;
use super::proto::ElementType;
use super::providers::Row;
use super::runtime::{Counts, DeviceMemory, Memory, Operand, OperandMut, Runtime};
use super::sessions::Sessions;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::FrameMemory;
use crate::net::{Forms, Program};

/// A device with everything that engines share on it.
#[derive(Debug)]
pub(super) struct OnnxDevice {
    pub(super) row: &'static Row,
    pub(super) element: ElementType,
    /// Whether networks are compiled to files.
    pub(super) compiles: bool,
    pub(super) sessions: Sessions,
    pub(super) glue: Glue,
    pub(super) conversions: Conversions,
    memory: Arc<DeviceMemory>,
    /// Factors of sums, with their memory; the most recently used ones are last.
    factors: Mutex<Vec<(Vec<f32>, Arc<Memory>)>>,
    /// The networks in use, which engines share.
    networks: Mutex<Vec<KnownNetwork>>,
}

/// A network in use, with what it was compiled from.
#[derive(Debug)]
struct KnownNetwork {
    program: Arc<Program>,
    weights: Weak<Forms>,
    network: Weak<dyn Network>,
}

/// Maximum number of lists of factors that stay on the device: several schedules of as many steps as there can be.
const MOST_FACTORS: usize = 256;

/// Counters of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnnxCounts {
    /// Operands of the host that were read: each is transferred to a device with its own memory.
    pub uploads: u64,
    /// Operands of the host that were written.
    pub downloads: u64,
    /// Runs of graphs, after each of which the host waited.
    pub runs: u64,
    /// The time in those runs.
    pub time: Duration,
    /// How often operands were bound at addresses that the graph had not run at.
    pub bindings: u64,
}

/// What an [`OnnxExecutor`](super::OnnxExecutor) runs on.
#[derive(Debug, Clone, Copy)]
pub struct OnnxConfig<'a> {
    /// ONNX Runtime's library.
    pub library: &'a Path,
    /// The execution provider; the CPU's for [`Provider::Auto`].
    pub provider: Provider,
    /// The library of the provider, if it is a plug-in.
    pub plug_in: Option<&'a Path>,
    /// The index of the device among those of the provider.
    pub device_index: u32,
    /// The number format: `F32`, `F16`, or `Auto` for the provider's own.
    pub dtype: Dtype,
    /// Number of threads of the processor.
    pub threads: usize,
    /// Whether runs of networks are captured as CUDA graphs.
    pub cuda_graphs: bool,
}

impl OnnxDevice {
    /// Loads the library, once per process, and adds two numbers on the device.
    ///
    /// # Errors
    ///
    /// Those of [`OnnxExecutor::new`](super::OnnxExecutor::new).
    pub(super) fn open(config: &OnnxConfig<'_>) -> Result<Self> {
        let row = Row::of(config.provider);
        let element = match if config.dtype == Dtype::Auto { row.dtype } else { config.dtype } {
            Dtype::Auto | Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            dtype @ (Dtype::Bf16 | Dtype::Int8) => {
                let text = format!("dtype: got {dtype} for the executor onnx, expected auto, f32 or f16");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        };
        if !row.systems.contains(&std::env::consts::OS) {
            let (got, expected) = (std::env::consts::OS, row.systems.join(" or "));
            let text = format!("provider {}: got the system {got}, expected {expected}", row.provider);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if config.cuda_graphs && !row.has_graphs() {
            let text = format!("provider {}: it has no CUDA graphs, expected cuda_graphs to be off", row.provider);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let runtime = Runtime::load(config.library)?;
        let named = |error: Error| error.within(format!("provider {}", row.provider));
        let target = runtime.target(row, config.device_index, config.plug_in).map_err(named)?;
        let sessions = Sessions { runtime, target, threads: config.threads, captures: config.cuda_graphs };
        sessions.check(element).map_err(named)?;
        let glue = Glue::new(element, &sessions).map_err(named)?;
        let memory = sessions.runtime.memory(&sessions.target, &glue.clear).map_err(named)?;
        let compiles = row.compiles;
        let (conversions, factors, networks) = Default::default();
        Ok(Self { row, element, compiles, sessions, glue, conversions, memory, factors, networks })
    }

    /// Returns the counters of sessions since the last call.
    pub(super) fn take_counts(&self) -> OnnxCounts {
        let Counts { uploads, downloads, runs, nanos, bindings } = &*self.sessions.target.counts;
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let time = Duration::from_nanos(take(nanos));
        let [uploads, downloads, runs, bindings] = [uploads, downloads, runs, bindings].map(take);
        OnnxCounts { uploads, downloads, runs, time, bindings }
    }

    /// Returns the factors of a sum on the device. They are uploaded once: most are those of a schedule.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn factors(&self, factors: &[f32]) -> Result<Arc<Memory>> {
        let mut known = self.factors.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &(Vec<f32>, Arc<Memory>)| {
            kept.0.len() == factors.len() && kept.0.iter().zip(factors).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        let entry = match known.iter().position(same) {
            Some(index) => known.remove(index),
            None => {
                if known.len() == MOST_FACTORS {
                    known.remove(0);
                }
                let mut memory = self.memory.allocate(factors.len(), ElementType::F32)?;
                let range = 0..factors.len();
                let outputs = &mut [OperandMut::Device(&mut memory, range)];
                self.glue.copy_floats.run(&[Operand::Floats(factors)], outputs)?;
                (factors.to_vec(), Arc::new(memory))
            }
        };
        let memory = Arc::clone(&entry.1);
        known.push(entry);
        Ok(memory)
    }

    /// Returns the network of `program` with these weights that is in use, if there is one.
    pub(super) fn network(&self, program: &Program, weights: &Arc<Forms>) -> Option<Arc<dyn Network>> {
        let weights = Arc::downgrade(weights);
        let known = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&KnownNetwork| known.weights.ptr_eq(&weights) && *known.program == *program;
        known.iter().filter(same).find_map(|known| known.network.upgrade())
    }

    /// Makes a network known to [`network`](Self::network), as long as it is in use.
    pub(super) fn add_network(&self, program: &Arc<Program>, weights: &Arc<Forms>, network: &Arc<dyn Network>) {
        let mut known = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.network.strong_count() > 0);
        let (weights, network) = (Arc::downgrade(weights), Arc::downgrade(network));
        known.push(KnownNetwork { program: Arc::clone(program), weights, network });
    }

    /// Returns the memory of frames that are read and written where they are; `None` if the provider has none.
    pub(super) fn frame_memory(&self) -> Option<FrameMemory> {
        self.memory.frames
    }

    /// Returns the version of ONNX Runtime.
    pub(super) fn version(&self) -> String {
        self.sessions.runtime.version()
    }

    /// Allocates `len` zeros.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub(super) fn zeros(&self, len: usize) -> Result<Memory> {
        let mut memory = self.memory.allocate(len, self.element)?;
        if len > 0 {
            self.glue.clear.run_in_place(&[], &mut [OperandMut::Device(&mut memory, 0..len)])?;
        }
        Ok(memory)
    }

    /// Allocates `len` elements of a format, which are not initialized.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed.
    pub(super) fn allocate(&self, len: usize, element: ElementType) -> Result<Memory> {
        self.memory.allocate(len, element)
    }

    /// Copies `elements` to `to`, which has as many.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn fill(&self, to: &mut Memory, elements: &[f32]) -> Result<()> {
        let range = 0..to.len;
        let session = if to.element == self.element { &self.glue.upload } else { &self.glue.copy_floats };
        session.run(&[Operand::Floats(elements)], &mut [OperandMut::Device(to, range)])
    }

    /// Returns the elements of `view`, which are on this device.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for memory of another device or of the host.
    pub(super) fn on_device<'a>(&self, view: &View<'a>) -> Result<Operand<'a>> {
        let View::Device(view) = view else { return Err(foreign()) };
        let memory: &Memory = view.memory().ok_or_else(foreign)?;
        if memory.is_of(&self.memory) { Ok(Operand::Device(memory, view.range())) } else { Err(foreign()) }
    }

    /// Like [`on_device`](Self::on_device), for writing.
    ///
    /// # Errors
    ///
    /// Those of `on_device`.
    pub(super) fn on_device_mut<'a>(&self, view: &'a mut ViewMut<'_>) -> Result<OperandMut<'a>> {
        let ViewMut::Device(view) = view else { return Err(foreign()) };
        let range = view.range();
        let memory: &mut Memory = view.memory().ok_or_else(foreign)?;
        if memory.is_of(&self.memory) { Ok(OperandMut::Device(memory, range)) } else { Err(foreign()) }
    }

    /// Wraps memory as a buffer.
    pub(super) fn buffer(memory: Memory) -> Buffer {
        let len = memory.len;
        Buffer::device(memory, len)
    }
}

/// The error of memory of another device.
fn foreign() -> Error {
    Error::new(ErrorKind::InvalidArgument, "buffer: got memory of another device, expected that of the executor onnx")
}

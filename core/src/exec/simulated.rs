//! An executor with a simulated device, for tests of everything that uses executors.
//!
//! Its memory is in a table that only it can access, its work is deferred until something waits for it, and it counts
//! transfers. The results are those of the executor that it wraps.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::queue::same_len;
use super::{
    Buffer, Constants, Dtype, Executor, FrameKeys, HostQueue, Injection, Mark, Network, Past, Queue, RunArgs, Scratch,
    Transfer, View, ViewMut,
};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Fit, FrameConverter, FrameView, FrameViewMut};
use crate::net::{Branches, Program, Weights};

/// Number of frames that may be in flight.
const DEPTH: usize = 2;

/// An executor with a simulated device.
#[derive(Debug, Clone)]
pub struct SimulatedExecutor {
    inner: Arc<dyn Executor>,
    device: Arc<Device>,
}

/// Counters of a simulated device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Transfers to the device, including those of host memory passed to a network.
    pub uploads: u64,
    /// Transfers to the host, including those of networks that write to host memory.
    pub downloads: u64,
    /// Number of times that the host waited for the device.
    pub waits: u64,
    /// Runs of networks.
    pub runs: u64,
}

/// What fails at a simulated device, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// The n-th request from now on, from 1, is refused: to allocate memory, to transfer elements or to compute with them,
    /// to compile a network, to prepare its constants or to run it.
    Request(u64),
    /// The n-th time from now on, from 1, that the host waits for the device, all deferred work is lost.
    Wait(u64),
}

/// A deferred operation.
type Operation = Box<dyn FnOnce(&mut Tables) -> Result<()> + Send>;

/// Deferred work.
enum Work {
    Operation(Operation),
    /// Frees a buffer.
    Free(u64),
}

#[derive(Default)]
struct Device {
    /// Bytes of memory; unlimited if 0.
    memory: u64,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    tables: Tables,
    counts: DeviceCounts,
    is_lost: bool,
    /// The fault that has not occurred yet.
    fault: Option<DeviceFault>,
}

/// The memory of the device.
#[derive(Default)]
struct Tables {
    buffers: HashMap<u64, Vec<f32>>,
    scratch: Scratch,
}

/// The type of a buffer: its index in the table.
struct Handle {
    id: u64,
    device: Arc<Device>,
}

/// Elements of a buffer of the table.
#[derive(Clone)]
struct TableRef {
    id: u64,
    range: Range<usize>,
}

/// An operand of deferred work.
enum Source {
    Buffer(TableRef),
    /// A copy of host memory, from the time when the work was requested.
    Host(Vec<f32>),
}

impl SimulatedExecutor {
    /// Wraps `inner`, without a memory limit.
    pub fn new(inner: Arc<dyn Executor>) -> Self {
        Self::with_memory(inner, 0)
    }

    /// Wraps `inner`, on a device with `bytes` of memory for buffers; unlimited for 0.
    pub fn with_memory(inner: Arc<dyn Executor>, bytes: u64) -> Self {
        Self { inner, device: Arc::new(Device { memory: bytes, ..Device::default() }) }
    }

    /// Returns the counters since the last call.
    pub fn take_counts(&self) -> DeviceCounts {
        std::mem::take(&mut self.device.state().counts)
    }

    /// Loses the device, or brings it back: while it is lost, everything that waits for it fails.
    pub fn set_lost(&self, is_lost: bool) {
        self.device.state().is_lost = is_lost;
    }

    /// Sets the next fault, and returns the one before, unless it has occurred.
    pub fn set_fault(&self, fault: Option<DeviceFault>) -> Option<DeviceFault> {
        std::mem::replace(&mut self.device.state().fault, fault)
    }

    /// Returns the number of deferred steps.
    pub fn unfinished(&self) -> usize {
        self.device.state().work.len()
    }
}

impl Executor for SimulatedExecutor {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn dtype(&self) -> Dtype {
        self.inner.dtype()
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn device_key(&self) -> Option<String> {
        Some(format!("simulated {:p}, {}", Arc::as_ptr(&self.device), self.inner.device_key()?))
    }

    fn branch_cost(&self, program: &Program, weights: &Weights, branches: &Branches) -> Result<f64> {
        self.inner.branch_cost(program, weights, branches)
    }

    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(SimulatedQueue(self.device.clone()))
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        self.device.request()?;
        let inner = self.inner.compile(program, weights)?;
        Ok(Arc::new(SimulatedNetwork { inner, device: self.device.clone() }))
    }
}

impl Device {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn later(&self, work: impl FnOnce(&mut Tables) -> Result<()> + Send + 'static) {
        self.state().work.push_back(Work::Operation(Box::new(work)));
    }

    /// Accepts a request, unless it is the one that fails.
    fn request(&self) -> Result<()> {
        self.request_or(ErrorKind::Device)
    }

    /// Accepts a request for memory or one that needs memory, unless it is the one that fails.
    fn request_memory(&self) -> Result<()> {
        self.request_or(ErrorKind::OutOfMemory)
    }

    fn request_or(&self, kind: ErrorKind) -> Result<()> {
        let mut state = self.state();
        let Some(DeviceFault::Request(left)) = &mut state.fault else { return Ok(()) };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Ok(());
        }
        state.fault = None;
        Err(Error::new(kind, "the simulated device refused a request"))
    }

    /// Executes all deferred work, and returns the first error.
    fn wait(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.counts.waits += 1;
        let mut result = if state.loses_work() {
            Err(Error::new(ErrorKind::Device, "the simulated device is lost"))
        } else {
            Ok(())
        };
        let is_lost = result.is_err();
        while let Some(work) = state.work.pop_front() {
            match work {
                Work::Operation(_) if is_lost => {}
                Work::Operation(work) => {
                    let done = work(&mut state.tables);
                    result = result.and(done);
                }
                Work::Free(id) => drop(state.tables.buffers.remove(&id)),
            }
        }
        result.map(|()| state)
    }

    fn free(&self) -> Option<u64> {
        let used: usize = self.state().tables.buffers.values().map(|buffer| buffer.len() * size_of::<f32>()).sum();
        (self.memory > 0).then(|| self.memory.saturating_sub(used as u64))
    }

    /// Converts `view` to an operand; host memory is uploaded.
    fn source(self: &Arc<Self>, view: View<'_>) -> Result<Source> {
        match view {
            View::Host(elements) => {
                self.state().counts.uploads += 1;
                Ok(Source::Host(elements.to_vec()))
            }
            View::Device(view) => {
                let handle: &Handle = view.memory().ok_or_else(foreign)?;
                self.check(handle)?;
                Ok(Source::Buffer(TableRef { id: handle.id, range: view.range() }))
            }
        }
    }

    /// Returns the elements of the table that `view` refers to; `None` for host memory.
    fn target(self: &Arc<Self>, view: &mut ViewMut<'_>) -> Result<Option<TableRef>> {
        let ViewMut::Device(view) = view else { return Ok(None) };
        let range = view.range();
        let handle: &mut Handle = view.memory().ok_or_else(foreign)?;
        self.check(handle)?;
        Ok(Some(TableRef { id: handle.id, range }))
    }

    fn check(self: &Arc<Self>, handle: &Handle) -> Result<()> {
        if Arc::ptr_eq(self, &handle.device) { Ok(()) } else { Err(foreign()) }
    }

    /// Defers `work` on the elements of `to`, or executes it now if they are in host memory.
    fn write(
        self: &Arc<Self>,
        mut to: ViewMut<'_>,
        work: impl FnOnce(&mut Tables, &mut [f32]) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.request()?;
        if let Some(place) = self.target(&mut to)? {
            self.later(move |tables| {
                let mut elements = tables.read(&Source::Buffer(place.clone()))?;
                work(tables, &mut elements)?;
                tables.write(&place, &elements)
            });
            return Ok(());
        }
        let mut state = self.wait()?;
        state.counts.downloads += 1;
        work(&mut state.tables, to.host()?)
    }
}

impl State {
    /// Returns whether the deferred work is lost, at a wait.
    fn loses_work(&mut self) -> bool {
        let Some(DeviceFault::Wait(left)) = &mut self.fault else { return self.is_lost };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return self.is_lost;
        }
        self.fault = None;
        true
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Earlier work may still use it.
        self.device.state().work.push_back(Work::Free(self.id));
    }
}

impl Tables {
    fn read(&self, source: &Source) -> Result<Vec<f32>> {
        match source {
            Source::Host(elements) => Ok(elements.clone()),
            Source::Buffer(TableRef { id, range }) => {
                let elements = self.buffers.get(id).and_then(|buffer| buffer.get(range.clone()));
                elements.map(<[f32]>::to_vec).ok_or_else(freed_buffer)
            }
        }
    }

    fn write(&mut self, TableRef { id, range }: &TableRef, elements: &[f32]) -> Result<()> {
        let place =
            self.buffers.get_mut(id).and_then(|buffer| buffer.get_mut(range.clone())).ok_or_else(freed_buffer)?;
        place.copy_from_slice(elements);
        Ok(())
    }
}

fn freed_buffer() -> Error {
    Error::new(ErrorKind::Internal, "the simulated device has no such buffer")
}

fn foreign() -> Error {
    Error::new(ErrorKind::InvalidArgument, "buffer: got memory of another device, expected that of this one")
}

/// The queue of a simulated device.
#[derive(Debug)]
struct SimulatedQueue(Arc<Device>);

/// The picture of a transfer, once it is complete.
type Exported = Arc<Mutex<Vec<f32>>>;

impl Queue for SimulatedQueue {
    fn buffer(&self, len: usize) -> Result<Buffer> {
        self.0.request_memory()?;
        let bytes = len.saturating_mul(size_of::<f32>());
        if self.0.free().is_some_and(|free| free < bytes as u64) {
            // Dropped buffers are freed with the preceding work.
            drop(self.0.wait()?);
            let queue: &dyn Queue = self;
            queue.require(bytes, "a buffer")?;
        }
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.state().tables.buffers.insert(id, vec![0.0; len]);
        Ok(Buffer::device(Handle { id, device: self.0.clone() }, len))
    }

    fn scratch(&self, _bytes: usize) -> Result<Scratch> {
        Ok(Scratch::new())
    }

    fn available_memory(&self) -> Option<u64> {
        self.0.free()
    }

    fn depth(&self) -> usize {
        DEPTH
    }

    fn upload(&self, from: &[f32], to: ViewMut<'_>) -> Result<()> {
        self.combine(to, 0.0, &[(1.0, from.into())])
    }

    fn download(&self, from: View<'_>, to: &mut [f32]) -> Result<()> {
        self.combine(to.into(), 0.0, &[(1.0, from)])
    }

    fn combine(&self, to: ViewMut<'_>, keep: f32, terms: &[(f32, View<'_>)]) -> Result<()> {
        for (_, from) in terms {
            same_len(from.len(), to.len())?;
        }
        let source = |(factor, from): &(f32, View<'_>)| Ok((*factor, self.0.source(*from)?));
        let terms: Vec<(f32, Source)> = terms.iter().map(source).collect::<Result<_>>()?;
        self.0.write(to, move |tables, to| {
            let read = |(factor, from): &(f32, Source)| Ok((*factor, tables.read(from)?));
            let terms: Vec<(f32, Vec<f32>)> = terms.iter().map(read).collect::<Result<_>>()?;
            let terms: Vec<(f32, View<'_>)> = terms.iter().map(|(factor, from)| (*factor, from.into())).collect();
            HostQueue.combine(to.into(), keep, &terms)
        })
    }

    fn to_unit(&self, from: View<'_>, to: ViewMut<'_>) -> Result<()> {
        same_len(from.len(), to.len())?;
        let from = self.0.source(from)?;
        self.0.write(to, move |tables, to| HostQueue.to_unit((&tables.read(&from)?).into(), to.into()))
    }

    fn import(
        &self,
        frame: &FrameView<'_>,
        converter: &mut FrameConverter,
        fit: Fit,
        (width, height): (u32, u32),
        to: ViewMut<'_>,
    ) -> Result<()> {
        let mut elements = vec![f32::NAN; to.len()];
        converter.to_signed(frame, fit, width, height, &mut elements)?;
        self.upload(&elements, to)
    }

    fn begin_export(&self, from: View<'_>, transfer: &mut Transfer) -> Result<()> {
        self.0.request()?;
        let from = self.0.source(from)?;
        let exported = Exported::default();
        *transfer.get_or_default() = exported.clone();
        self.0.later(move |tables| {
            *exported.lock().unwrap_or_else(PoisonError::into_inner) = tables.read(&from)?;
            Ok(())
        });
        Ok(())
    }

    fn finish_export(
        &self,
        _from: View<'_>,
        transfer: &mut Transfer,
        converter: &mut FrameConverter,
        (width, height): (u32, u32),
        to: &mut FrameViewMut<'_>,
    ) -> Result<()> {
        self.0.wait()?.counts.downloads += 1;
        let exported: &mut Exported = transfer.get_or_default();
        let elements = exported.lock().unwrap_or_else(PoisonError::into_inner);
        converter.from_signed(&elements, width, height, to)
    }

    fn export_again(
        &self,
        transfer: &mut Transfer,
        converter: &mut FrameConverter,
        (width, height): (u32, u32),
        to: &mut FrameViewMut<'_>,
    ) -> Result<bool> {
        let exported: &mut Exported = transfer.get_or_default();
        let elements = exported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = elements.len() == width as usize * height as usize * 3;
        if is_kept {
            converter.from_signed(&elements, width, height, to)?;
        }
        Ok(is_kept)
    }

    fn mark(&self) -> Mark {
        let reached = Arc::new(OnceLock::new());
        let mark = Mark::device(reached.clone());
        self.0.later(move |_| {
            reached.get_or_init(Instant::now);
            Ok(())
        });
        mark
    }

    fn elapsed(&self, from: &Mark, to: &Mark) -> Duration {
        let reached = |mark: &Mark| mark.get::<Arc<OnceLock<Instant>>>()?.get().copied();
        match (reached(from), reached(to)) {
            (Some(from), Some(to)) => to.saturating_duration_since(from),
            (None, _) | (_, None) => Duration::ZERO,
        }
    }
}

/// A network of the wrapped executor, which runs later.
#[derive(Debug)]
struct SimulatedNetwork {
    inner: Arc<dyn Network>,
    device: Arc<Device>,
}

/// The constants, shared with the work that uses them.
type SharedConstants = Arc<Constants>;
/// Keys and values of a frame, shared with the work that uses them.
type SharedKeys = Arc<Mutex<FrameKeys>>;

/// The past of a run, shared with the work that uses it.
struct SharedPast {
    frames: Vec<SharedKeys>,
    filled: usize,
    keep: Option<usize>,
    injection: Injection,
    order: Option<Vec<u32>>,
}

impl SimulatedNetwork {
    /// Runs on elements of the table; the outputs are those of the program, in order.
    fn work(
        inner: &dyn Network,
        tables: &mut Tables,
        constants: &Constants,
        inputs: &[Source],
        past: Option<&SharedPast>,
    ) -> Result<Vec<Vec<f32>>> {
        let inputs: Vec<Vec<f32>> = inputs.iter().map(|input| tables.read(input)).collect::<Result<_>>()?;
        let inputs: Vec<View<'_>> = inputs.iter().map(View::from).collect();
        let program = inner.program();
        let lens = program.outputs().iter().map(|output| program.shape(output.value).len());
        let mut outputs: Vec<Vec<f32>> = lens.map(|len| vec![f32::NAN; len]).collect();
        let mut views: Vec<ViewMut<'_>> = outputs.iter_mut().map(ViewMut::from).collect();
        let args = RunArgs::new(constants, &mut tables.scratch, &inputs, &mut views);
        let Some(SharedPast { frames: shared, filled, keep, injection, order }) = past else {
            inner.run(args)?;
            return Ok(outputs);
        };
        let take = |keys: &SharedKeys| std::mem::replace(&mut *lock(keys), FrameKeys::new(()));
        let mut frames: Vec<FrameKeys> = shared.iter().map(take).collect();
        let (filled, keep, injection) = (*filled, *keep, *injection);
        let past = Past { frames: &mut frames, filled, keep, injection, order: order.as_deref() };
        let result = inner.run(RunArgs { past: Some(past), ..args });
        frames.into_iter().zip(shared).for_each(|(keys, shared)| *lock(shared) = keys);
        result.map(|()| outputs)
    }
}

fn lock(keys: &SharedKeys) -> MutexGuard<'_, FrameKeys> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network for SimulatedNetwork {
    fn program(&self) -> &Program {
        self.inner.program()
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        self.device.request()?;
        Ok(Constants::new(SharedConstants::new(self.inner.constants(inputs)?)))
    }

    fn run(&self, args: RunArgs<'_, '_>) -> Result<()> {
        let RunArgs { constants, inputs, outputs, past, .. } = args;
        self.device.request_memory()?;
        let constants: SharedConstants = constants.get::<SharedConstants>().ok_or_else(foreign)?.clone();
        let program = self.inner.program();
        let expected = program.outputs().iter().map(|output| program.shape(output.value).len());
        if outputs.len() != program.outputs().len() {
            let text = format!("outputs: got {}, expected {}", outputs.len(), program.outputs().len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        for (output, expected) in outputs.iter().zip(expected) {
            same_len(output.len(), expected)?;
        }
        let inputs = inputs.iter().map(|&input| self.device.source(input)).collect::<Result<Vec<_>>>()?;
        let past = past.map(|past| {
            past.check(program)?;
            let keys = past.frames.iter().map(|keys| keys.get::<SharedKeys>().cloned().ok_or_else(foreign));
            let Past { filled, keep, injection, .. } = past;
            let (frames, order) = (keys.collect::<Result<Vec<_>>>()?, past.order.map(<[u32]>::to_vec));
            Ok::<_, Error>(SharedPast { frames, filled, keep, injection, order })
        });
        let past = past.transpose()?;
        self.device.state().counts.runs += 1;
        let inner = self.inner.clone();
        let targets = outputs.iter_mut().map(|output| self.device.target(output)).collect::<Result<Vec<_>>>()?;
        if targets.iter().all(Option::is_some) {
            self.device.later(move |tables| {
                let made = Self::work(&*inner, tables, &constants, &inputs, past.as_ref())?;
                targets.iter().flatten().zip(&made).try_for_each(|(place, made)| tables.write(place, made))
            });
            return Ok(());
        }
        let mut state = self.device.wait()?;
        let made = Self::work(&*inner, &mut state.tables, &constants, &inputs, past.as_ref())?;
        for ((target, output), made) in targets.iter().zip(outputs).zip(&made) {
            match target {
                Some(place) => state.tables.write(place, made)?,
                None => {
                    state.counts.downloads += 1;
                    output.host()?.copy_from_slice(made);
                }
            }
        }
        Ok(())
    }

    fn frame_keys_bytes(&self) -> usize {
        self.inner.frame_keys_bytes()
    }

    fn frame_keys(&self) -> Result<FrameKeys> {
        self.device.request_memory()?;
        Ok(FrameKeys::new(SharedKeys::new(Mutex::new(self.inner.frame_keys()?))))
    }
}

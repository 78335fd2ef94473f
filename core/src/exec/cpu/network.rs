//! A program compiled for the CPU, and the loop over its steps.

#![allow(unsafe_code, reason = "steps read and write parts of one arena")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dreamframe_kernels::Kernels;

use super::changes::{Changes, KeptValues, Part};
use super::elementwise;
use super::keys::KvCacheLayout;
use super::pack;
use super::past::{self, PastAt};
use super::pool::Pool;
use super::profile;
use super::recorder::{Recorder, nanos_since};
use super::run::Run;
use super::span::{Aligned, LINE, Scratch, Span};
use super::step::{CompiledStep, CpuLayout, StepCompiler};
use super::winograd_policy::WinogradPolicy;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::arena::Arena;
use crate::exec::{Constants, FrameKeys, Network, Region, RunArgs, Scratch as RunScratch, StepTime, View, ViewMut};
use crate::net::plan::{Plan, Space};
use crate::net::steps::Slot;
use crate::net::{Program, Rate, Weights};

/// The constants of a network.
struct ConstantValues {
    /// The network that computed it.
    network: u64,
    elements: Aligned,
}

/// A compiled program, with its plan and packed weights.
pub(super) struct CpuNetwork {
    id: u64,
    program: Arc<Program>,
    plan: Plan,
    constant: Vec<CompiledStep>,
    frame: Vec<CompiledStep>,
    thread_scratch: usize,
    kv_cache: KvCacheLayout,
    /// Whether values of a run are kept for the next one.
    keeps: bool,
    zeros: Aligned,
    kernels: &'static Kernels,
    pool: Arc<Pool>,
}

impl fmt::Debug for CpuNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuNetwork").field("program", &self.program.name()).finish_non_exhaustive()
    }
}

/// The addresses of the memories of a run.
struct Memory<'i, 'o> {
    arena: *mut u8,
    values: *mut u8,
    inputs: &'i [View<'i>],
    outputs: *mut ViewMut<'o>,
}

impl Memory<'_, '_> {
    /// The address of input `i`, which is in host memory.
    fn input(&self, i: usize) -> *const f32 {
        self.inputs.get(i).and_then(|input| input.host().ok()).map_or(std::ptr::null(), <[f32]>::as_ptr)
    }

    /// The address of output `i`, which is in host memory.
    fn output(&self, i: usize) -> *mut f32 {
        // SAFETY: `i` is below the number of outputs, which has been checked; the address is taken without borrowing
        // the elements, so that addresses taken before stay valid.
        match unsafe { &mut *self.outputs.add(i) } {
            ViewMut::Host(elements) => (&raw mut **elements).cast(),
            ViewMut::Device(_) => std::ptr::null_mut(),
        }
    }
}

impl CpuNetwork {
    pub(super) fn new(
        program: &Arc<Program>,
        weights: &Weights,
        kernels: &'static Kernels,
        winograd: WinogradPolicy,
        pool: &Arc<Pool>,
        keeps: bool,
    ) -> Result<Self> {
        // 0 is no network.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let layout = CpuLayout { kernels, winograd, program, weights: Some(weights) };
        let mut plan = if keeps { Plan::keeping(program, &layout) } else { Plan::new(program, &layout) };
        let mut compiler = StepCompiler {
            program,
            values: &plan.values,
            places: &plan.places,
            weights,
            kernels,
            winograd,
            keys: Vec::new(),
            kv_cache: KvCacheLayout::default(),
            merges: Vec::new(),
            widest_kernel: 1,
        };
        weights.load(&pack::layout(kernels), &|count, piece| pool.run(count, &|i, _| piece(i)));
        compiler.pack_all(plan.constant.iter().chain(&plan.frame), pool)?;
        let compile_all = |compiler: &mut StepCompiler<'_>, steps: Vec<_>| {
            steps.into_iter().map(|planned| compiler.compile(planned)).collect::<Result<Vec<_>>>()
        };
        let constant = compile_all(&mut compiler, std::mem::take(&mut plan.constant))?;
        let frame = compile_all(&mut compiler, std::mem::take(&mut plan.frame))?;
        let kv_cache = std::mem::take(&mut compiler.kv_cache);
        let thread_scratch =
            compiler.thread_scratch(&constant).max(compiler.thread_scratch(&frame)).next_multiple_of(LINE);
        let widest = plan.values.iter().map(|value| value.shape.c).max().unwrap_or(0);
        let zeros = Aligned::zeros::<f32>((widest * compiler.widest_kernel).max(kernels.lanes * kernels.tiles.len()))
            .ok_or_else(|| out_of_memory(widest))?;
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            program: Arc::clone(program),
            plan,
            constant,
            frame,
            thread_scratch,
            kv_cache,
            keeps,
            zeros,
            kernels,
            pool: Arc::clone(pool),
        })
    }

    fn check_inputs(&self, rate: Rate, inputs: &[View<'_>]) -> Result<()> {
        let expected = self.program.inputs_at(rate).count();
        if inputs.len() != expected {
            return Err(self.invalid_argument(format!("input count: got {}, expected {expected}", inputs.len())));
        }
        for (input, given) in self.program.inputs_at(rate).zip(inputs) {
            let shape = self.program.shape(input.value);
            if given.len() != shape.len() {
                let (name, len) = (&input.name, given.len());
                return Err(self.invalid_argument(format!(
                    "{name}: got {len} elements, expected {} for the shape {shape:?}",
                    shape.len()
                )));
            }
            given.host().map_err(|error| error.within(&input.name).within(self.program.name()))?;
        }
        Ok(())
    }

    fn check_outputs(&self, outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let expected = self.program.outputs().len();
        if outputs.len() != expected {
            return Err(self.invalid_argument(format!("output count: got {}, expected {expected}", outputs.len())));
        }
        for (output, given) in self.program.outputs().iter().zip(outputs) {
            let shape = self.program.shape(output.value);
            if given.len() != shape.len() {
                let (name, len) = (&output.name, given.len());
                return Err(self.invalid_argument(format!(
                    "{name}: got {len} elements, expected {} for the shape {shape:?}",
                    shape.len()
                )));
            }
            given.host().map_err(|error| error.within(&output.name).within(self.program.name()))?;
        }
        Ok(())
    }

    fn invalid_argument(&self, text: String) -> Error {
        Error::new(ErrorKind::InvalidArgument, text).within(self.program.name())
    }

    /// Returns the memory of a value in this run.
    fn span(&self, memory: &Memory<'_, '_>, value: Slot) -> Span {
        let place = self.plan.places[value];
        let shape = self.plan.values[value].shape;
        let (base, size) = match place.space {
            Space::Arena => (memory.arena, self.kernels.size),
            Space::Constants => (memory.values, self.kernels.size),
            // Inputs are only read: no step of a plan writes to one.
            Space::Input(i) => (memory.input(i).cast_mut().cast(), size_of::<f32>()),
            Space::Output(i) => (memory.output(i).cast(), size_of::<f32>()),
        };
        Span::new(base.wrapping_add(place.offset * size), size, place.ld, shape)
    }

    /// Runs steps; with `changes`, what depends on changed pixels.
    fn steps(
        &self,
        steps: &[CompiledStep],
        run: &Run<'_>,
        memory: &Memory<'_, '_>,
        mut times: Option<&mut Vec<StepTime>>,
        mut changes: Option<Changes<'_>>,
    ) -> Result<()> {
        for (i, compiled) in steps.iter().enumerate() {
            let mut run = *run;
            if let Some(changes) = &mut changes {
                match changes.advance(&compiled.planned.step, compiled.square(), &self.plan.values) {
                    Part::None => continue,
                    Part::Region(region) => run.region = Some(region),
                    Part::Whole => {}
                }
            }
            let start = times.as_ref().map(|_| Instant::now());
            let scratch = memory.arena.wrapping_add(compiled.planned.scratch * self.kernels.size).cast();
            compiled
                .run(&run, &|value| self.span(memory, value), scratch)
                .map_err(|error| error.within(self.program.name()))?;
            if let (Some(times), Some(start)) = (&mut times, start) {
                times[i].nanos += nanos_since(start);
                times[i].jobs = run.recorder.map(Recorder::take).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Runs the steps of a frame.
    fn frame(&self, args: RunArgs<'_, '_>, past: PastAt<'_>) -> Result<()> {
        let RunArgs { constants, scratch, inputs, outputs, times, changed, .. } = args;
        self.check_inputs(Rate::Frame, inputs)?;
        self.check_outputs(outputs)?;
        let values = constants.get::<ConstantValues>().filter(|values| values.network == self.id);
        let values =
            values.ok_or_else(|| self.invalid_argument("the constants belong to another network".to_owned()))?;
        let (arena, changes) = if self.keeps {
            let KeptValues { arena, network, regions } = scratch.get_or_default();
            regions.resize(self.plan.values.len(), Region::default());
            // After an error, the values are those of no run.
            let is_last = std::mem::take(network) == self.id;
            let changed = changed.filter(|_| is_last);
            (arena, changed.map(|changed| Changes::new(changed, regions, &self.program)))
        } else {
            (scratch.get_or_default(), None)
        };
        arena.reserve(self.arena_len())?;
        let arena = arena.elements().as_mut_ptr();
        let of_threads = Scratch::new(arena.wrapping_add(self.f32_len(self.plan.arena_len)), self.thread_scratch);
        let recorder = times.is_some().then(Recorder::default);
        let (zeros, recorder) = (self.zeros.ptr().cast(), recorder.as_ref());
        let (kernels, pool) = (self.kernels, Some(&*self.pool));
        let run = Run { kernels, pool, scratch: of_threads, zeros, past, region: None, recorder };
        // No step of a frame writes to constants.
        let values = values.elements.ptr().cast_mut();
        let memory = Memory { arena: arena.cast(), values, inputs, outputs: outputs.as_mut_ptr() };
        self.steps(&self.frame, &run, &memory, times, changes)?;
        for &(value, output) in &self.plan.copies {
            let from = self.span(&memory, value);
            let to = Span::of_f32(memory.output(output), from.shape);
            if from.size() == to.size() {
                elementwise::copy(&run, from, to, 0);
            } else {
                elementwise::convert(&run, from, to, self.kernels.load);
            }
        }
        if self.keeps {
            scratch.get_or_default::<KeptValues>().network = self.id;
        }
        Ok(())
    }

    /// Number of `f32` elements of scratch memory for a run.
    fn arena_len(&self) -> usize {
        self.f32_len(self.plan.arena_len) + self.thread_scratch * self.pool.threads()
    }

    /// Returns the number of `f32` with the size of `stored` stored elements.
    fn f32_len(&self, stored: usize) -> usize {
        (stored * self.kernels.size).div_ceil(size_of::<f32>()).next_multiple_of(LINE)
    }
}

fn out_of_memory(len: usize) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {len} elements"))
}

impl Network for CpuNetwork {
    fn program(&self) -> &Program {
        &self.program
    }

    fn scratch_bytes(&self) -> usize {
        self.arena_len() * size_of::<f32>()
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        let inputs: Vec<View<'_>> = inputs.iter().map(|input| View::Host(input)).collect();
        self.check_inputs(Rate::Constant, &inputs)?;
        let arena_len = self.f32_len(self.plan.constant_arena_len);
        let len = arena_len + self.thread_scratch;
        let mut arena = Aligned::zeros::<f32>(len).ok_or_else(|| out_of_memory(len))?;
        let constants_len = self.f32_len(self.plan.constants_len);
        let mut values = Aligned::zeros::<f32>(constants_len).ok_or_else(|| out_of_memory(constants_len))?;
        let (arena, values_ptr) = (arena.ptr_mut(), values.ptr_mut());
        let memory = Memory { arena, values: values_ptr, inputs: &inputs, outputs: std::ptr::null_mut() };
        // On the calling thread: the pool's threads belong to frames that run concurrently.
        let scratch = Scratch::new(arena.cast::<f32>().wrapping_add(arena_len), self.thread_scratch);
        let zeros = self.zeros.ptr().cast();
        let run =
            Run { kernels: self.kernels, pool: None, scratch, zeros, past: PastAt::NONE, region: None, recorder: None };
        for &(input, value) in &self.plan.constant_inputs {
            let to = self.span(&memory, value);
            let from = Span::of_f32(memory.input(input).cast_mut(), to.shape);
            elementwise::convert(&run, from, to, self.kernels.store);
        }
        self.steps(&self.constant, &run, &memory, None, None)?;
        Ok(Constants::new(ConstantValues { network: self.id, elements: values }))
    }

    fn run(&self, mut args: RunArgs<'_, '_>) -> Result<()> {
        let past = match args.past.take() {
            Some(mut past) => {
                PastAt::new(&mut past, self.id, &self.program).map_err(|error| error.within(self.program.name()))?
            }
            None => PastAt::NONE,
        };
        if let Some(times) = args.times.as_deref_mut().filter(|times| times.len() != self.frame.len()) {
            let describe = |compiled| profile::describe(compiled, &self.plan.values, self.kernels.size);
            *times = self.frame.iter().map(describe).collect();
        }
        self.frame(args, past)
    }

    fn kept_bytes(&self) -> usize {
        if self.keeps { self.scratch_bytes() } else { 0 }
    }

    fn kept_values(&self) -> Result<RunScratch> {
        let arena = Arena::with_capacity(self.arena_len())?;
        let regions = vec![Region::default(); self.plan.values.len()];
        Ok(RunScratch::of(KeptValues { arena, network: 0, regions }))
    }

    fn frame_keys_bytes(&self) -> usize {
        self.kv_cache.bytes(self.kernels.size)
    }

    fn frame_keys(&self) -> Result<FrameKeys> {
        past::allocate(self.frame_keys_bytes(), self.id)
    }
}

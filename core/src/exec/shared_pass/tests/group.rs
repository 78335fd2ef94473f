//! Members on threads, which share passes of a small network. Their clock stands still while they share passes, so that it does
//! not matter how threads are scheduled.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::super::combination::Combination;
use super::super::group::PassGroup;
use super::super::{ConstantInputs, Owner, Pass, PassMember, next_id};
use super::set_clock;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::cpu::{CpuExecutor, CpuOptions};
use crate::exec::simulated::SimulatedExecutor;
use crate::exec::{Constants, Dtype, Executor, Network, Queue, RunArgs, Scratch};
use crate::load::RandomWeights;
use crate::net::{Program, ProgramBuilder, Rate, Shape, Weights};

const ROWS: usize = 2;
const SIDE: usize = 12;
const CHANNELS: usize = 4;

/// A network with what a UNet has: convolutions, a vector of each row, and attention to a text and to itself.
fn program() -> Program {
    let mut b = ProgramBuilder::new("small");
    let text = b.input("text", Shape::tokens(1, 5, 16), Rate::Constant);
    let time = b.input("time", Shape::vector(ROWS, 16), Rate::Constant);
    let time = b.linear("time", time, 64, true);
    let x = b.input("x", Shape::new(ROWS, SIDE, SIDE, CHANNELS), Rate::Frame);
    let mut x = b.conv3x3("in", x, 64);
    x = b.add(x, time);
    x = b.group_norm("norm", x, 4, 1e-5);
    x = b.silu(x);
    x = b.conv3x3("conv", x, 64);
    let q = b.linear("q", x, 64, false);
    let [k, v] = ["k", "v"].map(|name| b.linear(name, text, 64, false));
    let attended = b.attention([q, k, v], 4, false, vec![0; ROWS]);
    x = b.add(x, attended);
    let q = b.linear("self", x, 64, false);
    let attended = b.attention([q, q, q], 4, false, (0..ROWS).collect());
    x = b.add(x, attended);
    x = b.conv3x3("out", x, CHANNELS);
    b.output("eps", x);
    b.finish().unwrap()
}

fn cpu() -> Arc<dyn Executor> {
    let options = CpuOptions { threads: NonZeroUsize::new(2), dtype: Dtype::F32, pin: false, ..CpuOptions::default() };
    Arc::new(CpuExecutor::new(options).unwrap())
}

fn weights() -> Weights {
    Weights::new(Arc::new(RandomWeights::new(1, program().weights())))
}

fn numbers(seed: usize, len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 13 + seed * 101) as f32 * 0.0173).sin()).collect()
}

/// An executor whose networks of several copies fail or panic on request.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn Executor>,
    fault: Arc<AtomicU8>,
}

const FAILS: u8 = 1;
const PANICS: u8 = 2;

#[derive(Debug)]
struct FaultyNetwork {
    inner: Arc<dyn Network>,
    fault: Arc<AtomicU8>,
}

impl Executor for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(FaultyNetwork { inner: self.inner.compile(program, weights)?, fault: self.fault.clone() }))
    }
}

impl Network for FaultyNetwork {
    fn program(&self) -> &Program {
        self.inner.program()
    }

    fn scratch_bytes(&self) -> usize {
        self.inner.scratch_bytes()
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        self.inner.constants(inputs)
    }

    fn run(&self, args: RunArgs<'_, '_>) -> Result<()> {
        match self.fault.load(Ordering::SeqCst) {
            FAILS if self.program().copies() > 1 => Err(Error::new(ErrorKind::Device, "a fault")),
            PANICS if self.program().copies() > 1 => panic!("a fault"),
            _ => self.inner.run(args),
        }
    }
}

/// A group with a clock that stands still between frames.
struct Fixture {
    executor: Arc<dyn Executor>,
    network: Arc<dyn Network>,
    group: Arc<PassGroup>,
    /// In milliseconds.
    clock: Arc<AtomicU64>,
    tolerance: f32,
}

/// A stream of frames on a thread of its own.
struct Stream {
    member: PassMember,
    network: Arc<dyn Network>,
    queue: Arc<dyn Queue>,
    inputs: Arc<ConstantInputs>,
    constants: Constants,
    scratch: Mutex<Scratch>,
    /// The largest difference of results of a shared pass; on the CPU 0.
    tolerance: f32,
}

/// The interval between frames, in milliseconds.
const INTERVAL: u64 = 20;

impl Fixture {
    fn new(executor: Arc<dyn Executor>) -> Self {
        let (program, weights, clock) = (program(), weights(), set_clock());
        let network = executor.compile(&Arc::new(program.clone()), &weights).unwrap();
        let names: Vec<&str> = program.weights().iter().map(|weight| &*weight.name).collect();
        let shared = weights.shared_by_engines(&names).unwrap();
        let forms = shared.forms_of(&names).clone();
        let clock_of_group = super::clock().unwrap();
        let group = PassGroup::new(&executor, &program, (shared, forms), "test".into(), clock_of_group).unwrap();
        Self { executor, network, group, clock, tolerance: 0.0 }
    }

    fn stream(&self, prompt: usize) -> Stream {
        let member = PassMember::of(self.group.clone(), Owner::new(), Duration::from_millis(5)).unwrap();
        let (network, queue) = (self.network.clone(), self.executor.queue());
        let (inputs, constants) = constants(&*network, prompt);
        let (scratch, tolerance) = (Mutex::default(), self.tolerance);
        Stream { member, network, queue, inputs, constants, scratch, tolerance }
    }

    fn advance(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    /// Processes a frame of each stream, on threads, at one time; returns who ran the passes.
    fn frame(&self, streams: &[&Stream], number: usize) -> Vec<Pass> {
        self.advance(INTERVAL);
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, &stream) in streams.iter().enumerate() {
                threads.push(scope.spawn(move || stream.frame(number * 10 + index)));
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Processes frames until all constants are steady, each stream by itself; none waits, since no combination is
    /// ready.
    fn become_steady(&self, streams: &[&Stream]) {
        for number in 0..4 {
            self.advance(INTERVAL);
            for (index, stream) in streams.iter().enumerate() {
                assert_eq!(stream.frame(number * 10 + index), Pass::Alone);
            }
        }
    }

    /// Waits until the constants of these streams are ready.
    fn until_ready(&self, streams: &[&Stream]) {
        let combination = Combination::of(streams.iter().map(|stream| stream.inputs.id));
        while !self.group.shared().state().combinations.is_ready(combination) {
            thread::yield_now();
        }
    }

    /// Returns two streams that are ready to share passes.
    fn pair(&self) -> [Stream; 2] {
        let streams = [1, 2].map(|prompt| self.stream(prompt));
        let [a, b] = &streams;
        self.become_steady(&[a, b]);
        self.until_ready(&[a, b]);
        streams
    }
}

fn constants(network: &dyn Network, prompt: usize) -> (Arc<ConstantInputs>, Constants) {
    let program = network.program();
    let inputs: Vec<Vec<f32>> =
        program.inputs_at(Rate::Constant).map(|input| numbers(prompt, program.shape(input.value).len())).collect();
    let constants = network.constants(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    (Arc::new(ConstantInputs::new(inputs)), constants)
}

impl Stream {
    fn set_prompt(&mut self, prompt: usize) {
        (self.inputs, self.constants) = constants(&*self.network, prompt);
    }

    /// Processes a frame, and compares the result with that of the network alone, bit by bit without a tolerance.
    fn frame(&self, seed: usize) -> Pass {
        let queue = &*self.queue;
        let len = ROWS * SIDE * SIDE * CHANNELS;
        let (mut x, mut eps) = (queue.buffer(len).unwrap(), queue.buffer(len).unwrap());
        queue.upload(&numbers(seed, len), x.view_mut()).unwrap();
        let alone = |output: crate::exec::ViewMut<'_>| {
            let mut scratch = self.scratch.lock().unwrap();
            self.network.run(RunArgs::new(&self.constants, &mut scratch, &[x.view()], &mut [output]))
        };
        let pass = self.member.run(&self.inputs, x.view(), eps.view_mut(), alone).unwrap();
        let [mut made, mut expected] = [vec![0.0; len], vec![0.0; len]];
        queue.download(eps.view(), &mut made).unwrap();
        queue.clear(eps.view_mut()).unwrap();
        alone(eps.view_mut()).unwrap();
        queue.download(eps.view(), &mut expected).unwrap();
        let is_equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a - b).abs() < self.tolerance;
        assert!(made.iter().zip(&expected).all(is_equal), "{pass:?} frame {seed}");
        assert!(expected.iter().any(|x| *x != 0.0));
        pass
    }
}

#[test]
fn two_members_share_passes_with_the_bits_of_each_alone() {
    let fixture = Fixture::new(cpu());
    let [a, b] = &fixture.pair();
    for number in 10..60 {
        assert_eq!(fixture.frame(&[a, b], number), [Pass::Shared, Pass::Shared], "frame {number}");
    }
}

#[test]
fn a_shared_pass_on_a_device_is_one_run() {
    let device = SimulatedExecutor::new(cpu());
    let fixture = Fixture::new(Arc::new(device.clone()));
    let [a, b] = &fixture.pair();
    device.take_counts();
    for number in 10..20 {
        assert_eq!(fixture.frame(&[a, b], number), [Pass::Shared, Pass::Shared]);
    }
    // Each frame is computed once more, for comparison.
    assert_eq!(device.take_counts().runs, 10 + 20);
}

#[cfg(feature = "onnx")]
#[test]
fn members_on_onnx_runtime_share_passes() {
    use crate::exec::onnx::tests::{executor, library};

    let Some(library) = library() else { return };
    let executor = Arc::new(executor(&library, Dtype::F32).unwrap());
    // Batches of another size may be rounded differently.
    let fixture = Fixture { tolerance: 1e-4, ..Fixture::new(executor) };
    let [a, b] = &fixture.pair();
    for number in 10..20 {
        assert_eq!(fixture.frame(&[a, b], number), [Pass::Shared, Pass::Shared]);
    }
}

#[test]
fn three_members_share_a_pass_once_their_constants_are_ready() {
    let fixture = Fixture::new(cpu());
    let streams = [1, 2, 3].map(|prompt| fixture.stream(prompt));
    let [a, b, c] = &streams;
    fixture.become_steady(&[a, b, c]);
    [[a, b], [a, c], [b, c]].iter().for_each(|pair| fixture.until_ready(pair));
    // All are awaited, and at least two of them share a pass; their combination of three is asked for.
    let first = fixture.frame(&[a, b, c], 10);
    assert!(first.iter().filter(|pass| **pass == Pass::Shared).count() >= 2, "{first:?}");
    fixture.until_ready(&[a, b, c]);
    for number in 11..20 {
        assert_eq!(fixture.frame(&[a, b, c], number), [Pass::Shared; 3]);
    }
}

#[test]
fn after_a_pass_that_fails_or_panics_each_member_runs_alone_until_constants_change() {
    for fault in [FAILS, PANICS] {
        let faults = Arc::new(AtomicU8::new(0));
        let fixture = Fixture::new(Arc::new(Faulty { inner: cpu(), fault: faults.clone() }));
        let [a, mut b] = fixture.pair();
        assert_eq!(fixture.frame(&[&a, &b], 10), [Pass::Shared; 2]);
        faults.store(fault, Ordering::SeqCst);
        assert_eq!(fixture.frame(&[&a, &b], 11), [Pass::Alone; 2]);
        faults.store(0, Ordering::SeqCst);
        assert_eq!(fixture.frame(&[&a, &b], 12), [Pass::Alone; 2]);
        b.set_prompt(7);
        fixture.become_steady(&[&a, &b]);
        fixture.until_ready(&[&a, &b]);
        assert_eq!(fixture.frame(&[&a, &b], 13), [Pass::Shared; 2]);
    }
}

#[test]
fn a_member_with_another_prompt_runs_alone_until_its_constants_are_ready() {
    let fixture = Fixture::new(cpu());
    let [a, mut b] = fixture.pair();
    assert_eq!(fixture.frame(&[&a, &b], 10), [Pass::Shared; 2]);
    b.set_prompt(9);
    for number in 11..15 {
        assert_eq!(fixture.frame(&[&a, &b], number), [Pass::Alone; 2]);
    }
    fixture.until_ready(&[&a, &b]);
    assert_eq!(fixture.frame(&[&a, &b], 20), [Pass::Shared; 2]);
}

#[test]
fn a_member_that_is_awaited_and_leaves_lets_the_others_run() {
    let fixture = Fixture::new(cpu());
    let [a, b] = fixture.pair();
    fixture.advance(INTERVAL);
    let made = thread::scope(|scope| {
        let waiting = scope.spawn(|| a.frame(10));
        while fixture.group.shared().state().scheduler.queue().members().is_empty() {
            thread::yield_now();
        }
        drop(b);
        waiting.join().unwrap()
    });
    assert_eq!(made, Pass::Alone);
    assert_eq!(fixture.frame(&[&a], 11), [Pass::Alone]);
}

#[test]
fn a_member_that_panics_does_not_block_the_others() {
    let fixture = Fixture::new(cpu());
    let [a, b] = fixture.pair();
    assert_eq!(fixture.frame(&[&a, &b], 10), [Pass::Shared; 2]);
    // Neither is expected so soon after its last frame.
    let x = vec![0.0; ROWS * SIDE * SIDE * CHANNELS];
    let panicking = catch_unwind(AssertUnwindSafe(|| {
        let mut eps = x.clone();
        b.member.run(&b.inputs, (&x).into(), (&mut eps).into(), |_| panic!("a fault"))
    }));
    assert!(panicking.is_err());
    assert_eq!(a.frame(11), Pass::Alone);
}

/// Streams that run freely, change their prompts, and leave: every frame has its own result, and all threads end.
#[test]
fn streams_that_come_change_and_leave_get_their_own_results() {
    let (executor, program, weights) = (cpu(), Arc::new(program()), weights());
    let network = executor.compile(&program, &weights).unwrap();
    let stream = |prompt: usize| {
        let limit = Duration::from_millis(5);
        let member = PassMember::join(&executor, &*network, &weights, Owner::new(), limit).unwrap().unwrap();
        let (inputs, constants) = constants(&*network, prompt);
        let (network, queue) = (network.clone(), executor.queue());
        Stream { member, network, queue, inputs, constants, scratch: Mutex::default(), tolerance: 0.0 }
    };
    let shared: usize = thread::scope(|scope| {
        let run = |index: usize| {
            scope.spawn(move || {
                let mut stream = stream(index);
                let mut shared = 0;
                for frame in 0..120 * (index + 1) {
                    if frame % 100 == 99 {
                        stream.set_prompt(10 * index + frame);
                    }
                    shared += usize::from(stream.frame(frame + index) == Pass::Shared);
                }
                shared
            })
        };
        let threads: Vec<_> = (0..3).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(shared <= 120 * 6);
}

#[test]
fn networks_of_other_weights_programs_or_devices_form_other_groups() {
    let (program, shared_weights) = (program(), weights());
    let group_of = |executor: &Arc<dyn Executor>, program: &Program, weights: &Weights| {
        PassGroup::find(executor, program, weights).unwrap()
    };
    let (cpu, weights_of_another) = (cpu(), weights());
    let group = group_of(&cpu, &program, &shared_weights);
    assert!(Arc::ptr_eq(&group, &group_of(&self::cpu(), &program, &shared_weights)));
    assert!(!Arc::ptr_eq(&group, &group_of(&cpu, &program, &weights_of_another)));
    let [device, other_device] = [0, 1].map(|_| -> Arc<dyn Executor> { Arc::new(SimulatedExecutor::new(cpu.clone())) });
    let on_device = group_of(&device, &program, &shared_weights);
    assert!(!Arc::ptr_eq(&group, &on_device));
    assert!(!Arc::ptr_eq(&on_device, &group_of(&other_device, &program, &shared_weights)));
    let mut b = ProgramBuilder::new("other");
    let x = b.input("x", Shape::new(1, 4, 4, 4), Rate::Frame);
    let y = b.silu(x);
    b.output("y", y);
    assert!(!Arc::ptr_eq(&group, &group_of(&cpu, &b.finish().unwrap(), &shared_weights)));
}

#[test]
fn networks_that_need_more_than_a_frame_share_no_passes() {
    let (cpu, weights) = (cpu(), weights());
    let mut b = ProgramBuilder::new("two");
    let [x, y] = ["x", "y"].map(|name| b.input(name, Shape::new(1, 4, 4, 4), Rate::Frame));
    let sum = b.add(x, y);
    b.output("sum", sum);
    assert!(PassGroup::find(&cpu, &b.finish().unwrap(), &weights).is_none());
    let faulty: Arc<dyn Executor> = Arc::new(Faulty { inner: cpu, fault: Arc::default() });
    assert!(
        PassGroup::find(&faulty, &program(), &weights).is_none(),
        "an executor without a device for several engines"
    );
    assert_ne!(next_id(), next_id());
}

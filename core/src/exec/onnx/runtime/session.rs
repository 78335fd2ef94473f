//! A session of the library: a graph that is ready to run, with the operands that it ran on.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use ort::memory::{Allocator, MemoryInfo};
use ort::session::{RunOptions, Session as OrtSession};

use super::binding::{Binding, GraphOptions, NamedPort, Ports, takes};
use super::graph_captures::{self, Permit, Runs};
use super::{Call, Counts, Model, Operand, OperandMut, Owned, Place, Port, error_of};
use crate::error::{Error, ErrorKind, Result};

/// A graph that is ready to run.
pub(in super::super) struct Session {
    inner: Owned<Mutex<Inner>>,
    /// Whether it ran before.
    has_run: AtomicBool,
    ports: Ports,
    counts: Arc<Counts>,
}

struct Inner {
    session: OrtSession,
    /// The most recently used one is last.
    bindings: Vec<Binding>,
    /// The number of captured graphs; `None` if runs are not captured.
    captured: Option<u32>,
    /// The threads that it ran on most recently.
    threads: Vec<ThreadId>,
}

impl Inner {
    /// Returns the options of the runs of a new binding, with one number for each graph that is captured. A captured graph
    /// reads the addresses of its binding, so no two bindings may have one number.
    ///
    /// Operands in host memory are copied to other addresses at each run, and captured graphs are not freed: beyond a limit,
    /// runs are not captured.
    fn options(&mut self, has_host_operands: bool) -> ort::Result<Option<GraphOptions>> {
        let Some(captured) = &mut self.captured else { return Ok(None) };
        let numbered = |number: i64| -> ort::Result<RunOptions> {
            let mut options = RunOptions::new()?;
            options.set(GRAPH, number.to_string())?;
            Ok(options)
        };
        let without = numbered(-1)?;
        if has_host_operands || *captured == MOST_CAPTURED {
            return Ok(Some(GraphOptions { without, graph: None }));
        }
        *captured += 1;
        Ok(Some(GraphOptions { without, graph: Some((numbered(i64::from(*captured))?, Runs::default())) }))
    }

    /// Runs what is bound. The first run on a thread may create handles of the device.
    fn run(&mut self, bound: &mut Binding) -> ort::Result<()> {
        let thread = thread::current().id();
        let is_first = !self.threads.contains(&thread);
        let graph = bound.options.as_mut().and_then(|options| options.graph.as_mut());
        let permit = graph.as_ref().map_or(Permit::Without, |(_, runs)| runs.permit(thread));
        let _exclusion = (is_first && matches!(permit, Permit::Without)).then(graph_captures::exclude);
        let mut is_done = false;
        if let (Some((options, runs)), Permit::Repeat | Permit::Capture(_)) = (graph, &permit) {
            match self.session.run_binding_with_options(&bound.binding, options) {
                Ok(_) => is_done = true,
                Err(error) if matches!(permit, Permit::Repeat) => return Err(error),
                // What the host does on other threads can end a capture, too. The operands are as before.
                Err(error) => tracing::trace!(%error, "a run is repeated without a capture"),
            }
            runs.add(thread, is_done);
        }
        if !is_done {
            match &bound.options {
                Some(options) => drop(self.session.run_binding_with_options(&bound.binding, &options.without)?),
                None => drop(self.session.run_binding(&bound.binding)?),
            }
        }
        if is_first {
            if self.threads.len() == MOST_THREADS {
                self.threads.remove(0);
            }
            self.threads.push(thread);
        }
        Ok(())
    }
}

/// Maximum number of threads that a session keeps.
const MOST_THREADS: usize = 16;

/// The option of a run with the number of its captured graph.
const GRAPH: &str = "gpu_graph_id";

/// Maximum number of graphs that a session captures.
const MOST_CAPTURED: u32 = 64;

/// Maximum number of bindings that a session keeps. An engine alternates between few sets of buffers, and several engines
/// may share a session.
const MOST_BINDINGS: usize = 64;

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("inputs", &self.ports.inputs.len()).finish_non_exhaustive()
    }
}

impl Session {
    /// Returns the session of a graph with the inputs and outputs of `model`, on a device whose memory `info` describes.
    pub(super) fn new(
        session: OrtSession,
        model: &Model,
        info: MemoryInfo<'static>,
        counts: &Arc<Counts>,
        captures: bool,
    ) -> Self {
        Self {
            inner: Owned::with_handles(Mutex::new(Inner {
                session,
                bindings: Vec::new(),
                captured: captures.then_some(0),
                threads: Vec::new(),
            })),
            has_run: AtomicBool::new(false),
            ports: Ports { inputs: NamedPort::all(&model.inputs), outputs: NamedPort::all(&model.outputs), info },
            counts: Arc::clone(counts),
        }
    }

    /// Returns the memory of a device whose memory `info` describes.
    ///
    /// # Errors
    ///
    /// Those of the library.
    pub(super) fn allocator(&self, info: MemoryInfo<'static>) -> ort::Result<Allocator> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Allocator::new(&inner.session, info)
    }

    /// Runs the graph on operands of the types and lengths of its inputs and outputs, in its order.
    ///
    /// # Errors
    ///
    /// `Device` if the library fails, `OutOfMemory` if it lacks memory, `Internal` for other types or lengths.
    pub(in super::super) fn run(&self, inputs: &[Operand<'_>], outputs: &mut [OperandMut<'_>]) -> Result<()> {
        let inputs: Vec<Place> = inputs.iter().map(Place::of).collect();
        self.run_at(&inputs, &outputs.iter().map(Place::of_mut).collect::<Vec<Place>>())
    }

    /// Like [`run`](Self::run), with the first output as the first input, too. Element `i` of that output must depend on
    /// element `i` of that input only.
    ///
    /// # Errors
    ///
    /// Those of `run`.
    pub(in super::super) fn run_in_place(&self, inputs: &[Operand<'_>], outputs: &mut [OperandMut<'_>]) -> Result<()> {
        let outputs: Vec<Place> = outputs.iter().map(Place::of_mut).collect();
        let inputs: Vec<Place> = outputs.first().copied().into_iter().chain(inputs.iter().map(Place::of)).collect();
        self.run_at(&inputs, &outputs)
    }

    /// The callers hold the references that places were made of.
    fn run_at(&self, inputs: &[Place], outputs: &[Place]) -> Result<()> {
        let _call = if self.has_run.load(Ordering::Relaxed) { Call::again() } else { Call::first() }?;
        Self::check(inputs, &self.ports.inputs)?;
        Self::check(outputs, &self.ports.outputs)?;
        let of_host = |places: &[Place]| places.iter().filter(|place| place.is_host).count() as u64;
        self.counts.uploads.fetch_add(of_host(inputs), Ordering::Relaxed);
        self.counts.downloads.fetch_add(of_host(outputs), Ordering::Relaxed);
        self.counts.runs.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let on_device = |places: &[Place], others: &[Place]| {
            places.iter().zip(others).all(|(a, b)| a == b || a.is_copied && b.is_copied)
        };
        let known = inner
            .bindings
            .iter()
            .position(|bound| on_device(&bound.inputs, inputs) && on_device(&bound.outputs, outputs));
        let failed =
            |error: ort::Error<()>| error_of(ErrorKind::Device, "ONNX Runtime failed to run the network", error);
        let mut bound = match known {
            Some(index) => inner.bindings.remove(index),
            None => {
                if inner.bindings.len() == MOST_BINDINGS {
                    inner.bindings.remove(0);
                }
                self.counts.bindings.fetch_add(1, Ordering::Relaxed);
                let has_host_operands = inputs.iter().chain(outputs).any(|place| place.is_host);
                let options = inner.options(has_host_operands).map_err(failed)?;
                let binding = inner.session.create_binding().map_err(failed)?;
                Binding { binding, inputs: Vec::new(), outputs: Vec::new(), options }
            }
        };
        bound.bind(&self.ports, inputs, outputs).map_err(failed)?;
        let start = Instant::now();
        inner.run(&mut bound).map_err(failed)?;
        self.counts.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        inner.bindings.push(bound);
        self.has_run.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn check(places: &[Place], ports: &[NamedPort]) -> Result<()> {
        let fits = |(place, NamedPort { port, .. }): (&Place, &NamedPort)| {
            place.element == port.element && takes(port, place.len)
        };
        if places.len() == ports.len() && places.iter().zip(ports).all(fits) {
            return Ok(());
        }
        let ports: Vec<&Port> = ports.iter().map(|port| &port.port).collect();
        Err(Error::new(ErrorKind::Internal, format!("operands of a graph: got {places:?}, expected {ports:?}")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::super::dialect::Dialect;
    use super::super::super::graph::{GraphBuilder, Model};
    use super::super::super::proto::ElementType;
    use super::super::super::providers::Row;
    use super::super::super::tests::library;
    use super::super::{Memory, Port, Runtime};
    use super::*;
    use crate::exec::Provider;

    /// The graph of `y = x + x`, for any number of elements.
    fn doubled() -> Model {
        let mut graph = GraphBuilder::new(Dialect::Basic);
        let port = |name: &str| Port { name: name.to_owned(), element: ElementType::F32, dims: vec![-1] };
        graph.input(port("x"));
        graph.node_with_outputs("Add", &["x", "x"], &["y"], &[]);
        graph.output(port("y"));
        graph.finish("doubled")
    }

    #[test]
    fn a_captured_graph_is_that_of_one_set_of_addresses() {
        let Some(library) = library() else { return };
        let runtime = Runtime::load(&library).unwrap();
        let target = runtime.target(Row::of(Provider::Cpu), 0, None).unwrap();
        let session = |captures| runtime.session(&doubled(), &[], 1, &target, captures).unwrap();
        let memory = runtime.memory(&target, &session(false)).unwrap();
        let mut memories: Vec<Memory> = (0..4).map(|_| memory.allocate(2, ElementType::F32).unwrap()).collect();
        let numbers = |session: &Session| {
            let mut inner = session.inner.lock().unwrap();
            let number = |bound: &mut Binding| {
                let options = bound.options.as_mut()?;
                let graph = options.graph.as_mut().map(|(graph, _)| graph);
                Some(graph.unwrap_or(&mut options.without).get(GRAPH).unwrap())
            };
            inner.bindings.iter_mut().map(number).collect::<Vec<_>>()
        };
        let mut run = |session: &Session, from: usize, to: usize| {
            let [from, to] = memories.get_disjoint_mut([from, to]).unwrap();
            session.run(&[Operand::Device(from, 0..2)], &mut [OperandMut::Device(to, 0..2)]).unwrap();
        };
        let captured = session(true);
        run(&captured, 0, 1);
        run(&captured, 2, 1);
        run(&captured, 0, 1);
        let mut result = [0.0; 2];
        captured.run(&[Operand::Floats(&[1.5, -2.0])], &mut [OperandMut::Floats(&mut result)]).unwrap();
        assert_eq!(result, [3.0, -4.0]);
        // The most recently used one is last; operands of the host have no constant addresses on a device.
        assert_eq!(numbers(&captured), ["2", "1", "-1"].map(|number| Some(number.to_owned())));
        let plain = session(false);
        run(&plain, 0, 3);
        assert_eq!(numbers(&plain), [None]);
    }

    #[test]
    fn sessions_that_capture_run_while_others_are_created_and_released() {
        const THREADS: usize = 2;
        const ROUNDS: usize = 40;

        let Some(library) = library() else { return };
        let runtime = Runtime::load(&library).unwrap();
        let target = runtime.target(Row::of(Provider::Cpu), 0, None).unwrap();
        let session = || runtime.session(&doubled(), &[], 1, &target, true).unwrap();
        let memory = runtime.memory(&target, &session()).unwrap();
        let shared = session();
        let runs = || {
            for _ in 0..ROUNDS {
                let own = session();
                let [from, mut to] = [0; 2].map(|_| memory.allocate(2, ElementType::F32).unwrap());
                for session in [&own, &shared].repeat(4) {
                    session.run(&[Operand::Device(&from, 0..2)], &mut [OperandMut::Device(&mut to, 0..2)]).unwrap();
                }
            }
        };
        thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(runs))));
        let inner = shared.inner.lock().unwrap();
        assert!((1..=THREADS).contains(&inner.threads.len()));
    }

    #[test]
    fn what_creates_or_releases_handles_waits_for_the_end_of_a_capture() {
        /// Longer than each of them takes.
        const WAIT: Duration = Duration::from_millis(300);

        let Some(library) = library() else { return };
        let runtime = Runtime::load(&library).unwrap();
        let target = runtime.target(Row::of(Provider::Cpu), 0, None).unwrap();
        let session = || runtime.session(&doubled(), &[], 1, &target, false).unwrap();
        let check = |what: &str, act: &mut (dyn FnMut() + Send)| {
            let capture = loop {
                let permit = Runs::default().permit(thread::current().id());
                if matches!(permit, Permit::Capture(_)) {
                    break permit;
                }
                thread::yield_now();
            };
            let (end, ended) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(move || {
                    act();
                    end.send(()).unwrap();
                });
                let is_early = ended.recv_timeout(WAIT).is_ok();
                drop(capture);
                assert!(!is_early, "{what}");
                ended.recv().unwrap();
            });
        };
        let (mut made, ran, mut released) = (None, session(), Some(session()));
        check("creation", &mut || made = Some(session()));
        check("the first run on a thread", &mut || {
            let mut result = [0.0];
            ran.run(&[Operand::Floats(&[1.0])], &mut [OperandMut::Floats(&mut result)]).unwrap();
        });
        check("release", &mut || released = None);
    }
}

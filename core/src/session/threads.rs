//! The three threads of a session: started together, ended together.

use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;

use super::gate::{Gate, Phase};
use super::machine::Machine;
use super::notifier::Notifier;
use super::options::FailedFrame;
use super::reports::Reports;
use super::thread::{Callback, Runner};
use super::updates::desk::Desk;
use super::updates::job::Lane;
use super::updates::line::Line;
use super::updates::worker;
use crate::error::{Error, ErrorKind, Result};

/// How much less the workers count than other threads, as `nice` has it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A running machine.
#[derive(Debug)]
pub(crate) struct Threads<M: Machine> {
    pub(crate) gate: Arc<Gate>,
    pub(crate) desk: Arc<Desk<M::Bench>>,
    session: Option<JoinHandle<Result<M>>>,
    workers: Vec<(Lane, JoinHandle<()>)>,
}

impl<M: Machine> Threads<M> {
    /// Starts them. `callback` makes what is told of each picture.
    ///
    /// # Errors
    ///
    /// `Device` where the system gives no more threads, `InvalidArgument` for an engine that was released.
    pub(crate) fn start(
        machine: M,
        failed_frame: FailedFrame,
        callback: impl FnOnce(&Arc<Gate>, &Arc<Desk<M::Bench>>) -> Option<Callback>,
    ) -> Result<Self> {
        let (reports, wake) = (Arc::new(Reports::new()), Arc::new(Notifier::new()));
        let gate = Arc::new(Gate::new(reports.clone(), wake.clone()));
        let line = Arc::new(Line::new(wake));
        let desk = Arc::new(Desk::new(machine.params().clone(), Some(machine.snapshot()?), line, reports));
        let mut threads = Self { gate: gate.clone(), desk: desk.clone(), session: None, workers: Vec::new() };
        for (lane, name) in [(Lane::Quick, "dreamframe-quick"), (Lane::Load, "dreamframe-load")] {
            let (desk, bench) = (desk.clone(), machine.bench());
            let work = move || {
                lower_priority();
                worker::run(&desk, &bench, lane);
            };
            threads.workers.push((lane, spawn(name, work)?));
        }
        let on_picture = callback(&gate, &desk);
        let runner = Runner::new(machine, gate, desk, on_picture, failed_frame);
        threads.session = Some(spawn("dreamframe-session", || runner.run())?);
        Ok(threads)
    }

    /// Ends them once the waiting frame is done, and gives the machine back.
    ///
    /// # Errors
    ///
    /// `Timeout` where that takes longer than `timeout`, `Internal` where the machine panicked, `InvalidArgument` on
    /// the session's own thread, which cannot wait for itself.
    pub(crate) fn stop(mut self, timeout: Duration) -> Result<M> {
        if self.is_own_thread() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a session cannot be stopped from its own callback"));
        }
        self.gate.advance(Phase::Draining);
        let ended = || (self.gate.phase() == Phase::Ended).then_some(());
        let ended = self.gate.reports.news.wait_until(Instant::now().checked_add(timeout), ended);
        let Some(session) = self.session.take() else {
            return Err(Error::new(ErrorKind::Internal, "the session has no thread"));
        };
        if ended.is_none() {
            // It ends by itself after the frame that it is at.
            self.gate.advance(Phase::Ending);
            let text = format!("the session did not end within {} ms", timeout.as_millis());
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        session.join().unwrap_or_else(|panic| Err(worker::panic_error("the session", &*panic)))
    }

    /// Whether this is the session's thread.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.thread().id() == thread::current().id())
    }
}

impl<M: Machine> Drop for Threads<M> {
    fn drop(&mut self) {
        let own = self.is_own_thread();
        self.gate.advance(Phase::Ending);
        // A worker that loads is left alone: it finds the desk closed when it is done, and drops what it made.
        let busy = self.desk.close();
        let idle = |lane: Lane| busy.iter().any(|&(of, busy)| of == lane && !busy);
        if let Some(session) = self.session.take().filter(|_| !own) {
            // What it came to was told as an event.
            let _ = session.join();
        }
        for (_, worker) in self.workers.drain(..).filter(|(lane, _)| idle(*lane)) {
            let _ = worker.join();
        }
    }
}

/// Starts a thread, whose events go where those of this thread go.
fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let dispatch = dispatcher::get_default(Dispatch::clone);
    // Where there is nothing yet, there may be later.
    let nowhere = dispatch.is::<NoSubscriber>();
    Builder::new()
        .name(name.to_owned())
        .spawn(move || if nowhere { work() } else { dispatcher::with_default(&dispatch, work) })
        .map_err(|error| Error::new(ErrorKind::Device, format!("cannot start the thread {name}")).with_source(error))
}

/// Frames go before updates, wherever the two want the same core.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "a worker keeps its priority");
    }
}

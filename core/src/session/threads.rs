//! Start and end of the threads of a session.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, Phase};
use super::engine_traits::FrameProcessor;
use super::event_log::EventLog;
use super::notifier::Notifier;
use super::options::FailedFrame;
use super::output::Callback;
use super::spawn::spawn;
use super::thread::Runner;
use super::updates::channel::UpdateChannel;
use super::updates::job::Lane;
use super::updates::queue::UpdateQueue;
use super::updates::worker;
use crate::error::{Error, ErrorKind, Result};
use crate::system::lower_priority;

/// The threads of a session.
#[derive(Debug)]
pub(crate) struct Threads<M: FrameProcessor> {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) queue: Arc<UpdateQueue<M::Preparer>>,
    session: Option<JoinHandle<Result<M>>>,
    workers: Vec<(Lane, JoinHandle<()>)>,
}

impl<M: FrameProcessor> Threads<M> {
    /// Starts them. `callback` returns what is called for each picture.
    ///
    /// # Errors
    ///
    /// `Device` if the system cannot start a thread, `InvalidArgument` for an engine that was released.
    pub(crate) fn start(
        processor: M,
        failed_frame: FailedFrame,
        callback: impl FnOnce(&Arc<Endpoint>, &Arc<UpdateQueue<M::Preparer>>) -> Option<Callback>,
    ) -> Result<Self> {
        let (event_log, wake) = (Arc::new(EventLog::new()), Arc::new(Notifier::new()));
        let endpoint = Arc::new(Endpoint::new(event_log.clone(), wake.clone()));
        let channel = Arc::new(UpdateChannel::new(wake));
        let queue =
            Arc::new(UpdateQueue::new(processor.params().clone(), Some(processor.snapshot()?), channel, event_log));
        let mut threads = Self { endpoint: endpoint.clone(), queue: queue.clone(), session: None, workers: Vec::new() };
        for (lane, name) in [(Lane::Quick, "dreamframe-quick"), (Lane::Load, "dreamframe-load")] {
            let (queue, preparer) = (queue.clone(), processor.preparer());
            let work = move || {
                // Frames take precedence over updates on the same core.
                lower_priority();
                worker::run(&queue, &preparer, lane);
            };
            threads.workers.push((lane, spawn(name, work)?));
        }
        let on_picture = callback(&endpoint, &queue);
        let runner = Runner::new(processor, endpoint, queue, on_picture, failed_frame);
        threads.session = Some(spawn("dreamframe-session", || runner.run())?);
        Ok(threads)
    }

    /// Ends them once the waiting frame is processed, and returns the engine.
    ///
    /// # Errors
    ///
    /// `Timeout` if that takes longer than `timeout`, `Internal` if the engine panicked, `InvalidArgument` on
    /// the session's own thread, which cannot wait for itself.
    pub(crate) fn stop(mut self, timeout: Duration) -> Result<M> {
        if self.is_own_thread() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a session cannot be stopped from its own callback"));
        }
        self.endpoint.advance(Phase::Draining);
        let ended = || (self.endpoint.phase() == Phase::Ended).then_some(());
        let ended = self.endpoint.event_log.news.wait_until(Instant::now().checked_add(timeout), ended);
        let Some(session) = self.session.take() else {
            return Err(Error::new(ErrorKind::Internal, "the session has no thread"));
        };
        if ended.is_none() {
            // It ends after the current frame.
            self.endpoint.advance(Phase::Ending);
            let text = format!("the session did not end within {} ms", timeout.as_millis());
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        session.join().unwrap_or_else(|panic| Err(Error::of_panic("the session", &*panic)))
    }

    /// Returns true on the session's thread, and on the one that shows its pictures: where its callback is called.
    pub(crate) fn is_own_thread(&self) -> bool {
        let current = thread::current().id();
        let is_session = self.session.as_ref().is_some_and(|session| session.thread().id() == current);
        is_session || self.endpoint.showing_thread.get() == Some(&current)
    }
}

impl<M: FrameProcessor> Drop for Threads<M> {
    fn drop(&mut self) {
        let own = self.is_own_thread();
        self.endpoint.advance(Phase::Ending);
        // A worker that loads is not joined: it finds the queue closed when it is done, and drops its result.
        let busy = self.queue.close();
        let idle = |lane: Lane| busy.iter().any(|&(of, busy)| of == lane && !busy);
        if let Some(session) = self.session.take().filter(|_| !own) {
            // Its result was reported by an event.
            let _ = session.join();
        }
        for (_, worker) in self.workers.drain(..).filter(|(lane, _)| idle(*lane)) {
            let _ = worker.join();
        }
    }
}

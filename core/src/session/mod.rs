//! An engine on its own thread: frames go in and pictures come out without waiting, and parameters change while they do.
//!
//! Three threads belong to a session. Its own works on frames and applies updates between two of them. Two workers prepare
//! updates beside that, one what loaded networks can do, one what loads others, so that a slider never waits for a model.
//! No lock is on the path of a frame: frames and pictures pass through a [`latest_slot`] each, updates through queues, and
//! threads wake each other with a [`notifier`].

mod events;
mod gate;
mod handle;
mod machine;
#[cfg(test)]
mod model;
mod options;
mod reports;
mod stats;
#[cfg(test)]
mod tests;
mod thread;
mod threads;
mod updates;

use std::sync::Arc;
use std::time::Duration;

pub use self::events::Event;
pub use self::handle::{Outcome, SessionHandle};
pub use self::options::{FailedFrame, PictureCallback, SessionOptions};
pub use self::reports::Events;
pub use self::stats::{Stage, Stats};
use self::thread::Callback;
use self::threads::Threads;
pub use self::updates::Ticket;
use crate::engine::{Engine, PictureInfo};
use crate::error::Result;
// By these names in the model check, too.
use crate::sync::{latest_slot, notifier, primitives};

/// An [`Engine`] that works on its own thread, until it is [stopped](Self::stop) or dropped.
///
/// Dropping does not drain: the frame that is worked on is finished and waited for, everything else is let go. A model
/// that is being loaded is not waited for; its thread ends by itself when it is done.
#[derive(Debug)]
pub struct Session {
    threads: Threads<Engine>,
    handle: SessionHandle,
}

impl Session {
    /// Gives what feeds the session and changes its parameters, from any thread.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// Whether this is the session's own thread, as in its callback: dropping it there waits for nothing.
    pub fn is_on_own_thread(&self) -> bool {
        self.threads.is_own_thread()
    }

    /// Ends the session and gives the engine back. The frame that waits is still worked on and updates that are prepared
    /// are applied; those that are not end as [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Errors
    ///
    /// `Timeout` where the frames take longer than `timeout`: the session then ends by itself, with its engine.
    /// `Internal` where the engine panicked. `InvalidArgument` on the session's own thread, which cannot wait for itself.
    pub fn stop(self, timeout: Duration) -> Result<Engine> {
        let mut engine = self.threads.stop(timeout)?;
        engine.take_steps(true);
        Ok(engine)
    }
}

impl Engine {
    /// Starts a session: the engine goes on on a thread of its own.
    ///
    /// # Errors
    ///
    /// `Device` where the system gives no more threads; `InvalidArgument` for an engine that
    /// [was released](Self::release).
    pub fn start(mut self, options: SessionOptions) -> Result<Session> {
        self.take_steps(false);
        let bench = self.workbench();
        let SessionOptions { on_picture, failed_frame } = options;
        let threads = Threads::start(self, failed_frame, |gate, desk| {
            let handle = SessionHandle { gate: gate.clone(), desk: desk.clone(), bench: bench.clone() };
            let mut on_picture = on_picture?;
            let callback: Callback = Box::new(move |info: &PictureInfo| on_picture(&handle, info));
            Some(callback)
        })?;
        let handle = SessionHandle { gate: Arc::clone(&threads.gate), desk: Arc::clone(&threads.desk), bench };
        Ok(Session { threads, handle })
    }
}

//! An engine on its own thread: hosts submit frames, take pictures and change parameters without waiting.
//!
//! A session has three threads. Its own processes frames, and applies updates between two of them. Two workers prepare
//! updates: one those that loaded networks can do, the other those that load networks, so that a slider never waits for
//! a model. The path of a frame has no lock: frames and pictures pass through a [`latest_slot`] each, updates through
//! queues, and threads wake each other with a [`notifier`].
//!
//! While pictures are interpolated, two more threads make and show them ([`output`]).

mod endpoint;
mod engine_traits;
mod event_log;
mod events;
mod handle;
#[cfg(test)]
mod model;
mod options;
mod output;
mod spawn;
mod stats;
#[cfg(test)]
mod tests;
mod thread;
mod threads;
mod updates;

use std::sync::Arc;
use std::time::Duration;

pub use self::event_log::Events;
pub use self::events::Event;
pub use self::handle::{Outcome, SessionHandle};
pub use self::options::{FailedFrame, PictureCallback, SessionOptions};
use self::output::Callback;
pub use self::stats::{Stage, Stats};
use self::threads::Threads;
pub use self::updates::Ticket;
use crate::engine::{Engine, PictureInfo};
use crate::error::Result;
// By these names in the model check, too.
use crate::sync::{latest_slot, notifier, primitives};

/// An [`Engine`] on its own thread, until it is [stopped](Self::stop) or dropped.
///
/// Dropping waits for the frame that is being processed, and discards all others. It does not wait for a model that is
/// being loaded; that thread ends when it is done.
#[derive(Debug)]
pub struct Session {
    threads: Threads<Engine>,
    handle: SessionHandle,
}

impl Session {
    /// Returns a handle that submits frames and changes parameters, from any thread.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// Returns true on the session's own threads, as in its callback. Dropping the session there does not wait.
    pub fn is_on_own_thread(&self) -> bool {
        self.threads.is_own_thread()
    }

    /// Ends the session, and returns the engine. A waiting frame is processed, and prepared updates are applied; all
    /// other updates end with [`Closed`](crate::ErrorKind::Closed).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use dreamframe::{Engine, ErrorKind, FrameView, PixelFormat, SessionOptions, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
    /// let session = Engine::builder().params(params).build()?.start(SessionOptions::default())?;
    /// let handle = session.handle();
    /// let mut engine = session.stop(Duration::from_secs(60))?;
    /// // The engine is the host's again, and the handle is closed.
    /// let pixels = vec![127_u8; 64 * 64 * 3];
    /// let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?;
    /// engine.process(&frame)?;
    /// assert_eq!(handle.submit(&frame).unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `Timeout` if the frames take longer than `timeout`; the session then ends later, and drops its engine.
    /// `Internal` if the engine panicked. `InvalidArgument` on the session's own thread, which cannot wait for itself.
    pub fn stop(self, timeout: Duration) -> Result<Engine> {
        let mut engine = self.threads.stop(timeout)?;
        engine.take_steps(true);
        Ok(engine)
    }
}

impl Engine {
    /// Starts a session: moves the engine to a thread of its own.
    ///
    /// # Errors
    ///
    /// `Device` if the system cannot start a thread; `InvalidArgument` for a [released](Self::release) engine.
    pub fn start(mut self, options: SessionOptions) -> Result<Session> {
        self.take_steps(false);
        let preparer = self.workbench();
        let SessionOptions { on_picture, failed_frame } = options;
        let threads = Threads::start(self, failed_frame, |endpoint, queue| {
            let handle = SessionHandle { endpoint: endpoint.clone(), queue: queue.clone(), preparer: preparer.clone() };
            let mut on_picture = on_picture?;
            let callback: Callback = Box::new(move |info: &PictureInfo| on_picture(&handle, info));
            Some(callback)
        })?;
        let handle =
            SessionHandle { endpoint: Arc::clone(&threads.endpoint), queue: Arc::clone(&threads.queue), preparer };
        Ok(Session { threads, handle })
    }
}

//! Events of a session.

use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::frame::FrameId;
use crate::params::Notice;

/// An event of a session. Serialized with its name in snake case as `type`, such as `update_applied`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// An update was applied; the next picture has it.
    UpdateApplied {
        /// The update's [`Ticket::version`](super::Ticket::version).
        version: u64,
        /// Notices of its preparation.
        notices: Vec<Notice>,
    },
    /// An update failed. It changed nothing, and its changes are removed from the desired parameters.
    UpdateRejected {
        /// The update's [`Ticket::version`](super::Ticket::version).
        version: u64,
        /// The reason.
        error: Arc<Error>,
    },
    /// An update was skipped, because later ones that were applied changed everything that it changes.
    UpdateSuperseded {
        /// The update's [`Ticket::version`](super::Ticket::version).
        version: u64,
    },
    /// A frame failed; the stream continues with the next one.
    FrameFailed {
        /// The frame.
        id: FrameId,
        /// The reason.
        error: Arc<Error>,
    },
    /// A step of a transition of the prompt failed: pictures keep the current blend of the two prompts until the prompt
    /// changes.
    TransitionFailed {
        /// The reason.
        error: Arc<Error>,
    },
    /// Several frames in a row failed, or there is no pipeline; the session continues to try.
    Degraded {
        /// The last error.
        error: Arc<Error>,
    },
    /// The first frame after [`Degraded`](Self::Degraded) succeeded.
    Recovered,
    /// The picture callback panicked, and is not called again; the session continues.
    CallbackFailed {
        /// The message of the panic.
        error: Arc<Error>,
    },
    /// The session ended. This is the last event.
    Stopped {
        /// The reason; `None` if it was stopped.
        error: Option<Arc<Error>>,
    },
}

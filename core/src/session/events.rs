//! What a session tells of itself, besides pictures.

use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::frame::FrameId;
use crate::params::Notice;

/// Something that happened in a session. Serialised, `type` names what: `update_applied`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// An update counts from the next picture on.
    UpdateApplied {
        /// The update's [`Ticket::version`](super::Ticket::version).
        version: u64,
        /// What turned out while it was prepared.
        notices: Vec<Notice>,
    },
    /// An update could not be done. Nothing of it counts, and its changes are taken back out of the desired parameters.
    UpdateRejected {
        /// The update's [`Ticket::version`](super::Ticket::version).
        version: u64,
        /// Why.
        error: Arc<Error>,
    },
    /// An update was left out, because later ones change all that it changed.
    UpdateSuperseded {
        /// The update's [`Ticket::version`](super::Ticket::version).
        version: u64,
    },
    /// A frame gave no new picture; the stream goes on.
    FrameFailed {
        /// The frame.
        id: FrameId,
        /// Why.
        error: Arc<Error>,
    },
    /// A step of a transition of the prompt could not be made: pictures stay where they are between the two prompts, until
    /// another is asked for.
    TransitionFailed {
        /// Why.
        error: Arc<Error>,
    },
    /// Several frames in a row have failed, or there is nothing left to make pictures with; the session still tries.
    Degraded {
        /// The last cause.
        error: Arc<Error>,
    },
    /// The first frame after [`Degraded`](Self::Degraded) has succeeded.
    Recovered,
    /// The picture callback panicked, and will not be called again; pictures go on.
    CallbackFailed {
        /// What the panic said.
        error: Arc<Error>,
    },
    /// The session has ended; there is no further event.
    Stopped {
        /// Why, where nobody asked it to.
        error: Option<Arc<Error>>,
    },
}

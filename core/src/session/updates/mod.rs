//! Updates of a running session: accepted at once, prepared on two worker threads, sent to the session's thread in order.
//!
//! Parameters exist three times. *Desired* is what was accepted. *Planned* is what was sent to the session's thread last.
//! *Active* is what that thread has applied. A [`Job`](job::Job) is a change, not a set of parameters: a worker puts it
//! onto what is planned when it is ready, so that a slider which moves while a model loads neither waits for the model nor
//! is undone by it.

pub(crate) mod desk;
pub(crate) mod job;
pub(crate) mod line;
mod state;
mod steps;
pub(crate) mod worker;

use serde::Serialize;

use crate::params::{Change, Cost, Notice};

/// What became of an update when it was accepted: its number, and what it costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Ticket {
    /// Numbers the accepted updates, from 1; for one that changes nothing, the number of the last one before it.
    pub version: u64,
    /// The highest cost among the changes; `None` if nothing changes.
    pub cost: Option<Cost>,
    /// What changes in the desired parameters.
    pub changes: Vec<Change>,
    /// What was accepted and means something else here, or was changed along with it.
    pub notices: Vec<Notice>,
}

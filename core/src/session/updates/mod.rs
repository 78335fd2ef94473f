//! Updates of a running session: accepted immediately, prepared on two worker threads, sent to the session's thread in
//! order.
//!
//! There are three sets of parameters. *Desired* is what was accepted. *Planned* is what was sent to the session's
//! thread last. *Active* is what that thread has applied. A [`Job`](job::Job) is a change, not a set of parameters: a
//! worker applies it to the planned parameters when it is ready. So a slider that moves while a model loads neither
//! waits for the model nor is undone by it.

pub(crate) mod channel;
pub(crate) mod job;
pub(crate) mod queue;
mod state;
mod steps;
pub(crate) mod worker;

use serde::Serialize;

use crate::params::{Change, Cost, Notice};

/// An accepted update: its version, changes and cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Ticket {
    /// The version of the update, from 1; if it changes nothing, that of the update before it.
    pub version: u64,
    /// The highest cost among the changes; `None` if nothing changes.
    pub cost: Option<Cost>,
    /// The changes of the desired parameters.
    pub changes: Vec<Change>,
    /// Values that are interpreted differently, and parameters that change as a consequence.
    pub notices: Vec<Notice>,
}

//! Beyond one machine: workers that make pictures, and gateways that clients meet.
//!
//! The idea: a worker is a server as it is alone, and it also tells a [`Registry`] of itself and of its streams, again and
//! again; what it told is forgotten soon after it tells no more. A [gateway](crate::gateway) keeps nothing: it asks the
//! registry where a stream is, or which worker has most room. Only requests pass it. Media goes between client and worker.

mod presence;
mod registry;
mod worker;

pub(crate) use self::presence::Presence;
pub(crate) use self::registry::{Address, Registry};
pub(crate) use self::worker::{Worker, roomiest};

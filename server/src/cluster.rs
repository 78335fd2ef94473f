//! Beyond one machine: workers that make pictures, and gateways that clients meet.
//!
//! The idea: a worker is a server as it is alone, and it also tells a [`Registry`] of itself and of its streams, again and
//! again; what it told is forgotten soon after it tells no more. A [gateway](crate::gateway) keeps nothing: it asks the
//! registry where a stream is, or which worker has most room. Only requests pass it. Media goes between client and worker.
//!
//! Members of a cluster share a [`Secret`]: by it a gateway knows what workers wrote, and a worker what gateways ask.

mod membership;
mod presence;
mod proof;
mod refusals;
mod registry;
mod seal;
mod secret;
mod worker;

pub(crate) use self::membership::Membership;
pub(crate) use self::presence::Presence;
pub(crate) use self::proof::{PROOF, believe_gateways, now, prove};
pub(crate) use self::registry::Registry;
pub(crate) use self::secret::Secret;
pub(crate) use self::worker::{Worker, roomiest};

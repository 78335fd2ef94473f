//! Clusters: workers that make pictures, and gateways that clients connect to.
//!
//! A worker is an ordinary server that also publishes its state and its streams to a [`Registry`] at intervals; entries
//! expire soon after the last update. A [gateway](crate::gateway) has no state of its own: it looks up in the registry
//! where a stream is, or which worker has most capacity. Only HTTP requests pass through a gateway; media flows between
//! client and worker.
//!
//! Members of a cluster share a [`Secret`], which authenticates entries of workers and requests of gateways.

pub(crate) mod fuzz_api;
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
pub(crate) use self::proof::{PROOF, now, prove, trust_gateways};
pub(crate) use self::registry::Registry;
pub(crate) use self::secret::Secret;
pub(crate) use self::worker::{Worker, least_loaded};

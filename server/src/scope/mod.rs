//! The dialect of Daydream Scope: WebRTC by JSON below `/api/v1`, parameters over a data channel, sessions without a
//! browser. The data channel is shared with WHIP and WHEP.
//!
//! A session of Scope's is a stream of ours. What Scope calls a pipeline is the parameters that streams begin with, and one
//! stream that is made ready ahead of the first session.

pub(crate) mod catalogue;
pub(crate) mod channel;
pub(crate) mod detail;
mod join;
#[cfg(test)]
mod laws;
mod params;
pub(crate) mod sessions;
mod source;
mod steps;
pub(crate) mod watcher;

pub(crate) use sessions::Scope;

//! The API of Daydream Scope: WebRTC signalling by JSON below `/api/v1`, parameters over a data channel, sessions
//! without a browser. WHIP and WHEP use the same data channel.
//!
//! A Scope session is a stream of this server. A Scope pipeline is the initial parameters of streams, and one stream
//! that is prepared for the first session.

pub(crate) mod catalogue;
pub(crate) mod channel;
pub(crate) mod detail;
pub(crate) mod sessions;
mod source;
pub(crate) mod watcher;

pub(crate) use sessions::Scope;

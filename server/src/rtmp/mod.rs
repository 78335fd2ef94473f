//! RTMP: publishers that connect by it (`listen`), and services that a stream is pushed to (`Push`).
//!
//! The protocol is implemented here, because the existing crate recurses without a limit, which lets a peer crash the
//! process. The sans-IO parts (all except `listen` and `push`) are bounded in memory and never panic on any input.

mod amf;
mod auth;
mod chunk;
pub mod flv;
#[doc(hidden)]
pub mod fuzz_api;
mod handshake;
mod listen;
#[cfg(test)]
mod loopback;
mod publisher;
mod push;
mod push_to;
mod socket;
mod subscriber;
mod target;
#[cfg(test)]
mod tests;
mod waiting;
mod wire;

pub(crate) use self::listen::{Limits, listen};
pub(crate) use self::push::{Push, Report};
pub(crate) use self::push_to::PushTo;
pub(crate) use self::subscriber::PushedSound;
pub(crate) use self::target::Target;

/// The reason for ending a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RtmpError {
    /// The peer violated the protocol.
    #[error("RTMP protocol violation: {0}")]
    Malformed(&'static str),
    /// The peer exceeded a limit.
    #[error("message length: got {0} bytes, which exceeds the limit")]
    TooLong(usize),
    /// One side rejected the other.
    #[error("{0}")]
    Refused(String),
}

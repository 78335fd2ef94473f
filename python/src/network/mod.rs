//! WHIP and WHEP for Python: a server in this process, a publisher, a player.
//!
//! Frames and pictures pass between the network and the library on the library's own threads, which do not call Python.

pub(crate) mod client;
pub(crate) mod peer;
pub(crate) mod player;
pub(crate) mod publisher;
pub(crate) mod server;

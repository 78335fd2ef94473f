//! WHIP and WHEP: receiving frames and sending pictures over the network.
//!
//! The functions exist in every library. Without the feature `transport`, those that create an object return an error:
//! `absent` replaces `live`.

#[cfg(not(feature = "transport"))]
mod absent;
mod client;
#[cfg(feature = "transport")]
mod live;
pub mod network;
pub mod player;
pub mod publisher;
pub mod server;
pub mod state;

#[cfg(not(feature = "transport"))]
use self::absent as backend;
#[cfg(feature = "transport")]
use self::live as backend;

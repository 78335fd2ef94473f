//! WHIP and WHEP: frames that come and pictures that go over the network.
//!
//! The functions are there in every library. Without the feature `transport` those that make an object refuse, and the
//! others have none to work on: `absent` stands in the place of `live`.

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

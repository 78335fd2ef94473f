//! Frames over the network: WHIP in and WHEP out, as server and as client. The only part of this crate that uses tokio.
//!
//! Video of a publisher arrives as packets at an [`Ingest`], which puts them in order, decodes them on a thread of its
//! own and passes frames to a [`FrameSink`], such as a session. Pictures go to an [`Egress`], which encodes them once,
//! on a thread of its own, for all viewers. Nothing queues in between: a newer frame replaces an older. A `peer::Peer`
//! is one WebRTC connection between such ends; nothing else names the WebRTC crate.

mod audio;
mod channel;
mod client;
mod codec;
mod egress;
mod fanout;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod fuzz_api;
pub mod h264;
pub mod http;
mod ingest;
mod latest_frame;
mod media;
pub mod parameters;
pub mod peer;
mod public_address;
mod rate;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod rtp;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod rtp;
pub mod sdp;
mod serve;
#[cfg(test)]
mod testing;
mod whep;
mod whip;

pub use audio::{AudioDelay, AudioHub, AudioPacket, AudioSubscription};
pub use channel::{CHANNEL_LABEL, ChannelHandler, Pacing};
pub use client::{Client, ClientEvent, ClientEvents, ClientOptions, play, publish};
pub use egress::{Egress, EgressOptions, EgressStats, Subscription};
pub use ingest::{Ingest, IngestOptions, IngestStats};
pub use latest_frame::LatestFrame;
pub use media::{AccessUnit, FrameSink, VideoCodec, now};
pub use public_address::is_public;
pub use rate::TokenBucket;
pub use rtp::RtpPacket;
pub use serve::{ServeOptions, Server, SessionChannel, serve, serve_media, serve_session};
pub use whep::WhepEndpoint;
pub use whip::WhipEndpoint;

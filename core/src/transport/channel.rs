//! The data channel `parameters`: text messages in, answers and notices out.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::broadcast;

/// The label of the data channel whose messages are read.
pub const CHANNEL_LABEL: &str = "parameters";

/// What takes the messages of a connection's data channel [`CHANNEL_LABEL`] and speaks on it.
///
/// A channel of another label is accepted, but nothing is read from it.
pub trait ChannelHandler: Send + Sync + fmt::Debug {
    /// Takes a text message and returns the answers to send, in order; called on a network task: must not wait for long.
    fn message(&self, text: &str) -> Vec<String>;

    /// Returns what is to be sent unasked, if anything ever is.
    ///
    /// Is called once for each connection, as it is made: notices from then on are kept until the channel opens.
    fn notices(&self) -> Option<broadcast::Receiver<String>>;

    /// Returns how messages are held back that come too fast. Default: `None`, each is taken as it comes.
    fn pacing(&self) -> Option<&dyn Pacing> {
        None
    }
}

/// How messages are held back that come too fast: see [`ChannelHandler::pacing`].
///
/// The data channels of a connection may send 60 messages a second together, and as many at once. Those that come while one
/// has to wait are joined with it: they are taken as one message and answered once. Up to 1 MiB waits; what is beyond that,
/// and what is no JSON object, is dropped meanwhile.
pub trait Pacing {
    /// Returns how long `message` must wait from `now` on, for instance because its changes are expensive. Zero passes it
    /// to [`ChannelHandler::message`] at once.
    fn wait(&self, message: &Map<String, Value>, now: Instant) -> Duration;

    /// Joins `newer` with the message that waits, so that it comes to the same as both, one after the other.
    fn join(&self, waiting: &mut Map<String, Value>, newer: Map<String, Value>);
}

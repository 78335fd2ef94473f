//! Handlers of data channels: text messages in, answers and notices out.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::broadcast;

/// The label of the data channel whose messages are read.
pub const CHANNEL_LABEL: &str = "parameters";

/// Handles the messages of a connection's data channel [`CHANNEL_LABEL`].
///
/// A channel of another label is accepted, but nothing is read from it.
pub trait ChannelHandler: Send + Sync + fmt::Debug {
    /// Takes a text message and returns the answers to send, in order; called on a network task: must not wait for long.
    fn message(&self, text: &str) -> Vec<String>;

    /// Returns the messages to send without a request, if there are any.
    ///
    /// Is called once for each connection, as it is made: notices from then on are kept until the channel opens.
    fn notices(&self) -> Option<broadcast::Receiver<String>>;

    /// Returns the pacing of messages that arrive too fast. Default: `None`, all are handled as they arrive.
    fn pacing(&self) -> Option<&dyn Pacing> {
        None
    }
}

/// Rate limits of a data channel: see [`ChannelHandler::pacing`].
///
/// The data channels of a connection may send 60 messages per second together, in bursts of as many. Messages that
/// arrive while one waits are merged with it, handled as one message and answered once. Up to 1 MiB waits; messages
/// beyond that, and those that are not JSON objects, are dropped meanwhile.
pub trait Pacing {
    /// Returns how long `message` must wait from `now` on, for instance because its changes are expensive. Zero passes it
    /// to [`ChannelHandler::message`] immediately.
    fn wait(&self, message: &Map<String, Value>, now: Instant) -> Duration;

    /// Merges `newer` into the message that waits, so that it has the effect of both in order.
    fn join(&self, waiting: &mut Map<String, Value>, newer: Map<String, Value>);
}

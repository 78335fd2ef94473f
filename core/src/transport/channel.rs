//! The data channel `parameters`: text messages in, answers and notices out.

use std::fmt;

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
}

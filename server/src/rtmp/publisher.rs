//! The server's side of an RTMP connection of a publisher. Sans-IO.

use bytes::Bytes;

use super::RtmpError;
use super::amf::Value;
use super::flv;
use super::wire::{Command, Input, STREAM, Wire};

/// RTMP applications that publishers may name.
const APPS: [&str; 2] = ["aiWebrtc", "live"];

/// An event of a publisher.
#[derive(Debug)]
pub(super) enum Event {
    /// A request to publish with this key, to be answered by [`Publisher::accept`] or [`Publisher::refuse`].
    Wants(String),
    Video(Bytes),
    /// With its time in milliseconds.
    Audio(Bytes, u32),
    /// The publisher has ended the stream.
    Ended,
}

/// A publisher's connection.
#[derive(Debug)]
pub(super) struct Publisher {
    wire: Wire,
    connected: bool,
    asked: bool,
    accepted: bool,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self { wire: Wire::new(), connected: false, asked: false, accepted: false }
    }

    /// Accepts bytes from the network. Call [`next`](Self::next) afterwards until it returns `None`. Returns whether
    /// the handshake has just completed.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, RtmpError> {
        self.wire.push(bytes)
    }

    /// Returns the next event.
    pub(super) fn next(&mut self) -> Result<Option<Event>, RtmpError> {
        while let Some(input) = self.wire.next()? {
            let event = match input {
                Input::Command(command) => self.command(&command)?,
                Input::Video(tag) => self.accepted.then_some(Event::Video(tag)),
                Input::Audio(tag, time) => self.accepted.then_some(Event::Audio(tag, time)),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Allows the publisher to begin.
    pub(super) fn accept(&mut self) {
        self.accepted = true;
        self.wire.expect_media();
        self.wire.begin();
        self.status("status", "NetStream.Publish.Start", "Publishing");
    }

    /// Informs a publisher, in any state, that it must not continue.
    pub(super) fn refuse(&mut self, reason: &str) {
        self.status("error", "NetStream.Publish.BadName", reason);
    }

    /// Returns the bytes to send.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        self.wire.take_output()
    }

    fn command(&mut self, command: &Command) -> Result<Option<Event>, RtmpError> {
        let argument = |at: usize| command.arguments.get(at);
        match command.name.as_str() {
            "connect" => {
                let app = argument(0).and_then(|object| object.get("app")).and_then(Value::text).unwrap_or_default();
                let app = without_query(app).trim_matches('/');
                if !APPS.contains(&app) {
                    return Err(RtmpError::Refused(format!("unknown app: expected {}", APPS.join(" or "))));
                }
                self.connected = true;
                self.wire.allow();
                let server = Value::Object(vec![
                    ("fmsVer".to_owned(), Value::Text("FMS/3,0,1,123".to_owned())),
                    ("capabilities".to_owned(), Value::Number(31.0)),
                ]);
                let mut info = status("status", "NetConnection.Connect.Success", "Connected");
                info.push(("objectEncoding".to_owned(), Value::Number(0.0)));
                info.extend(flv::codecs());
                self.answer(command, &[server, Value::Object(info)]);
            }
            "createStream" => self.answer(command, &[Value::Null, Value::Number(STREAM.into())]),
            "publish" if !self.connected || self.asked => {
                return Err(RtmpError::Malformed("got publish before connect or a second time"));
            }
            "publish" => {
                let key = argument(1).and_then(Value::text).map(without_query).unwrap_or_default();
                self.asked = true;
                return Ok(Some(Event::Wants(key.to_owned())));
            }
            "play" | "play2" => {
                return Err(RtmpError::Refused("playing streams is not supported here, only publishing".to_owned()));
            }
            "FCUnpublish" | "deleteStream" | "closeStream" => return Ok(self.accepted.then_some(Event::Ended)),
            // Some encoders wait for a response to these.
            "releaseStream" | "FCPublish" | "_checkbw" | "getStreamLength" => {
                self.answer(command, &[Value::Null, Value::Null]);
            }
            _ => {}
        }
        Ok(None)
    }

    fn answer(&mut self, command: &Command, arguments: &[Value]) {
        self.wire.command("_result", command.transaction, arguments);
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        let info = Value::Object(status(level, code, description));
        self.wire.stream_command("onStatus", 0.0, &[Value::Null, info]);
    }
}

fn without_query(text: &str) -> &str {
    text.split('?').next().unwrap_or_default()
}

fn status(level: &str, code: &str, description: &str) -> Vec<(String, Value)> {
    [("level", level), ("code", code), ("description", description)]
        .map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned())))
        .into()
}

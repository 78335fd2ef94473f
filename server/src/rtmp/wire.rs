//! Common part of both sides of an RTMP connection: handshake, chunks, acknowledgements, commands. Sans-IO: bytes in,
//! messages and bytes out.

use bytes::Bytes;

use super::RtmpError;
use super::amf::{self, Value};
use super::chunk::{ChunkReader, ChunkWriter, MAX_MESSAGE, Message, kind};
use super::handshake::Handshake;

/// Size of sent chunks, in bytes: large for few headers, small enough not to delay responses.
const CHUNK_SIZE: u32 = 32 << 10;

/// The acknowledgement window of a peer, in bytes.
const WINDOW: u32 = 2_500_000;

/// The maximum size of a command, in bytes.
const MAX_COMMAND: usize = 64 << 10;

/// The message stream of the publication, unless a service assigns another; there is one per connection.
pub(super) const STREAM: u32 = 1;

/// Chunk streams of commands and data, of audio, of video.
const COMMANDS: u8 = 3;
const AUDIO: u8 = 4;
const VIDEO: u8 = 6;

/// A command of the peer's.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) name: String,
    pub(super) transaction: f64,
    /// The arguments, beginning with the object that is often null.
    pub(super) arguments: Vec<Value>,
}

/// An event from a peer.
#[derive(Debug)]
pub(super) enum Input {
    Command(Command),
    Video(Bytes),
    /// With its time in milliseconds.
    Audio(Bytes, u32),
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    handshake: Option<Handshake>,
    reader: ChunkReader,
    writer: ChunkWriter,
    output: Vec<u8>,
    received: u32,
    acknowledged: u32,
    window: Option<u32>,
    stream: u32,
}

impl Wire {
    pub(super) fn new() -> Self {
        let mut output = Vec::new();
        let handshake = Some(Handshake::start(&mut output));
        let (reader, writer) = (ChunkReader::new(MAX_COMMAND), ChunkWriter::new());
        Self { handshake, reader, writer, output, received: 0, acknowledged: 0, window: None, stream: STREAM }
    }

    /// Accepts bytes from the network. Returns whether the handshake has just completed.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, RtmpError> {
        if let Some(handshake) = &mut self.handshake {
            let Some(rest) = handshake.input(bytes, &mut self.output)? else { return Ok(false) };
            self.handshake = None;
            self.reader.push(&rest);
            self.writer.set_chunk_size(CHUNK_SIZE, &mut self.output);
            self.writer.control(kind::WINDOW_SIZE, &WINDOW.to_be_bytes(), &mut self.output);
            return Ok(true);
        }
        self.reader.push(bytes);
        self.received = self.received.wrapping_add(bytes.len() as u32);
        if self.window.is_some_and(|window| self.received.wrapping_sub(self.acknowledged) >= window) {
            self.acknowledged = self.received;
            self.writer.control(kind::ACKNOWLEDGEMENT, &self.received.to_be_bytes(), &mut self.output);
        }
        Ok(false)
    }

    /// Returns the next event that does not concern the connection itself.
    pub(super) fn next(&mut self) -> Result<Option<Input>, RtmpError> {
        while let Some(message) = self.reader.next()? {
            match message.kind {
                kind::VIDEO => return Ok(Some(Input::Video(message.body))),
                kind::AUDIO => return Ok(Some(Input::Audio(message.body, message.time))),
                kind::COMMAND => return command(&message.body).map(Input::Command).map(Some),
                kind::WINDOW_SIZE => {
                    let window = message.body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
                    self.window = window.filter(|window| *window > 0);
                }
                kind::USER_CONTROL => {
                    // A ping is answered.
                    if let Some((&[0, 6], time)) = message.body.split_first_chunk::<2>() {
                        let time = time.get(..4).unwrap_or_default();
                        self.writer.control(kind::USER_CONTROL, &[&[0, 7], time].concat(), &mut self.output);
                    }
                }
                // Metadata, bandwidths, acknowledgements, and messages of later versions.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Allows messages of the size of pictures; peers without an accepted key are limited to small ones.
    pub(super) fn expect_media(&mut self) {
        self.reader.set_max_message(MAX_MESSAGE);
    }

    /// Announces how many bytes the peer may send unacknowledged.
    pub(super) fn allow(&mut self) {
        self.writer.control(kind::PEER_BANDWIDTH, &[&WINDOW.to_be_bytes()[..], &[2]].concat(), &mut self.output);
    }

    /// Sets the message stream of the publication.
    pub(super) fn set_stream(&mut self, stream: u32) {
        self.stream = stream;
    }

    /// Announces the start of the peer's stream.
    pub(super) fn begin(&mut self) {
        self.writer.control(kind::USER_CONTROL, &[&[0, 0], &self.stream.to_be_bytes()[..]].concat(), &mut self.output);
    }

    /// Sends a command about the connection.
    pub(super) fn command(&mut self, name: &str, transaction: f64, arguments: &[Value]) {
        self.command_on(0, name, transaction, arguments);
    }

    /// Sends a command about the publication.
    pub(super) fn stream_command(&mut self, name: &str, transaction: f64, arguments: &[Value]) {
        self.command_on(self.stream, name, transaction, arguments);
    }

    fn command_on(&mut self, stream: u32, name: &str, transaction: f64, arguments: &[Value]) {
        let mut values = vec![Value::Text(name.to_owned()), Value::Number(transaction)];
        values.extend_from_slice(arguments);
        self.send(COMMANDS, kind::COMMAND, stream, 0, amf::write(&values).into());
    }

    pub(super) fn video(&mut self, time: u32, tag: Bytes) {
        self.send(VIDEO, kind::VIDEO, self.stream, time, tag);
    }

    pub(super) fn audio(&mut self, time: u32, tag: Bytes) {
        self.send(AUDIO, kind::AUDIO, self.stream, time, tag);
    }

    pub(super) fn data(&mut self, body: Bytes) {
        self.send(COMMANDS, kind::DATA, self.stream, 0, body);
    }

    fn send(&mut self, id: u8, kind: u8, stream: u32, time: u32, body: Bytes) {
        self.writer.write(id, &Message { kind, stream, time, body }, &mut self.output);
    }

    /// Returns the bytes to send.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

fn command(body: &[u8]) -> Result<Command, RtmpError> {
    if body.len() > MAX_COMMAND {
        return Err(RtmpError::TooLong(body.len()));
    }
    let mut values = amf::read(body).ok_or(RtmpError::Malformed("invalid command"))?.into_iter();
    let name = values.next().as_ref().and_then(Value::text).map(str::to_owned);
    let name = name.ok_or(RtmpError::Malformed("the name of a command is missing"))?;
    let transaction = values.next().as_ref().and_then(Value::number).unwrap_or(0.0);
    Ok(Command { name, transaction, arguments: values.collect() })
}

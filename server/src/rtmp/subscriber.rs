//! The client's side of an RTMP connection to a service that a stream is pushed to. Sans-IO.

use dreamframe::Result;

use super::RtmpError;
use super::amf::Value;
use super::flv;
use super::target::Target;
use super::wire::{Command, Input, STREAM, Wire};
use crate::media::coded::CodedPicture;

/// Commands with their transaction numbers.
const CONNECT: f64 = 1.0;
const CREATE: f64 = 4.0;

/// A service's connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    wire: Wire,
    target: Target,
    ready: bool,
    // The number that the service assigned.
    stream: f64,
    // Whether the service has the metadata.
    described: bool,
    silences: u64,
}

impl Subscriber {
    pub(super) fn new(target: Target) -> Self {
        Self { wire: Wire::new(), target, ready: false, stream: STREAM.into(), described: false, silences: 0 }
    }

    /// Accepts bytes from the network, and continues the protocol. Returns true if the handshake has just completed.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, RtmpError> {
        let greeted = self.wire.push(bytes)?;
        if greeted {
            let object = Value::texts([
                ("app", &*self.target.app),
                ("type", "nonprivate"),
                ("flashVer", "FMLE/3.0 (compatible; dreamframe)"),
                ("tcUrl", &self.target.server_url()),
            ]);
            self.wire.command("connect", CONNECT, &[object]);
        }
        while let Some(input) = self.wire.next()? {
            if let Input::Command(command) = input {
                self.command(&command)?;
            }
        }
        Ok(greeted)
    }

    /// Returns whether pictures may be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Sends a picture `time` milliseconds after the first one, and silence up to it. Waits for a key frame.
    pub(super) fn picture(&mut self, annex_b: &[u8], key: bool, time: u32) -> Result<()> {
        let picture = CodedPicture::new(annex_b)?;
        if !self.described {
            let Some(sets) = picture.sets.filter(|_| key) else { return Ok(()) };
            self.wire.data(flv::metadata(sets.size()?));
            self.wire.video(time, flv::video_header(&sets.record()?));
            self.wire.audio(time, flv::audio_header());
            self.described = true;
        } else if let Some(sets) = picture.sets {
            // They may change: the size of a stream can change.
            self.wire.video(time, flv::video_header(&sets.record()?));
        }
        while flv::silence_at(self.silences) <= time {
            self.wire.audio(flv::silence_at(self.silences), flv::silence());
            self.silences += 1;
        }
        self.wire.video(time, flv::video_tag(&picture.units, key));
        Ok(())
    }

    /// Announces the end of the publication.
    pub(super) fn end(&mut self) {
        if self.ready {
            let key = Value::Text(self.target.key.clone());
            self.wire.command("FCUnpublish", CREATE + 2.0, &[Value::Null, key]);
            self.wire.command("deleteStream", CREATE + 3.0, &[Value::Null, Value::Number(self.stream)]);
        }
    }

    /// Returns the bytes to send.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        self.wire.take_output()
    }

    fn command(&mut self, command: &Command) -> Result<(), RtmpError> {
        let key = || Value::Text(self.target.key.clone());
        match command.name.as_str() {
            "_result" if command.transaction == CONNECT => {
                let (release, publish) = (key(), key());
                self.wire.command("releaseStream", CREATE - 2.0, &[Value::Null, release]);
                self.wire.command("FCPublish", CREATE - 1.0, &[Value::Null, publish]);
                self.wire.command("createStream", CREATE, &[Value::Null]);
            }
            "_result" if command.transaction == CREATE => {
                if let Some(stream) = command.arguments.get(1).and_then(Value::number) {
                    self.stream = stream;
                    self.wire.set_stream(stream as u32);
                }
                let arguments = [Value::Null, key(), Value::Text("live".to_owned())];
                self.wire.stream_command("publish", CREATE + 1.0, &arguments);
            }
            // Services that do not know these commands answer with an error, which has no effect.
            "_error" if command.transaction != CONNECT && command.transaction != CREATE => {}
            "_error" => return Err(self.refused(command)),
            "onStatus" => {
                let code = command.arguments.get(1).and_then(|info| info.get("code")).and_then(Value::text);
                match code {
                    Some("NetStream.Publish.Start") => self.ready = true,
                    Some(code) if code.starts_with("NetStream.Publish") && !code.ends_with("Notify") => {
                        return Err(self.refused(command));
                    }
                    _ => {}
                }
            }
            "close" => return Err(self.refused(command)),
            _ => {}
        }
        Ok(())
    }

    fn refused(&self, command: &Command) -> RtmpError {
        let part = |name| command.arguments.get(1).and_then(|info| info.get(name)).and_then(Value::text);
        let reason = part("description").or(part("code")).unwrap_or(&command.name);
        // Some services repeat the key in their messages.
        let reason: String =
            reason.replace(&self.target.key, "…").chars().filter(|letter| !letter.is_control()).take(200).collect();
        RtmpError::Refused(reason)
    }
}

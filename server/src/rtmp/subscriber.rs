//! The client's side of an RTMP connection to a service that a stream is pushed to. Sans-IO.

use dreamframe::Result;

use super::RtmpError;
use super::amf::Value;
use super::flv;
use super::target::Target;
use super::wire::{Command, Input, STREAM, Wire};
use crate::media::coded::CodedPicture;
use crate::sound::Format;

/// Commands with their transaction numbers.
const CONNECT: f64 = 1.0;
const CREATE: f64 = 4.0;

/// Milliseconds without sound after which silence is sent, since services refuse video alone.
const SILENT: u32 = 2000;

/// The sound that a service gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushedSound {
    /// The publisher's.
    Aac,
    Opus,
    /// The publisher sends none.
    Silence,
    /// The publisher sends Opus, which the service does not accept.
    NotAccepted,
}

/// What is sent as sound.
#[derive(Debug)]
enum Track {
    /// Frames of silence, from a time in milliseconds on.
    Silence { since: u32, frames: u64 },
    /// The publisher's; the time of the last packet.
    Passed { format: Format, last: u32 },
}

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
    track: Track,
    // Whether the service accepts Opus, and when the publisher's was left out last.
    opus: bool,
    left_out: Option<u32>,
}

impl Subscriber {
    pub(super) fn new(target: Target) -> Self {
        Self {
            wire: Wire::new(),
            target,
            ready: false,
            stream: STREAM.into(),
            described: false,
            track: Track::Silence { since: 0, frames: 0 },
            opus: false,
            left_out: None,
        }
    }

    /// Accepts bytes from the network, and continues the protocol. Returns true if the handshake has just completed.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, RtmpError> {
        let greeted = self.wire.push(bytes)?;
        if greeted {
            let url = self.target.server_url();
            let texts = [
                ("app", &*self.target.app),
                ("type", "nonprivate"),
                ("flashVer", "FMLE/3.0 (compatible; dreamframe)"),
                ("tcUrl", &url),
            ];
            let texts = texts.map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned())));
            let properties = texts.into_iter().chain(flv::codecs()).collect();
            self.wire.command("connect", CONNECT, &[Value::Object(properties)]);
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

    /// Sends a picture `time` milliseconds after the first one, and silence up to it unless there is sound. Waits for a
    /// key frame. `expected` is the format of the sound that will follow, if that is known before the first.
    pub(super) fn picture(&mut self, annex_b: &[u8], key: bool, time: u32, expected: Option<Format>) -> Result<()> {
        let picture = CodedPicture::new(annex_b)?;
        if !self.described {
            let Some(sets) = picture.sets.filter(|_| key) else { return Ok(()) };
            if let Some(format) = expected {
                self.track = Track::Passed { format, last: time };
            }
            let sound = match &self.track {
                Track::Silence { .. } => None,
                Track::Passed { format, .. } => Some(format),
            };
            self.wire.data(flv::metadata(sets.size()?, sound));
            self.wire.video(time, flv::video_header(&sets.record()?));
            self.wire.audio(time, sound.map_or_else(flv::silence_header, flv::audio_header));
            self.described = true;
        } else if let Some(sets) = picture.sets {
            // They may change: the size of a stream can change.
            self.wire.video(time, flv::video_header(&sets.record()?));
        }
        self.silence(time);
        self.wire.video(time, flv::video_tag(&picture.units, key));
        Ok(())
    }

    /// Sends silence up to `time`, if there is no sound.
    fn silence(&mut self, time: u32) {
        if let Track::Passed { last, .. } = self.track
            && time.saturating_sub(last) > SILENT
        {
            self.wire.audio(time, flv::silence_header());
            self.track = Track::Silence { since: time, frames: 0 };
        }
        if let Track::Silence { since, frames } = &mut self.track {
            while since.wrapping_add(flv::silence_at(*frames)) <= time {
                self.wire.audio(since.wrapping_add(flv::silence_at(*frames)), flv::silence());
                *frames += 1;
            }
        }
    }

    /// Sends a packet of sound that is heard `time` milliseconds after the first picture. One before that, and Opus for
    /// a service that does not accept it, is left out.
    pub(super) fn sound(&mut self, format: &Format, data: &[u8], time: u32) {
        if *format == Format::Opus && !self.opus {
            self.left_out = Some(time);
            return;
        }
        if !self.described {
            return;
        }
        match &mut self.track {
            Track::Passed { format: known, last } if known == format => *last = time,
            Track::Passed { .. } | Track::Silence { .. } => {
                self.wire.audio(time, flv::audio_header(format));
                self.track = Track::Passed { format: format.clone(), last: time };
            }
        }
        self.wire.audio(time, flv::audio_tag(format, data));
    }

    /// The sound that the service gets, `time` milliseconds after the first picture.
    pub(super) fn pushed_sound(&self, time: u32) -> PushedSound {
        match &self.track {
            Track::Passed { format: Format::Aac(_), .. } => PushedSound::Aac,
            Track::Passed { format: Format::Opus, .. } => PushedSound::Opus,
            Track::Silence { .. } => match self.left_out {
                Some(left_out) if time.saturating_sub(left_out) <= SILENT => PushedSound::NotAccepted,
                _ => PushedSound::Silence,
            },
        }
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
                self.opus = command.arguments.iter().any(flv::accepts_opus);
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

//! One media section of an SDP description.

use std::fmt;

use super::candidate::Candidate;
use super::{Malformed, lines};

/// The maximum number of codecs, candidates, streams and header extensions of a section, each.
const MAX_ITEMS: usize = 128;

/// The format of a section of data channels.
pub(in crate::transport) const DATA_FORMAT: &str = "webrtc-datachannel";

/// The media of a section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// Audio.
    Audio,
    /// Video.
    Video,
    /// Data channels.
    Data,
    /// A kind that WebRTC does not have.
    Other(String),
    /// Attributes of the whole session, before any section.
    #[default]
    Session,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Data => "application",
            Self::Other(name) => name,
            Self::Session => "session",
        })
    }
}

/// The direction of media, as seen by the sender of the description.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// From the sender only.
    SendOnly,
    /// To the sender only.
    RecvOnly,
    /// None, for now.
    Inactive,
}

impl Direction {
    /// Returns the direction of sending and receiving.
    pub fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Returns whether the description's sender sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Returns whether the description's sender receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Its name as an attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive].into_iter().find(|d| d.name() == name)
    }
}

/// The DTLS role, from the view of the description's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Either.
    ActPass,
    /// The sender.
    Active,
    /// The other.
    Passive,
}

impl Setup {
    /// Its name in an attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// The fingerprint of the peer's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The hash, such as `sha-256`.
    pub algorithm: String,
    /// Its bytes in hexadecimal, separated by colons.
    pub value: String,
}

/// One entry of the list of formats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Codec {
    /// The number that marks its packets.
    pub payload_type: u8,
    /// The name, such as `H264`; empty if the section does not have it.
    pub name: String,
    /// Ticks per second of its time stamps.
    pub clock: u32,
    /// Audio channels; 0 if the section does not have them.
    pub channels: u16,
    /// The format parameters, as text.
    pub parameters: String,
    /// The RTCP feedback it takes, such as `nack pli`.
    pub feedback: Vec<String>,
}

impl Codec {
    /// Finds a parameter by its name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.split(';').find_map(|p| {
            let (key, value) = p.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A media section, with the attributes of the whole session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// The kind of its media.
    pub kind: Kind,
    /// The port, which has little meaning: with ICE, candidates have the addresses.
    pub port: u16,
    /// Whether the section is unused: its port is 0, and it is in no bundle.
    pub rejected: bool,
    /// Its protocol, such as `UDP/TLS/RTP/SAVPF`.
    pub protocol: String,
    /// Its name among the sections.
    pub mid: String,
    /// Which way media flows.
    pub direction: Direction,
    /// The codecs, most preferred first.
    pub codecs: Vec<Codec>,
    /// The sender's ICE user name fragment.
    pub ufrag: Option<String>,
    /// The sender's ICE password.
    pub pwd: Option<String>,
    /// The fingerprint of the sender's certificate; of several, that of the strongest known hash.
    pub fingerprint: Option<Fingerprint>,
    /// The DTLS role.
    pub setup: Option<Setup>,
    /// The sender's candidates.
    pub candidates: Vec<Candidate>,
    /// The SSRCs of the media.
    pub sources: Vec<u32>,
    /// Pairs of a source and the one that its retransmissions come from.
    pub repairs: Vec<(u32, u32)>,
    /// RTP header extensions: number and name.
    pub extensions: Vec<(u8, String)>,
    /// Whether the section is for the bundle of the first section only.
    pub bundle_only: bool,
    /// The SCTP port of data channels.
    pub sctp_port: Option<u16>,
    /// The longest message of data channels, in bytes.
    pub max_message_size: Option<u32>,
}

/// Checks a `mid`.
pub(super) fn mid(value: &str) -> Result<String, Malformed> {
    lines::word("mid", value, 1, 64)
}

/// Checks an ICE user name fragment.
pub(super) fn ufrag(value: &str) -> Result<String, Malformed> {
    lines::word("ice-ufrag", value, 4, 256)
}

/// Checks an ICE password.
pub(super) fn pwd(value: &str) -> Result<String, Malformed> {
    lines::word("ice-pwd", value, 22, 256)
}

/// Parses a number.
fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Malformed> {
    value.parse().map_err(|_| Malformed::new(format!("{name}: got {value:?}, expected a number in range")))
}

impl Section {
    /// Parses what follows `m=`; attributes of `session` apply until the section has its own.
    pub(super) fn parse(value: &str, session: &Self) -> Result<Self, Malformed> {
        let mut words = value.split_ascii_whitespace();
        let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err(Malformed::new(format!("m={value}: port or protocol missing")));
        };
        let formats: Vec<_> = words.take(MAX_ITEMS).collect();
        let kind = match kind {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            "application" if formats == [DATA_FORMAT] => Kind::Data,
            other => Kind::Other(lines::word("media", other, 1, 32)?),
        };
        let port = port.split('/').next().unwrap_or(port);
        let mut section = Self { kind, port: number("port", port)?, ..session.clone() };
        section.protocol = lines::word("protocol", protocol, 1, 64)?;
        if matches!(section.kind, Kind::Audio | Kind::Video) {
            for format in formats {
                let payload_type = number::<u8>("payload type", format)?;
                if payload_type > 127 {
                    return Err(Malformed::new(format!("payload type: got {payload_type}, expected at most 127")));
                }
                section.codecs.push(Codec { payload_type, ..Codec::default() });
            }
        }
        Ok(section)
    }

    /// Reads what follows `a=`.
    pub(super) fn attribute(&mut self, text: &str) -> Result<(), Malformed> {
        let (name, value) = lines::attribute(text);
        if let Some(direction) = Direction::named(name) {
            self.direction = direction;
            return Ok(());
        }
        match name {
            "mid" => self.mid = mid(value)?,
            "ice-ufrag" => self.ufrag = Some(ufrag(value)?),
            "ice-pwd" => self.pwd = Some(pwd(value)?),
            "fingerprint" => self.fingerprint(value)?,
            "setup" => {
                self.setup = [Setup::ActPass, Setup::Active, Setup::Passive].into_iter().find(|s| s.name() == value);
            }
            "candidate" => {
                let text = format!("candidate:{value}");
                keep(&mut self.candidates, Candidate { text, mid: None, line: None });
            }
            "rtpmap" => self.rtpmap(value)?,
            "fmtp" => {
                if let Some((codec, value)) = self.codec(value) {
                    codec.parameters = value;
                }
            }
            "rtcp-fb" => self.feedback(value),
            "ssrc" => {
                let source = number("ssrc", value.split_ascii_whitespace().next().unwrap_or(value))?;
                if !self.sources.contains(&source) {
                    keep(&mut self.sources, source);
                }
            }
            "ssrc-group" => self.group(value)?,
            "extmap" => self.extension(value),
            "bundle-only" => self.bundle_only = true,
            "sctp-port" => self.sctp_port = Some(number("sctp-port", value)?),
            "max-message-size" => self.max_message_size = Some(number("max-message-size", value)?),
            _ => {}
        }
        Ok(())
    }

    fn fingerprint(&mut self, value: &str) -> Result<(), Malformed> {
        let mut words = value.split_ascii_whitespace();
        let (Some(algorithm), Some(hash), None) = (words.next(), words.next(), words.next()) else {
            return Err(Malformed::new(format!("fingerprint: got {value:?}, expected a hash and its value")));
        };
        let algorithm = algorithm.to_ascii_lowercase();
        let bytes = match algorithm.as_str() {
            "sha-256" => 32,
            "sha-384" => 48,
            "sha-512" => 64,
            // Weaker hashes are not sufficient; a stronger one may be present as well.
            _ => return Ok(()),
        };
        let pairs = hash.split(':').filter(|b| b.len() == 2 && b.bytes().all(|b| b.is_ascii_hexdigit())).count();
        if pairs != bytes || hash.len() != 3 * bytes - 1 {
            return Err(Malformed::new(format!("{algorithm} fingerprint: expected {bytes} bytes separated by colons")));
        }
        if self.fingerprint.as_ref().is_none_or(|known| known.algorithm != "sha-256") {
            self.fingerprint = Some(Fingerprint { algorithm, value: hash.to_ascii_uppercase() });
        }
        Ok(())
    }

    /// The codec that a value of the form `<payload type> <rest>` is about, and the rest.
    fn codec(&mut self, value: &str) -> Option<(&mut Codec, String)> {
        let (payload_type, rest) = value.split_once(' ')?;
        let payload_type: u8 = payload_type.parse().ok()?;
        let codec = self.codecs.iter_mut().find(|c| c.payload_type == payload_type)?;
        Some((codec, rest.trim().to_owned()))
    }

    fn rtpmap(&mut self, value: &str) -> Result<(), Malformed> {
        if let Some((codec, map)) = self.codec(value) {
            let mut parts = map.split('/');
            codec.name = lines::word("codec", parts.next().unwrap_or_default(), 1, 32)?;
            codec.clock = number("clock rate", parts.next().unwrap_or_default())?;
            codec.channels = parts.next().map_or(Ok(0), |c| number("channels", c))?;
        }
        Ok(())
    }

    fn feedback(&mut self, value: &str) {
        if let Some(all) = value.strip_prefix("* ") {
            for codec in &mut self.codecs {
                keep(&mut codec.feedback, all.trim().to_owned());
            }
        } else if let Some((codec, value)) = self.codec(value) {
            keep(&mut codec.feedback, value);
        }
    }

    fn group(&mut self, value: &str) -> Result<(), Malformed> {
        let mut words = value.split_ascii_whitespace();
        if words.next() == Some("FID")
            && let (Some(source), Some(repair)) = (words.next(), words.next())
        {
            keep(&mut self.repairs, (number("ssrc", source)?, number("ssrc", repair)?));
        }
        Ok(())
    }

    fn extension(&mut self, value: &str) {
        let mut words = value.split_ascii_whitespace();
        if let (Some(number), Some(name)) = (words.next(), words.next())
            && let Ok(number) = number.split('/').next().unwrap_or(number).parse::<u8>()
        {
            keep(&mut self.extensions, (number, name.to_owned()));
        }
    }

    pub(super) fn check(&self) -> Result<(), Malformed> {
        if self.mid.is_empty() {
            return Err(Malformed::new("mid: missing"));
        }
        if self.rejected {
            return Ok(());
        }
        for (name, there) in [
            ("ice-ufrag", self.ufrag.is_some()),
            ("ice-pwd", self.pwd.is_some()),
            ("fingerprint of sha-256 or better", self.fingerprint.is_some()),
        ] {
            if !there {
                return Err(Malformed::new(format!("{name}: missing")));
            }
        }
        Ok(())
    }
}

/// Adds an item if there is room.
fn keep<T>(items: &mut Vec<T>, item: T) {
    if items.len() < MAX_ITEMS {
        items.push(item);
    }
}

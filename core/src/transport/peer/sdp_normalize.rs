//! Normalizes a checked SDP description for the WebRTC crate: only what is used, in one form, so that nothing that a
//! peer wrote reaches the crate's own parser unchanged.

use std::fmt::Write as _;

use super::codecs::Choice;
use super::plan::{Plan, Use};
use crate::transport::sdp::{Codec, DATA_FORMAT, Description, Direction, Kind, Section};

/// The header extension by which a receiver reports on the way between (transport-wide congestion control).
pub(super) const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The header extension by which a sender limits the time that a receiver may hold pictures back.
pub(super) const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// The numbers of header extensions in the form with one byte.
const EXTENSION_NUMBERS: std::ops::Range<u8> = 1..15;

/// The most candidates of a description that are tried: each has packets sent to an address of the peer's choice.
const MAX_CANDIDATES: usize = 64;

/// Writes the sections of `description` that `plan` uses; `version` increases with each description of a connection. With
/// `public_only`, candidates that are not public addresses are left out.
pub(super) fn write(description: &Description, plan: &Plan, version: u64, public_only: bool) -> String {
    let used = || description.sections.iter().zip(&plan.uses).filter(|(_, u)| matches!(u, Use::Flows(..) | Use::Data));
    let mids: Vec<_> = used().map(|(s, _)| s.mid.as_str()).collect();
    let mut text =
        format!("v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n", mids.join(" "));
    if description.mixed_extensions {
        text.push_str("a=extmap-allow-mixed\r\n");
    }
    if description.ice_lite {
        text.push_str("a=ice-lite\r\n");
    }
    for (section, used) in used() {
        match used {
            Use::Flows(direction, choice) => media(&mut text, section, *direction, choice),
            Use::Data => data(&mut text, section),
            Use::Idle | Use::Rejected => {}
        }
        let candidates = description
            .live()
            .flat_map(|s| &s.candidates)
            .filter_map(|c| c.usable_from(public_only))
            .take(MAX_CANDIDATES);
        if mids.first() == Some(&section.mid.as_str()) {
            for candidate in candidates {
                line(&mut text, format_args!("a={candidate}"));
            }
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = write!(text, "{line}\r\n");
}

fn transport(text: &mut String, section: &Section) {
    line(text, format_args!("c=IN IP4 0.0.0.0"));
    line(text, format_args!("a=mid:{}", section.mid));
    if let (Some(ufrag), Some(pwd)) = (&section.ufrag, &section.pwd) {
        line(text, format_args!("a=ice-ufrag:{ufrag}"));
        line(text, format_args!("a=ice-pwd:{pwd}"));
    }
    if let Some(fingerprint) = &section.fingerprint {
        line(text, format_args!("a=fingerprint:{} {}", fingerprint.algorithm, fingerprint.value));
    }
    line(text, format_args!("a=setup:{}", section.setup.map_or("actpass", |s| s.name())));
}

fn data(text: &mut String, section: &Section) {
    line(text, format_args!("m=application 9 UDP/DTLS/SCTP {DATA_FORMAT}"));
    transport(text, section);
    line(text, format_args!("a=sctp-port:{}", section.sctp_port.unwrap_or(5000)));
    if let Some(size) = section.max_message_size {
        line(text, format_args!("a=max-message-size:{size}"));
    }
}

/// Writes a section of media; `direction` is as this side sees it, and is written as the peer does.
fn media(text: &mut String, section: &Section, direction: Direction, choice: &Choice) {
    let formats = entries(choice).map(|c| c.payload_type.to_string()).collect::<Vec<_>>().join(" ");
    line(text, format_args!("m={} 9 UDP/TLS/RTP/SAVPF {formats}", section.kind));
    transport(text, section);
    let theirs = Direction::of(direction.receives(), direction.sends());
    line(text, format_args!("a={}", theirs.name()));
    line(text, format_args!("a=rtcp-mux"));
    let extensions = [
        (extension(section, TRANSPORT_CC), TRANSPORT_CC),
        (playout_delay(section).filter(|_| direction.sends()), PLAYOUT_DELAY),
    ];
    for (number, name) in extensions.iter().filter_map(|(number, name)| number.map(|number| (number, name))) {
        line(text, format_args!("a=extmap:{number} {name}"));
    }
    for codec in entries(choice) {
        write_codec(text, codec);
    }
    if theirs.sends() {
        line(text, format_args!("a=msid:peer {}", section.kind));
        sources(text, section);
    }
}

fn extension(section: &Section, uri: &str) -> Option<u8> {
    let found = section.extensions.iter().find(|(number, name)| EXTENSION_NUMBERS.contains(number) && name == uri);
    found.map(|(number, _)| *number)
}

/// Returns the peer's number of the header extension with the playout delay, for a section of video.
pub(super) fn playout_delay(section: &Section) -> Option<u8> {
    if section.kind == Kind::Video { extension(section, PLAYOUT_DELAY) } else { None }
}

/// Writes the first source and that of its retransmissions; more would be layers, which are not asked for.
fn sources(text: &mut String, section: &Section) {
    let is_repair = |source: &&u32| section.repairs.iter().any(|(_, repair)| repair == *source);
    let Some(source) = section.sources.iter().find(|s| !is_repair(s)) else { return };
    let repair = section.repairs.iter().find(|(of, _)| of == source).map(|(_, repair)| repair);
    if let Some(repair) = repair {
        line(text, format_args!("a=ssrc-group:FID {source} {repair}"));
    }
    for source in [Some(source), repair].into_iter().flatten() {
        line(text, format_args!("a=ssrc:{source} cname:peer"));
    }
}

pub(super) fn entries(choice: &Choice) -> impl Iterator<Item = &Codec> {
    [Some(&choice.entry), choice.repair.as_ref()].into_iter().flatten()
}

/// Writes the attributes of a codec.
pub(super) fn write_codec(text: &mut String, codec: &Codec) {
    let channels = if codec.channels > 0 { format!("/{}", codec.channels) } else { String::new() };
    let payload_type = codec.payload_type;
    line(text, format_args!("a=rtpmap:{payload_type} {}/{}{channels}", codec.name, codec.clock));
    if !codec.parameters.is_empty() {
        line(text, format_args!("a=fmtp:{payload_type} {}", codec.parameters));
    }
    for feedback in &codec.feedback {
        line(text, format_args!("a=rtcp-fb:{payload_type} {feedback}"));
    }
}

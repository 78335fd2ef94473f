//! Creates the SDP answer from the crate's: each section of the offer in its place, candidates in order of preference.

use std::net::IpAddr;

use super::options::{IceTransportPolicy, PeerOptions};
use super::plan::{Plan, Use};
use super::sdp_normalize::write_codec;
use crate::transport::sdp::{Candidate, Codec, DATA_FORMAT, Description, Kind, Section};

/// The longest answer, in bytes: some clients read no more.
pub(super) const MAX_ANSWER: usize = 8192;
/// The most candidates of a description.
const MAX_CANDIDATES: usize = 16;

/// How peers see this side's candidates.
#[derive(Debug, Clone, Copy)]
pub(super) struct CandidateRules {
    /// Precedes the host candidates, if there is one.
    public_ip: Option<IpAddr>,
    /// Leaves out the addresses of this machine from which relayed candidates were allocated.
    hides_bases: bool,
}

impl CandidateRules {
    pub(super) fn of(options: &PeerOptions) -> Self {
        let hides_bases = options.ice_transport_policy == IceTransportPolicy::Relay;
        Self { public_ip: options.public_ip, hides_bases }
    }

    /// Returns the candidates of a description that the crate wrote, the best first, since some peers try only that.
    pub(super) fn apply(self, written: &str) -> Vec<String> {
        let mut found = best_first(written);
        if let Some(public) = self.public_ip {
            let mapped: Vec<String> = found.iter().filter_map(|c| mapped(c, public)).collect();
            found.splice(0..0, mapped);
        }
        if self.hides_bases {
            found.iter_mut().for_each(hide_base);
        }
        found
    }
}

/// Replaces the related address of a candidate by the unspecified one.
fn hide_base(candidate: &mut String) {
    if let Some(at) = candidate.find(" raddr ") {
        candidate.truncate(at);
        candidate.push_str(" raddr 0.0.0.0 rport 0");
    }
}

/// The parts of a description.
struct Blocks<'a> {
    session: Vec<&'a str>,
    media: Vec<Vec<&'a str>>,
}

impl<'a> Blocks<'a> {
    fn new(text: &'a str) -> Self {
        let mut blocks = Self { session: Vec::new(), media: Vec::new() };
        for line in text.lines().filter(|l| !l.is_empty()) {
            if line.starts_with("m=") {
                blocks.media.push(vec![line]);
            } else {
                blocks.media.last_mut().unwrap_or(&mut blocks.session).push(line);
            }
        }
        blocks
    }

    fn of_mid(&self, mid: &str) -> Option<&[&'a str]> {
        self.media.iter().find(|b| attribute(b, "mid") == Some(mid)).map(Vec::as_slice)
    }
}

fn attribute<'a>(block: &[&'a str], name: &str) -> Option<&'a str> {
    block.iter().find_map(|l| l.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

/// Composes the answer to `offer` of the text that the crate wrote for the sections that are used.
pub(super) fn answer(offer: &Description, plan: &Plan, written: &str, rules: CandidateRules) -> String {
    let blocks = Blocks::new(written);
    let kept = || offer.sections.iter().zip(&plan.uses).filter(|(_, u)| **u != Use::Rejected);
    let mut lines: Vec<String> = Vec::new();
    for line in &blocks.session {
        if !line.starts_with("a=group:") {
            lines.push((*line).to_owned());
        } else if !offer.bundle.is_empty() {
            let mids = kept().map(|(s, _)| s.mid.as_str()).collect::<Vec<_>>().join(" ");
            lines.push(format!("a=group:BUNDLE {mids}"));
        }
    }
    // A server does not send further candidates.
    let mut candidates = Some(candidate_lines(&rules.apply(written), true));
    for (section, used) in offer.sections.iter().zip(&plan.uses) {
        match (used, blocks.of_mid(&section.mid)) {
            (Use::Flows(..) | Use::Data, Some(block)) => lines.extend(written_section(section, block)),
            (Use::Idle, _) => lines.extend(idle_section(section, &blocks)),
            (Use::Flows(..) | Use::Data | Use::Rejected, _) => lines.extend(rejected_section(section)),
        }
        if *used != Use::Rejected
            && let Some(candidates) = candidates.take()
        {
            lines.extend(candidates);
        }
    }
    join(lines)
}

/// Puts `candidates` in the place of those that the crate wrote into an offer. Unless they are `complete`, the offer
/// announces further ones.
pub(super) fn offer(written: &str, candidates: &[String], complete: bool) -> String {
    let blocks = Blocks::new(written);
    let mut lines: Vec<String> = blocks.session.iter().map(|l| (*l).to_owned()).collect();
    if !complete && !written.contains("a=ice-options:") {
        lines.push("a=ice-options:trickle".to_owned());
    }
    let mut candidates = Some(candidate_lines(candidates, complete));
    for block in &blocks.media {
        lines.extend(without_candidates(block));
        lines.extend(candidates.take().into_iter().flatten());
    }
    join(lines)
}

fn join(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| line + "\r\n").collect()
}

fn without_candidates<'a>(block: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    block.iter().filter(|l| !l.starts_with("a=candidate:") && **l != "a=end-of-candidates").map(|l| (*l).to_owned())
}

/// The crate's section, with the offer's protocol.
fn written_section(section: &Section, block: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = without_candidates(block).collect();
    if let Some(first) = lines.first_mut() {
        let formats = first.split(' ').skip(3).collect::<Vec<_>>().join(" ");
        *first = format!("m={} 9 {} {formats}", section.kind, section.protocol);
    }
    lines
}

/// Writes a section that stays in the bundle while nothing flows.
fn idle_section(section: &Section, blocks: &Blocks<'_>) -> Vec<String> {
    let fallback = Codec { name: "opus".to_owned(), clock: 48_000, channels: 2, ..Codec::default() };
    let named = section.codecs.iter().find(|c| !c.name.is_empty() && c.clock > 0);
    let codec = named.or(section.codecs.first()).unwrap_or(&fallback);
    let mut lines = vec![
        format!("m={} 9 {} {}", section.kind, section.protocol, codec.payload_type),
        "c=IN IP4 0.0.0.0".to_owned(),
    ];
    if let Some(model) = blocks.media.first() {
        for name in ["setup", "ice-ufrag", "ice-pwd", "fingerprint"] {
            lines.extend(attribute(model, name).map(|value| format!("a={name}:{value}")));
        }
    }
    lines.extend([format!("a=mid:{}", section.mid), "a=rtcp-mux".to_owned(), "a=inactive".to_owned()]);
    if !codec.name.is_empty() {
        let mut text = String::new();
        write_codec(&mut text, &Codec { feedback: Vec::new(), ..codec.clone() });
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

fn rejected_section(section: &Section) -> Vec<String> {
    let formats = match (&section.kind, section.codecs.first()) {
        (Kind::Data, _) => DATA_FORMAT.to_owned(),
        (_, Some(codec)) => codec.payload_type.to_string(),
        (_, None) => "0".to_owned(),
    };
    vec![
        format!("m={} 0 {} {formats}", section.kind, section.protocol),
        "c=IN IP4 0.0.0.0".to_owned(),
        format!("a=mid:{}", section.mid),
        "a=inactive".to_owned(),
    ]
}

fn candidate_lines(candidates: &[String], complete: bool) -> Vec<String> {
    let lines = candidates.iter().take(MAX_CANDIDATES).map(|c| format!("a={c}"));
    lines.chain(complete.then(|| "a=end-of-candidates".to_owned())).collect()
}

/// The candidates in a description's text, each once: IPv4 host, IPv6 host, then others; loopback last of its kind.
fn best_first(written: &str) -> Vec<String> {
    let mut found: Vec<(_, String)> = Vec::new();
    for text in written.lines().filter_map(|l| l.strip_prefix("a=candidate:")) {
        // Component 2 would be RTCP on its own, which is multiplexed.
        let first = text.split(' ').nth(1) == Some("1");
        let candidate = Candidate { text: text.to_owned(), ..Candidate::default() };
        if let (true, Some(usable)) = (first, candidate.usable()) {
            let address = address(&usable);
            let rank = (
                !usable.contains(" typ host"),
                address.is_some_and(|a| a.is_loopback()),
                address.is_some_and(|a| a.is_ipv6()),
            );
            if !found.iter().any(|(_, known)| *known == usable) {
                found.push((rank, usable));
            }
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, text)| text).collect()
}

fn address(candidate: &str) -> Option<IpAddr> {
    candidate.split(' ').nth(4)?.parse().ok()
}

/// A host candidate with the public address in place of its own.
fn mapped(candidate: &str, public: IpAddr) -> Option<String> {
    let own = address(candidate).filter(|a| !a.is_loopback() && a.is_ipv4() == public.is_ipv4())?;
    candidate.contains(" typ host").then(|| candidate.replacen(&format!(" {own} "), &format!(" {public} "), 1))
}

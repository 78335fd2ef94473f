//! ICE candidates (RFC 8839).

use std::net::IpAddr;

use crate::transport::public_address::is_public;

/// A candidate and the media section it was given for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// The attribute's value, from `candidate:` on.
    pub text: String,
    /// The section's `mid`, if known.
    pub mid: Option<String>,
    /// The section's index, if known.
    pub line: Option<u16>,
}

impl Candidate {
    /// Returns the candidate in its standard form, if it can be used: UDP to an IP address.
    ///
    /// The component is set to 1 (one transport carries all; some clients send 0). `None` for mDNS names (`….local`),
    /// TCP and the second component: the peer's checks find a path without them.
    pub fn usable(&self) -> Option<String> {
        self.read().map(|(_, text)| text)
    }

    /// Like [`usable`](Self::usable); with `public_only`, `None` for addresses outside of the public internet, too.
    pub(in crate::transport) fn usable_from(&self, public_only: bool) -> Option<String> {
        self.read().filter(|(address, _)| !public_only || is_public(*address)).map(|(_, text)| text)
    }

    /// Returns the candidate's address, and its normalized form.
    fn read(&self) -> Option<(IpAddr, String)> {
        let text = self.text.strip_prefix("a=").unwrap_or(&self.text);
        let text = text.strip_prefix("candidate:").unwrap_or(text);
        let mut words = text.split_ascii_whitespace();
        let foundation = words.next().filter(|w| w.len() <= 32 && w.bytes().all(|b| b.is_ascii_graphic()))?;
        let component: u32 = words.next()?.parse().ok()?;
        let transport = words.next()?;
        let priority: u32 = words.next()?.parse().ok()?;
        let address: IpAddr = words.next()?.parse().ok()?;
        let port: u16 = words.next()?.parse().ok()?;
        let kind = if words.next()? == "typ" { words.next()? } else { return None };
        if component > 1 || !transport.eq_ignore_ascii_case("udp") || port == 0 || address.is_unspecified() {
            return None;
        }
        let related = match kind {
            "host" => String::new(),
            "srflx" | "prflx" | "relay" => related(words)?,
            _ => return None,
        };
        Some((address, format!("candidate:{foundation} 1 udp {priority} {address} {port} typ {kind}{related}")))
    }
}

/// The base address of a reflexive or relayed candidate; the unspecified one if it is absent.
fn related<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let words: Vec<_> = words.take(4).collect();
    let (address, port) = match words.as_slice() {
        ["raddr", address, "rport", port] => (address.parse().ok()?, port.parse().ok()?),
        _ => (IpAddr::from([0, 0, 0, 0]), 0_u16),
    };
    Some(format!(" raddr {address} rport {port}"))
}

//! Follows the address of a peer whose NAT assigns another port or address to it (a NAT rebinding).
//!
//! The WebRTC crate keeps the candidate pair that it has selected. If the peer's packets arrive from another address, it
//! continues to send to the previous one, and gives up the connection after ten seconds. Here, the addresses are
//! translated below it: what it sends to the address that it knows is sent to where the peer is, and what arrives from
//! there seems to be from the address that it knows.
//!
//! An address is followed once the crate has answered a connectivity check from it with success, for which it verifies
//! the credentials of the ICE session, and once nothing has arrived from the previous address for [`SILENCE`]. The
//! crate's own checks, which the peer has to answer (RFC 7675), then go to the new address, too.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The time without packets from an address after which another one is followed. A peer sends more often: its checks
/// and reports.
const SILENCE: Duration = Duration::from_millis(500);
/// The most checks from other addresses that wait for the crate's answer.
const MAX_CHECKS: usize = 16;

/// The transaction of a STUN message.
type Transaction = [u8; 12];

/// The addresses of the peer of one socket. It reads no clock: callers pass the time.
#[derive(Debug, Default)]
pub(super) struct PeerAddress {
    /// The address that the crate sends media to, once it does.
    route: Option<Route>,
    /// Recent checks from other addresses.
    checks: VecDeque<(Transaction, SocketAddr)>,
    /// The other address whose credentials the crate has verified last.
    verified: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Route {
    /// The peer's address as the crate knows it.
    known: SocketAddr,
    /// Where the peer is.
    current: SocketAddr,
    /// When something last arrived from there.
    heard: Instant,
}

impl PeerAddress {
    /// Takes a datagram that arrived from `from`; returns the address to pass to the crate.
    pub(super) fn received(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> SocketAddr {
        let Some(route) = &mut self.route else { return from };
        if from == route.current {
            route.heard = now;
            return route.known;
        }
        if self.verified == Some(from) && now.saturating_duration_since(route.heard) >= SILENCE {
            tracing::debug!(previous = %route.current, new = %from, "the address of a peer has changed");
            // The previous one is followed again if the peer returns to it.
            self.verified = Some(route.current);
            (route.current, route.heard) = (from, now);
            return route.known;
        }
        if let Some((Check::Request, transaction)) = check(datagram) {
            self.checks.truncate(MAX_CHECKS - 1);
            self.checks.push_front((transaction, from));
        }
        from
    }

    /// Takes a datagram that the crate sends to `to`; returns the address to send it to.
    pub(super) fn sent(&mut self, to: SocketAddr, datagram: &[u8], now: Instant) -> SocketAddr {
        if is_media(datagram) && self.route.is_none_or(|route| route.known != to) {
            // The first, or that of another candidate pair after an ICE restart.
            *self = Self { route: Some(Route { known: to, current: to, heard: now }), ..Self::default() };
        }
        let Some(route) = self.route else { return to };
        if to == route.known {
            return route.current;
        }
        if let Some((Check::Success, transaction)) = check(datagram)
            && self.checks.contains(&(transaction, to))
        {
            self.checks.retain(|(other, _)| *other != transaction);
            self.verified = Some(to);
        }
        to
    }
}

/// Returns whether it is of DTLS or of (S)RTP, which are sent to the selected candidate pair only (RFC 7983).
fn is_media(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| matches!(first, 20..=63 | 128..=191))
}

/// The kinds of connectivity checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Request,
    Success,
}

/// Reads the kind and the transaction of a binding request, or of its success response.
fn check(datagram: &[u8]) -> Option<(Check, Transaction)> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let kind = match datagram.get(..2)? {
        [0x00, 0x01] => Check::Request,
        [0x01, 0x01] => Check::Success,
        _ => return None,
    };
    let transaction = datagram.get(8..20)?.try_into().ok()?;
    (datagram.get(4..8)? == COOKIE).then_some((kind, transaction))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIA: &[u8] = &[0x80, 96, 0, 1];
    const MS: Duration = Duration::from_millis(1);

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn stun(kind: [u8; 2], transaction: u8) -> Vec<u8> {
        [&kind[..], &[0, 0, 0x21, 0x12, 0xa4, 0x42], &[transaction; 12]].concat()
    }

    fn request(transaction: u8) -> Vec<u8> {
        stun([0, 1], transaction)
    }

    fn success(transaction: u8) -> Vec<u8> {
        stun([1, 1], transaction)
    }

    /// One whose peer is at port 1.
    fn connected(start: Instant) -> PeerAddress {
        let mut peer = PeerAddress::default();
        assert_eq!(peer.sent(address(1), MEDIA, start), address(1));
        assert_eq!(peer.received(address(1), MEDIA, start), address(1));
        peer
    }

    /// Has the crate answer a check from a port.
    fn verify(peer: &mut PeerAddress, port: u16, now: Instant) {
        assert_eq!(peer.received(address(port), &request(port as u8), now), address(port));
        assert_eq!(peer.sent(address(port), &success(port as u8), now), address(port));
    }

    #[test]
    fn a_verified_address_is_followed_once_the_previous_one_is_silent() {
        let start = Instant::now();
        let mut peer = connected(start);
        verify(&mut peer, 2, start + MS * 100);
        assert_eq!(peer.received(address(2), MEDIA, start + MS * 499), address(2));
        assert_eq!(peer.sent(address(1), MEDIA, start + MS * 499), address(1));
        assert_eq!(peer.received(address(2), MEDIA, start + MS * 500), address(1));
        for datagram in [MEDIA, &request(9), &success(9)] {
            assert_eq!(peer.sent(address(1), datagram, start + MS * 501), address(2));
        }
        assert_eq!(peer.received(address(2), &request(8), start + MS * 502), address(1));
    }

    #[test]
    fn an_address_that_the_crate_has_not_verified_is_not_followed() {
        let start = Instant::now();
        let mut peer = connected(start);
        let late = start + MS * 5000;
        assert_eq!(peer.received(address(2), MEDIA, late), address(2));
        assert_eq!(peer.received(address(2), &request(5), late), address(2));
        // An error, the success of another transaction, and a success to another address.
        peer.sent(address(2), &stun([1, 0x11], 5), late);
        peer.sent(address(2), &success(6), late);
        peer.sent(address(3), &success(5), late);
        assert_eq!(peer.received(address(2), MEDIA, late), address(2));
        assert_eq!(peer.sent(address(1), MEDIA, late), address(1));
    }

    #[test]
    fn an_address_is_not_followed_while_packets_arrive_from_the_previous_one() {
        let start = Instant::now();
        let mut peer = connected(start);
        verify(&mut peer, 2, start);
        for step in 1..20 {
            let now = start + MS * 400 * step;
            assert_eq!(peer.received(address(1), MEDIA, now), address(1));
            assert_eq!(peer.received(address(2), MEDIA, now + MS), address(2));
            assert_eq!(peer.sent(address(1), MEDIA, now + MS), address(1));
        }
    }

    #[test]
    fn a_peer_can_return_to_its_previous_address_and_move_again() {
        let start = Instant::now();
        let mut peer = connected(start);
        verify(&mut peer, 2, start);
        assert_eq!(peer.received(address(2), MEDIA, start + MS * 600), address(1));
        assert_eq!(peer.received(address(1), MEDIA, start + MS * 1200), address(1));
        assert_eq!(peer.sent(address(1), MEDIA, start + MS * 1200), address(1));
        verify(&mut peer, 3, start + MS * 1300);
        assert_eq!(peer.received(address(3), MEDIA, start + MS * 1800), address(1));
        assert_eq!(peer.sent(address(1), MEDIA, start + MS * 1800), address(3));
    }

    #[test]
    fn another_selected_pair_is_sent_to_directly() {
        let start = Instant::now();
        let mut peer = connected(start);
        verify(&mut peer, 2, start);
        assert_eq!(peer.received(address(2), MEDIA, start + MS * 600), address(1));
        assert_eq!(peer.sent(address(4), MEDIA, start + MS * 700), address(4));
        assert_eq!(peer.received(address(4), MEDIA, start + MS * 700), address(4));
        assert_eq!(peer.sent(address(1), &request(1), start + MS * 700), address(1));
    }

    #[test]
    fn checks_that_wait_are_bounded() {
        let start = Instant::now();
        let mut peer = connected(start);
        for port in 2..200 {
            peer.received(address(port), &request(port as u8), start);
        }
        assert_eq!(peer.checks.len(), MAX_CHECKS);
        peer.sent(address(199), &success(199), start);
        assert_eq!(peer.verified, Some(address(199)));
    }

    #[test]
    fn messages_that_are_no_checks_are_ignored() {
        assert_eq!(check(&request(3)), Some((Check::Request, [3; 12])));
        assert_eq!(check(&success(3)), Some((Check::Success, [3; 12])));
        let mut other_cookie = request(3);
        other_cookie[4] = 0;
        for datagram in [&[][..], &request(3)[..19], &other_cookie, &stun([0, 0x11], 3), MEDIA] {
            assert_eq!(check(datagram), None);
        }
    }
}

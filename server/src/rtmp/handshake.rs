//! The RTMP handshake in its simple form, which all encoders and services support: each side sends 1536 bytes and
//! echoes those of the other.

use super::RtmpError;

/// Bytes of each of the three packets after the version.
const PACKET: usize = 1536;

/// The only version without encryption.
const VERSION: u8 = 3;

/// One side of a handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    received: Vec<u8>,
    // Whether the other side's packet was echoed.
    echoed: bool,
}

impl Handshake {
    /// Writes version and packet. The packet is meant to be random; nothing depends on it.
    pub(super) fn start(out: &mut Vec<u8>) -> Self {
        out.push(VERSION);
        out.extend_from_slice(&[0; 8]);
        out.extend((8..PACKET).map(|at| (at as u8).wrapping_mul(151)));
        Self { received: Vec::new(), echoed: false }
    }

    /// Accepts bytes of the other side, and answers; returns the bytes after the handshake once it is complete.
    pub(super) fn input(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<Vec<u8>>, RtmpError> {
        self.received.extend_from_slice(bytes);
        match self.received.first() {
            Some(&VERSION) | None => {}
            Some(_) => return Err(RtmpError::Malformed("first byte: expected version 3 of RTMP")),
        }
        if let (false, Some(packet)) = (self.echoed, self.received.get(1..=PACKET)) {
            out.extend_from_slice(packet);
            self.echoed = true;
        }
        if self.received.len() < 1 + 2 * PACKET {
            return Ok(None);
        }
        Ok(Some(self.received.split_off(1 + 2 * PACKET)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_completes_for_any_fragmentation() {
        for piece in [1, 700, 5000] {
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            let mut client = Handshake::start(&mut to_server);
            let mut server = Handshake::start(&mut to_client);
            let (mut at_server, mut at_client) = (None, None);
            while at_server.is_none() || at_client.is_none() {
                for piece in std::mem::take(&mut to_server).chunks(piece) {
                    at_server = server.input(piece, &mut to_client).unwrap();
                }
                for piece in std::mem::take(&mut to_client).chunks(piece) {
                    at_client = client.input(piece, &mut to_server).unwrap();
                }
            }
            assert_eq!((at_server, at_client), (Some(Vec::new()), Some(Vec::new())));
        }
    }

    #[test]
    fn what_follows_is_handed_on_and_other_protocols_are_refused() {
        let mut handshake = Handshake::start(&mut Vec::new());
        let mut bytes = vec![3; 1 + 2 * PACKET];
        bytes.extend_from_slice(b"rest");
        assert_eq!(handshake.input(&bytes, &mut Vec::new()).unwrap().as_deref(), Some(&b"rest"[..]));
        let mut handshake = Handshake::start(&mut Vec::new());
        assert!(handshake.input(b"GET / HTTP/1.1", &mut Vec::new()).is_err());
    }
}

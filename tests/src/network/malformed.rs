//! Datagrams that claim to be of a protocol of WebRTC and violate it.

use super::random::Random;

/// What a malformed datagram claims to be, as receivers determine it from the first byte (RFC 7983).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// A STUN message with wrong lengths and attributes, and without a valid integrity attribute.
    Stun,
    /// A DTLS record with a wrong length or content, or an alert that is not encrypted.
    Dtls,
    /// An RTP packet with the header of a packet of the session, and with wrong lengths or a wrong authentication tag.
    Rtp,
    /// An RTCP packet with wrong lengths or a wrong authentication tag.
    Rtcp,
    /// Any bytes, or none.
    Noise,
}

impl Malformed {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Stun, Self::Dtls, Self::Rtp, Self::Rtcp, Self::Noise];

    /// Makes a datagram; `packet` is one of the session, in the same direction.
    pub(super) fn datagram(self, packet: &[u8], random: &mut Random) -> Vec<u8> {
        let mut datagram = match self {
            Self::Stun => stun(random),
            Self::Dtls => dtls(random),
            Self::Rtp => rtp(packet, random),
            Self::Rtcp => rtcp(random),
            Self::Noise => {
                let length = random.choose(&[0, 1, 2, 11, 12, 20, 100, 1200]).unwrap_or(0);
                random.bytes(length).collect()
            }
        };
        if random.is_one_of(250) {
            datagram.truncate(random.below(datagram.len() as u32 + 1) as usize);
        }
        datagram
    }
}

fn stun(random: &mut Random) -> Vec<u8> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    // Requests, indications, successes and errors of the method Binding, and another method.
    let kind: u16 = random.choose(&[0x0001, 0x0011, 0x0101, 0x0111, 0x0003]).unwrap_or(1);
    let body = random.between(0, 200);
    let length: u16 = random.choose(&[body as u16, 0, 3, 0xfffc, 0xffff]).unwrap_or(0);
    let cookie = if random.is_one_of(750) { COOKIE } else { [0; 4] };
    let mut datagram = [kind.to_be_bytes(), length.to_be_bytes()].concat();
    datagram.extend(cookie);
    datagram.extend(random.bytes(12));
    let end = datagram.len() + body as usize;
    while datagram.len() < end {
        // User name, message integrity, error code, priority, use candidate, fingerprint, controlled, controlling.
        let kinds: [u16; 8] = [0x0006, 0x0008, 0x0009, 0x0024, 0x0025, 0x8028, 0x8029, 0x802a];
        let (kind, bytes) = (random.choose(&kinds).unwrap_or(6), random.between(0, 40));
        let length: u16 = random.choose(&[bytes as u16, bytes as u16, 0, 0xffff]).unwrap_or(0);
        datagram.extend(kind.to_be_bytes());
        datagram.extend(length.to_be_bytes());
        datagram.extend(random.bytes(bytes));
    }
    datagram
}

fn dtls(random: &mut Random) -> Vec<u8> {
    // Change of the cipher, alert, handshake, application data, and a type that does not exist.
    let kind: u8 = random.choose(&[20, 21, 21, 22, 22, 23, 25, 63]).unwrap_or(22);
    let body: Vec<u8> = match kind {
        // Fatal alerts and one that closes, without encryption.
        21 => random.choose(&[[2, 40], [2, 20], [1, 0], [2, 255]]).unwrap_or([1, 0]).to_vec(),
        // A ClientHello, a HelloRequest or a Finished whose fragment is longer than its message.
        22 => {
            let kind = random.choose(&[1, 0, 20, 99]).unwrap_or(1);
            let mut body = vec![kind, 0, 0, 50, 0, 0, 0, 0, 10, 0xff, 0xff, 0xff];
            body.extend(random.bytes(60));
            body
        }
        _ => {
            let length = random.between(0, 300);
            random.bytes(length).collect()
        }
    };
    let epoch: u16 = random.choose(&[0, 0, 1, 2, 0xffff]).unwrap_or(0);
    let length: u16 = random.choose(&[body.len() as u16, body.len() as u16, 0, 0xffff]).unwrap_or(0);
    let version: [u8; 2] = random.choose(&[[0xfe, 0xfd], [0xfe, 0xfd], [0xfe, 0xff], [3, 3]]).unwrap_or([0xfe, 0xfd]);
    let mut datagram = vec![kind];
    datagram.extend(version);
    datagram.extend(epoch.to_be_bytes());
    datagram.extend(random.bytes(6));
    datagram.extend(length.to_be_bytes());
    datagram.extend(body);
    datagram
}

fn rtp(packet: &[u8], random: &mut Random) -> Vec<u8> {
    let is_rtp = packet.len() >= 12 && packet[0] >> 6 == 2 && !(192..=223).contains(&packet[1]);
    let mut datagram = if is_rtp { packet[..12].to_vec() } else { vec![0x80, 96, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4] };
    // Padding, an extension and the number of sources: more than the packet has.
    datagram[0] = random.choose(&[0x80, 0x90, 0xa0, 0x8f, 0xbf]).unwrap_or(0x80);
    if random.is_one_of(500) {
        // A sequence number far from those of the session.
        datagram[2] ^= 0x80;
    }
    let length = random.between(0, 200);
    datagram.extend(random.bytes(length));
    datagram
}

fn rtcp(random: &mut Random) -> Vec<u8> {
    let count = random.choose(&[0x80, 0x81, 0x9f, 0xa1]).unwrap_or(0x80);
    let kind = random.choose(&[200, 201, 202, 203, 204, 205, 206, 207]).unwrap_or(200);
    let words: u16 = random.choose(&[0, 1, 7, 0xffff]).unwrap_or(0);
    let mut datagram = vec![count, kind];
    datagram.extend(words.to_be_bytes());
    let length = random.between(0, 100);
    datagram.extend(random.bytes(length));
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_selects_the_protocol() {
        let mut random = Random::new(1);
        for _ in 0..500 {
            for (kind, range) in [
                (Malformed::Stun, 0..=3),
                (Malformed::Dtls, 20..=63),
                (Malformed::Rtp, 128..=191),
                (Malformed::Rtcp, 128..=191),
            ] {
                let datagram = kind.datagram(&[0x80; 40], &mut random);
                assert!(datagram.first().is_none_or(|first| range.contains(first)), "{kind:?}: {datagram:?}");
                assert!(datagram.len() < 1500, "{kind:?}");
            }
        }
    }

    #[test]
    fn rtp_has_the_source_of_the_session() {
        let packet: Vec<u8> = (0..60).map(|byte| byte | 0x80).collect();
        let mut random = Random::new(2);
        let made: Vec<_> = (0..50).map(|_| Malformed::Rtp.datagram(&packet, &mut random)).collect();
        let whole = || made.iter().filter(|datagram| datagram.len() >= 12);
        assert!(whole().count() > 25);
        assert!(whole().all(|datagram| datagram[8..12] == packet[8..12]));
    }
}

//! Reads datagrams: messages, and bundles of them.

use rosc::{OscPacket, OscType};

/// The first part of every address.
const ROOT: &str = "dreamframe";
/// The most messages in a packet.
const MOST_MESSAGES: usize = 256;
/// The most bundles in a packet, and the most brackets: a decoder that calls itself for each must not exhaust the stack.
const MOST_BUNDLES: usize = 32;
const MOST_BRACKETS: usize = 256;
const BUNDLE: &[u8] = b"#bundle\0";
/// The most parts of a parameter's path, and their bytes.
const MOST_PARTS: usize = 16;
const LONGEST_PATH: usize = 1024;

/// Why a packet, or a part of it, changes nothing.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum OscError {
    #[error("packet: {0}")]
    Packet(String),
    /// An address that names nothing, or values that its parameter cannot have.
    #[error("{address}: {reason}")]
    Message { address: String, reason: String },
    /// Values that are refused as those of a request are.
    #[error("stream {stream}: {reason}")]
    Refused { stream: String, reason: String },
}

impl OscError {
    /// The error of the message to `address`, which may be any text of any length.
    pub(super) fn message(address: &str, reason: impl Into<String>) -> Self {
        const LONGEST: usize = 96;
        let start: String = address.chars().take(LONGEST).collect();
        let more = if start.len() < address.len() { "…" } else { "" };
        Self::Message { address: format!("{}{more}", start.escape_debug()), reason: reason.into() }
    }
}

/// A message, whose address is `/dreamframe/<stream>/<parameter>`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) stream: String,
    /// The parts of the parameter's path, at least one.
    pub(super) path: Vec<String>,
    pub(super) values: Vec<OscType>,
}

impl Message {
    fn new(address: &str, values: Vec<OscType>) -> Result<Self, OscError> {
        let wrong = || OscError::message(address, "expected an address such as /dreamframe/<stream>/delta");
        let mut parts = address.strip_prefix('/').ok_or_else(wrong)?.split('/').map(str::to_owned);
        let (root, stream) = (parts.next(), parts.next().filter(|name| !name.is_empty()));
        if root.as_deref() != Some(ROOT) {
            return Err(wrong());
        }
        let stream = stream.ok_or_else(wrong)?;
        if address.len() > LONGEST_PATH {
            let reason = format!("got {} bytes, expected at most {LONGEST_PATH}", address.len());
            return Err(OscError::message(address, reason));
        }
        let path: Vec<_> = parts.collect();
        if path.is_empty() || path.len() > MOST_PARTS || path.iter().any(String::is_empty) {
            return Err(wrong());
        }
        Ok(Self { stream, path, values })
    }

    /// The address that it came with.
    pub(super) fn address(&self) -> String {
        format!("/{ROOT}/{}/{}", self.stream, self.path.join("/"))
    }
}

/// Reads all messages of a packet, in order. The times of bundles are not taken into account: all are due now.
///
/// # Errors
///
/// `Packet` if it is no OSC packet, or exceeds a limit; `Message` for an address that is none of this server.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Message>, OscError> {
    let (bundles, brackets) = (count(bytes, BUNDLE), count(bytes, b"["));
    if bundles > MOST_BUNDLES {
        return Err(OscError::Packet(format!("got {bundles} bundles, expected at most {MOST_BUNDLES}")));
    }
    if brackets > MOST_BRACKETS {
        return Err(OscError::Packet(format!("got {brackets} lists, expected at most {MOST_BRACKETS}")));
    }
    // The texts of the crate's errors have parts of the packet.
    let printable = |error: rosc::OscError| OscError::Packet(error.to_string().replace(char::is_control, "?"));
    let (rest, packet) = rosc::decoder::decode_udp(bytes).map_err(printable)?;
    if matches!(packet, OscPacket::Bundle(_)) && !rest.is_empty() {
        return Err(OscError::Packet(format!("got {} bytes of a bundle that are no messages", rest.len())));
    }
    let mut messages = Vec::new();
    collect(packet, &mut messages)?;
    Ok(messages)
}

fn collect(packet: OscPacket, messages: &mut Vec<Message>) -> Result<(), OscError> {
    match packet {
        OscPacket::Message(_) if messages.len() == MOST_MESSAGES => {
            Err(OscError::Packet(format!("got more than {MOST_MESSAGES} messages, expected at most as many")))
        }
        OscPacket::Message(message) => {
            messages.push(Message::new(&message.addr, message.args)?);
            Ok(())
        }
        OscPacket::Bundle(bundle) => bundle.content.into_iter().try_for_each(|inner| collect(inner, messages)),
    }
}

fn count(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).filter(|window| *window == what).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn an_address_names_a_stream_and_a_path() {
        let messages = read(b"/dreamframe/a/ip_adapter/scale\0\0,f\0\0\x3f\x00\0\0").unwrap();
        let [Message { stream, path, values }] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!((stream.as_str(), path.join(" ").as_str()), ("a", "ip_adapter scale"));
        assert_eq!(*values, [OscType::Float(0.5)]);
        assert_eq!(messages[0].address(), "/dreamframe/a/ip_adapter/scale");
        for address in ["/other/a/delta", "/dreamframe", "/dreamframe/a", "/dreamframe//delta", "/dreamframe/a/delta/"]
        {
            assert!(Message::new(address, Vec::new()).is_err(), "{address}");
        }
        assert!(Message::new(&format!("/dreamframe/a{}", "/b".repeat(17)), Vec::new()).is_err());
        assert!(Message::new(&format!("/dreamframe/a/{}", "b".repeat(1024)), Vec::new()).is_err());
    }

    /// A bundle inside a bundle, and so on, each in the form of an element of the one around it.
    fn nested(depth: usize) -> Vec<u8> {
        let mut packet = b"/dreamframe/a/delta\0,i\0\0\0\0\0\x01".to_vec();
        for _ in 0..depth {
            let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
            packet = [BUNDLE, &[0; 8], &length, &packet].concat();
        }
        packet
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(read(&nested(MOST_BUNDLES)).unwrap().len(), 1);
        assert!(refused(&nested(MOST_BUNDLES + 1)).starts_with("packet: got 33 bundles"));
        assert!(refused(&nested(3000)).starts_with("packet: got 3000 bundles"));
        let tags = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let packet = format!("/dreamframe/a/delta\0,{tags}\0\0\0");
        assert!(refused(packet.as_bytes()).starts_with("packet: got 30000 lists"));
    }

    #[test]
    fn the_number_of_messages_is_bounded() {
        let message = [&28_u32.to_be_bytes()[..], b"/dreamframe/a/delta\0,i\0\0\0\0\0\x01"].concat();
        let bundle = |count: usize| [BUNDLE, &[0; 8], &message.repeat(count)].concat();
        assert_eq!(read(&bundle(MOST_MESSAGES)).unwrap().len(), MOST_MESSAGES);
        assert!(refused(&bundle(MOST_MESSAGES + 1)).starts_with("packet: got more than 256 messages"));
    }

    #[test]
    fn no_control_character_of_a_packet_is_in_its_error() {
        let error = refused(b"/a\0\0,\x0e\x1b\0");
        assert!(error.contains('?') && !error.contains(char::is_control), "{error:?}");
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for bytes in
            [b"".as_slice(), b"\0\0\0\0", b"delta", b"#bundle\0", b"/dreamframe/a/delta\0,f\0\0", b"\xff\xff\xff\xff"]
        {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        let mut cut = nested(1);
        cut.pop();
        assert!(refused(&cut).starts_with("packet: got"));
    }
}

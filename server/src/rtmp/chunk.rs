//! RTMP chunks: messages are split, so that long ones do not delay short ones.
//!
//! Names and layout are those of Adobe's specification, section 5.3. The memory that a peer can make this use is
//! bounded.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes, BytesMut};

use super::RtmpError;

/// The largest message that is read: a key frame of 4K video stays far below.
pub(super) const MAX_MESSAGE: usize = 4 << 20;

/// Chunk streams of one connection; real ones use four.
const MAX_STREAMS: usize = 32;

/// The default of the protocol.
const FIRST_CHUNK_SIZE: usize = 128;

/// Timestamps from here on are in an extended field.
const EXTENDED: u32 = 0xFF_FFFF;

/// The supported types of messages.
pub(super) mod kind {
    pub(in super::super) const SET_CHUNK_SIZE: u8 = 1;
    pub(in super::super) const ABORT: u8 = 2;
    pub(in super::super) const ACKNOWLEDGEMENT: u8 = 3;
    pub(in super::super) const USER_CONTROL: u8 = 4;
    pub(in super::super) const WINDOW_SIZE: u8 = 5;
    pub(in super::super) const PEER_BANDWIDTH: u8 = 6;
    pub(in super::super) const AUDIO: u8 = 8;
    pub(in super::super) const VIDEO: u8 = 9;
    pub(in super::super) const DATA: u8 = 18;
    pub(in super::super) const COMMAND: u8 = 20;
}

/// A complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// The message stream: 0 for control, 1 for the one that is published.
    pub(super) stream: u32,
    /// Milliseconds.
    pub(super) time: u32,
    pub(super) body: Bytes,
}

/// Assembles messages.
#[derive(Debug)]
pub(super) struct ChunkReader {
    buffer: BytesMut,
    chunk_size: usize,
    max_message: usize,
    streams: HashMap<u32, ChunkStream>,
    // Bytes of incomplete messages, over all chunk streams.
    unfinished: usize,
    // The chunk stream of the chunk that is being read, and the number of its bytes that are missing.
    open: Option<(u32, usize)>,
}

/// An incomplete message.
#[derive(Debug, Default)]
struct ChunkStream {
    header: Header,
    body: Vec<u8>,
}

impl ChunkStream {
    /// Appends bytes to the message, allocating no more memory than the complete message needs.
    fn take(&mut self, bytes: &[u8]) {
        let needed = self.body.len() + bytes.len();
        if needed > self.body.capacity() {
            let capacity = (2 * self.body.capacity()).clamp(needed, self.header.len.max(needed));
            self.body.reserve_exact(capacity - self.body.len());
        }
        self.body.extend_from_slice(bytes);
    }
}

/// The header fields of a chunk, without those that it takes from the previous one.
#[derive(Debug, Default, Clone, Copy)]
struct Header {
    time: u32,
    delta: u32,
    extended: bool,
    len: usize,
    kind: u8,
    stream: u32,
}

/// The header of the chunk at the front of the buffer.
struct Chunk {
    id: u32,
    /// Bytes of the header itself.
    used: usize,
    header: Header,
    /// Whether a message begins with it.
    begins: bool,
    /// Bytes of the message that are in it.
    len: usize,
}

impl ChunkReader {
    /// Starts to read messages of up to `max_message` bytes.
    pub(super) fn new(max_message: usize) -> Self {
        let (buffer, streams) = (BytesMut::new(), HashMap::new());
        Self { buffer, chunk_size: FIRST_CHUNK_SIZE, max_message, streams, unfinished: 0, open: None }
    }

    /// Sets the largest message, in bytes.
    pub(super) fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// Accepts bytes from the network. Call [`next`](Self::next) afterwards until it returns `None`.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete message, if it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Message>, RtmpError> {
        loop {
            let (id, left) = match self.open {
                Some(open) => open,
                None => match self.chunk()? {
                    Some(chunk) => self.begin(chunk),
                    None => return Ok(None),
                },
            };
            // The received part of a chunk is moved immediately, so that nothing is buffered twice.
            let bytes = self.buffer.split_to(left.min(self.buffer.len()));
            let stream = self.streams.entry(id).or_default();
            stream.take(&bytes);
            self.unfinished += bytes.len();
            if bytes.len() < left {
                self.open = Some((id, left - bytes.len()));
                return Ok(None);
            }
            self.open = None;
            let Header { kind, stream: to, time, len, .. } = stream.header;
            if stream.body.len() < len {
                continue;
            }
            let message = Message { kind, stream: to, time, body: std::mem::take(&mut stream.body).into() };
            self.unfinished -= message.body.len();
            if !self.control(&message)? {
                return Ok(Some(message));
            }
        }
    }

    /// Consumes the header of a chunk; returns its chunk stream and the number of bytes that follow.
    fn begin(&mut self, chunk: Chunk) -> (u32, usize) {
        let Chunk { id, used, header, begins, len } = chunk;
        self.buffer.advance(used);
        let stream = self.streams.entry(id).or_default();
        stream.header = header;
        if begins {
            // The rest of an aborted message never arrives.
            self.unfinished -= stream.body.len();
            stream.body = Vec::new();
        }
        (id, len)
    }

    /// Reads the header of the chunk at the front, if it has arrived.
    fn chunk(&self) -> Result<Option<Chunk>, RtmpError> {
        let mut fields = Fields { bytes: &self.buffer, used: 0 };
        let Some((format, id)) = fields.basic() else { return Ok(None) };
        let known = self.streams.get(&id);
        if known.is_none() && format != 0 {
            return Err(RtmpError::Malformed("a chunk refers to a header that was not sent"));
        }
        if known.is_none() && self.streams.len() >= MAX_STREAMS {
            return Err(RtmpError::Malformed("too many chunk streams"));
        }
        let mut header = known.map(|known| known.header).unwrap_or_default();
        if fields.message(format, &mut header).is_none() {
            return Ok(None);
        }
        let had = known.map_or(0, |known| known.body.len());
        let begins = format != 3 || had == 0;
        if format == 3 && begins {
            header.time = header.time.wrapping_add(header.delta);
        }
        let len = (header.len - if begins { 0 } else { had }).min(self.chunk_size);
        if header.len > self.max_message || self.unfinished + len > 2 * self.max_message {
            return Err(RtmpError::TooLong(header.len));
        }
        Ok(Some(Chunk { id, used: fields.used, header, begins, len }))
    }

    /// Applies a message about chunks; returns false for other messages.
    fn control(&mut self, message: &Message) -> Result<bool, RtmpError> {
        let number = message.body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        match (message.kind, number) {
            (kind::SET_CHUNK_SIZE, Some(size @ 1..=0x7FFF_FFFF)) => {
                self.chunk_size = usize::try_from(size).map_or(MAX_MESSAGE, |size| size.min(MAX_MESSAGE));
            }
            (kind::ABORT, Some(id)) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    self.unfinished -= stream.body.len();
                    stream.body = Vec::new();
                }
            }
            (kind::SET_CHUNK_SIZE | kind::ABORT, _) => {
                return Err(RtmpError::Malformed("invalid chunk size or stream id"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads the fields of a header.
struct Fields<'a> {
    bytes: &'a [u8],
    used: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.used..)?.first_chunk::<N>()?;
        self.used += N;
        Some(*taken)
    }

    fn three(&mut self) -> Option<u32> {
        let [a, b, c] = self.take()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    /// The format of the message header, and the number of the chunk stream.
    fn basic(&mut self) -> Option<(u8, u32)> {
        let [first] = self.take()?;
        let id = match first & 0x3F {
            0 => 64 + u32::from(u8::from_be_bytes(self.take()?)),
            1 => 64 + u32::from(u16::from_le_bytes(self.take()?)),
            id => id.into(),
        };
        Some((first >> 6, id))
    }

    fn message(&mut self, format: u8, header: &mut Header) -> Option<()> {
        let mut time = 0;
        if format < 3 {
            time = self.three()?;
            header.extended = time == EXTENDED;
        }
        if format < 2 {
            header.len = self.three()? as usize;
            [header.kind] = self.take()?;
        }
        if format == 0 {
            header.stream = u32::from_le_bytes(self.take()?);
        }
        if header.extended {
            time = u32::from_be_bytes(self.take()?);
        }
        match format {
            0 => (header.time, header.delta) = (time, time),
            1 | 2 => (header.time, header.delta) = (header.time.wrapping_add(time), time),
            _ => {}
        }
        Some(())
    }
}

/// Splits messages into chunks.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    chunk_size: usize,
}

impl ChunkWriter {
    pub(super) fn new() -> Self {
        Self { chunk_size: FIRST_CHUNK_SIZE }
    }

    /// Announces a larger chunk size to the peer.
    pub(super) fn set_chunk_size(&mut self, size: u32, out: &mut Vec<u8>) {
        self.control(kind::SET_CHUNK_SIZE, &size.to_be_bytes(), out);
        self.chunk_size = size as usize;
    }

    /// Writes a message of the protocol itself.
    pub(super) fn control(&self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
        self.write(2, &Message { kind, stream: 0, time: 0, body: Bytes::copy_from_slice(body) }, out);
    }

    /// Writes a message on chunk stream `id`, which is between 2 and 63.
    pub(super) fn write(&self, id: u8, message: &Message, out: &mut Vec<u8>) {
        let short = message.time.min(EXTENDED);
        let extended = (short == EXTENDED).then(|| message.time.to_be_bytes());
        out.push(id);
        out.extend_from_slice(&short.to_be_bytes()[1..]);
        out.extend_from_slice(&(message.body.len() as u32).to_be_bytes()[1..]);
        out.push(message.kind);
        out.extend_from_slice(&message.stream.to_le_bytes());
        let mut rest = &message.body[..];
        loop {
            out.extend(extended.iter().flatten());
            let (chunk, after) = rest.split_at(rest.len().min(self.chunk_size));
            out.extend_from_slice(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
            out.push(3 << 6 | id);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, time: u32, len: usize) -> Message {
        let body = (0..len).map(|at| (at % 251) as u8).collect();
        Message { kind, stream: 1, time, body }
    }

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Message>, RtmpError> {
        let (mut reader, mut messages) = (ChunkReader::new(MAX_MESSAGE), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            while let Some(message) = reader.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    proptest! {
        #[test]
        fn chunked_messages_round_trip(
            sizes in prop::collection::vec((any::<u32>(), 0..3000_usize, 2..63_u8), 1..20),
            chunk_size in 1..2000_u32,
            piece in 1..500_usize,
        ) {
            let (mut writer, mut bytes, mut sent) = (ChunkWriter::new(), Vec::new(), Vec::new());
            writer.set_chunk_size(chunk_size, &mut bytes);
            for (time, len, id) in sizes {
                let message = message(9, time, len);
                // Few chunk streams, as in practice.
                writer.write(2 + id % 4, &message, &mut bytes);
                sent.push(message);
            }
            prop_assert_eq!(read_in_pieces(&bytes, piece).unwrap(), sent);
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xC2), Just(2)], 0..2000),
            piece in 1..200_usize,
        ) {
            let mut reader = ChunkReader::new(MAX_MESSAGE);
            for piece in bytes.chunks(piece) {
                reader.push(piece);
                while let Ok(Some(_)) = reader.next() {}
                let held: usize = reader.streams.values().map(|stream| stream.body.len()).sum();
                prop_assert_eq!(held, reader.unfinished);
            }
        }
    }

    #[test]
    fn messages_of_two_streams_may_alternate() {
        // Two of 200 bytes in chunks of 128, alternating.
        let (a, b) = (message(8, 0, 200), message(9, 0, 200));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        ChunkWriter::new().write(4, &a, &mut first);
        ChunkWriter::new().write(6, &b, &mut second);
        let ((a1, a2), (b1, b2)) = (first.split_at(12 + 128), second.split_at(12 + 128));
        assert_eq!(read_in_pieces(&[a1, b1, a2, b2].concat(), 7).unwrap(), [a, b]);
    }

    #[test]
    fn a_chunk_without_header_repeats_the_time_step_of_a_new_message_only() {
        let mut bytes = vec![0x04, 0, 0, 100, 0, 0, 2, 8, 1, 0, 0, 0, 1, 2];
        bytes.extend_from_slice(&[0x84, 0, 0, 20, 3, 4]);
        bytes.extend_from_slice(&[0xC4, 5, 6]);
        let times: Vec<u32> = read_in_pieces(&bytes, 1).unwrap().iter().map(|message| message.time).collect();
        assert_eq!(times, [100, 120, 140]);
    }

    #[test]
    fn an_aborted_message_is_forgotten() {
        let mut bytes = Vec::new();
        let writer = ChunkWriter::new();
        let lost = message(9, 0, 200);
        writer.write(6, &lost, &mut bytes);
        bytes.truncate(12 + 128);
        writer.control(kind::ABORT, &6_u32.to_be_bytes(), &mut bytes);
        let kept = message(9, 5, 300);
        writer.write(6, &kept, &mut bytes);
        assert_eq!(read_in_pieces(&bytes, 64).unwrap(), [kept]);
    }

    #[test]
    fn long_messages_and_many_streams_are_refused() {
        let long = [4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 9, 1, 0, 0, 0];
        assert!(matches!(read_in_pieces(&long, 12), Err(RtmpError::TooLong(0xFF_FFFF))));
        let many: Vec<u8> = (3..60).flat_map(|id| [id, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0]).collect();
        assert!(matches!(read_in_pieces(&many, 12), Err(RtmpError::Malformed(_))));
    }

    #[test]
    fn restarted_messages_free_their_memory() {
        let mut reader = ChunkReader::new(MAX_MESSAGE);
        reader.chunk_size = MAX_MESSAGE;
        let held = |reader: &ChunkReader| reader.streams.values().map(|stream| stream.body.capacity()).sum::<usize>();
        let begin = |reader: &mut ChunkReader, id: u8, len: usize| {
            reader.push(&[id, 0, 0, 0, 0x40, 0, 0, 9, 1, 0, 0, 0]);
            reader.chunk_size = len;
            reader.push(&vec![0; len]);
            assert!(reader.next().unwrap().is_none());
        };
        // On every chunk stream, a message is replaced before its end by a new one with one byte.
        for id in 3..30 {
            begin(&mut reader, id, MAX_MESSAGE - 1);
            begin(&mut reader, id, 1);
        }
        assert!(held(&reader) <= 2 * MAX_MESSAGE, "{} bytes", held(&reader));
        // The same by messages that are aborted.
        for id in 3..30_u8 {
            begin(&mut reader, id, MAX_MESSAGE - 1);
            let mut abort = Vec::new();
            ChunkWriter::new().control(kind::ABORT, &u32::from(id).to_be_bytes(), &mut abort);
            reader.push(&abort);
            assert!(reader.next().unwrap().is_none());
        }
        assert!(held(&reader) <= 2 * MAX_MESSAGE, "{} bytes", held(&reader));
    }

    #[test]
    fn memory_of_incomplete_messages_is_limited_in_total() {
        let mut reader = ChunkReader::new(MAX_MESSAGE);
        let mut size = Vec::new();
        ChunkWriter::new().control(kind::SET_CHUNK_SIZE, &0x40_0000_u32.to_be_bytes(), &mut size);
        reader.push(&size);
        let refused = (3..30_u8).find_map(|id| {
            reader.push(&[id, 0, 0, 0, 0x3F, 0xFF, 0xFF, 9, 1, 0, 0, 0]);
            // Incomplete: the last chunk of each is missing.
            reader.chunk_size = MAX_MESSAGE - 2;
            reader.push(&vec![0; MAX_MESSAGE - 2]);
            reader.next().err()
        });
        assert!(matches!(refused, Some(RtmpError::TooLong(_))), "{refused:?}");
    }
}

//! Fuzzing entry points: what peers send after the handshake.

use bytes::Bytes;

use super::amf::{self, Value};
use super::chunk::{ChunkWriter, Message, kind};
use super::publisher::{Event, Publisher};
use super::subscriber::Subscriber;
use super::target::Target;
use super::{RtmpError, flv};

/// The handshake of a peer: its version, and two parts of random numbers.
const HELLO: [u8; 3073] = [3; 3073];
/// The longest chunk that a peer announces here.
const LONGEST_CHUNK: u32 = 4096;
/// Bytes that the answers to one message may have.
const MAX_ANSWER: usize = 1024;
/// Bytes of an acknowledgement, of which there is at most one for each piece.
const ACKNOWLEDGEMENT: usize = 16;

/// Passes bytes from the network to both sides of a connection.
pub fn bytes(bytes: &[u8]) {
    let hello = [&HELLO, bytes].concat();
    let mut publisher = Publisher::new();
    if publisher.push(&hello).is_ok() {
        let mut reader = flv::AudioReader::default();
        while let Ok(Some(event)) = publisher.next() {
            match event {
                Event::Wants(_) => publisher.accept(),
                Event::Audio(tag, _) => drop(reader.read(&tag)),
                Event::Video(_) | Event::Ended => {}
            }
        }
    }
    if let Ok(target) = Target::parse("rtmp://host/app/key") {
        let _ = Subscriber::new(target).push(&hello);
    }
}

/// Reads values of commands.
///
/// # Panics
///
/// If values that were read are not the same when they are written and read again.
pub fn amf(bytes: &[u8]) {
    let Some(values) = amf::read(bytes) else { return };
    // Text that was not UTF-8 may have become longer than a name can be.
    if bytes.len() <= usize::from(u16::MAX) / 3 {
        let written = amf::write(&values);
        let again = amf::read(&written).expect("values that were written are read");
        assert_eq!(amf::write(&again), written);
    }
}

/// A message of a publisher.
#[derive(Debug, Clone)]
pub enum Step<'a> {
    /// Announces a chunk size.
    ChunkSize(u32),
    /// The command `connect` to an application.
    Connect(&'a str),
    /// The command `publish` of a stream key.
    Publish(&'a str),
    /// A command without arguments of meaning.
    Command(&'a str),
    /// Video or sound with its time.
    Media {
        /// Whether it is video.
        video: bool,
        /// Milliseconds.
        time: u32,
        /// The tag.
        tag: &'a [u8],
    },
    /// A message of any kind that is neither a command nor media nor a chunk size.
    Other(u8, &'a [u8]),
}

/// What a publisher's connection did.
#[derive(Debug, PartialEq)]
enum Done {
    Wanted(String),
    Media(bool, Option<u32>, Bytes),
    Ended,
    Failed,
}

/// Sends the messages of a publisher, in pieces of `pieces` bytes in turn.
///
/// # Panics
///
/// If events are not those of the messages, in their order, or depend on the pieces.
pub fn session(steps: &[Step<'_>], pieces: &[u8]) {
    let mut done = Vec::new();
    run(steps, pieces, &mut done);
    assert_eq!(done, expected(steps));
}

fn run(steps: &[Step<'_>], pieces: &[u8], done: &mut Vec<Done>) {
    let (mut publisher, mut writer, mut sent) = (Publisher::new(), ChunkWriter::new(), HELLO.to_vec());
    let mut pieces = pieces.iter().map(|&piece| usize::from(piece) + 1).cycle();
    for step in steps {
        write(step, &mut writer, &mut sent);
        let mut acknowledgements = 0;
        while !sent.is_empty() {
            acknowledgements += ACKNOWLEDGEMENT;
            let rest = sent.split_off(sent.len().min(pieces.next().unwrap_or(usize::MAX)));
            let bytes = std::mem::replace(&mut sent, rest);
            if publisher.push(&bytes).and_then(|_| events(&mut publisher, done)).is_err() {
                return done.push(Done::Failed);
            }
        }
        // The handshake and the announcements after it have more.
        assert!(publisher.take_output().len() < HELLO.len() + MAX_ANSWER + acknowledgements);
    }
}

fn events(publisher: &mut Publisher, done: &mut Vec<Done>) -> Result<(), RtmpError> {
    while let Some(event) = publisher.next()? {
        done.push(match event {
            Event::Wants(key) => {
                publisher.accept();
                Done::Wanted(key)
            }
            Event::Video(tag) => Done::Media(true, None, tag),
            Event::Audio(tag, time) => Done::Media(false, Some(time), tag),
            Event::Ended => Done::Ended,
        });
    }
    Ok(())
}

fn write(step: &Step<'_>, writer: &mut ChunkWriter, out: &mut Vec<u8>) {
    let command = |name: &str, arguments: &[Value]| {
        let head = [Value::Text(name.to_owned()), Value::Number(1.0)];
        (kind::COMMAND, amf::write(&[&head, arguments].concat()))
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let ((kind, body), time) = match *step {
        Step::ChunkSize(size) => return writer.set_chunk_size(size.clamp(1, LONGEST_CHUNK), out),
        Step::Connect(app) => (command("connect", &[Value::Object(vec![("app".to_owned(), text(app))])]), 0),
        Step::Publish(key) => (command("publish", &[Value::Null, text(key)]), 0),
        Step::Command(name) => (command(name, &[Value::Null]), 0),
        Step::Media { video, time, tag } => ((if video { kind::VIDEO } else { kind::AUDIO }, tag.to_vec()), time),
        Step::Other(kind, body) => ((kind, body.to_vec()), 0),
    };
    // Each kind has a chunk stream of its own, so that their times are independent.
    let id = 3 + kind % 32;
    writer.write(id, &Message { kind, stream: 1, time, body: body.into() }, out);
}

/// The events of messages, by the rules of the protocol.
fn expected(steps: &[Step<'_>]) -> Vec<Done> {
    let (mut done, mut is_connected, mut is_accepted) = (Vec::new(), false, false);
    for step in steps {
        match *step {
            Step::Connect("live" | "aiWebrtc") => is_connected = true,
            Step::Connect(_) => done.push(Done::Failed),
            Step::Publish(key) if is_connected && !is_accepted => {
                done.push(Done::Wanted(key.to_owned()));
                is_accepted = true;
            }
            Step::Publish(_) => done.push(Done::Failed),
            Step::Command("FCUnpublish" | "deleteStream" | "closeStream") if is_accepted => done.push(Done::Ended),
            Step::Command("connect" | "publish" | "play" | "play2") => done.push(Done::Failed),
            Step::Media { video, time, tag } if is_accepted => {
                done.push(Done::Media(video, (!video).then_some(time), Bytes::copy_from_slice(tag)));
            }
            Step::ChunkSize(_) | Step::Command(_) | Step::Media { .. } | Step::Other(..) => {}
        }
        if done.last() == Some(&Done::Failed) {
            break;
        }
    }
    done
}

//! OSC: changes parameters by UDP, for programs of stages and studios (`docs/osc.md`).
//!
//! [`packet`] reads datagrams, [`write`](mod@write) finds out what they change, and [`pace`] limits how often that happens.

pub(crate) mod fuzz_api;
mod pace;
mod packet;
mod write;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::TokenBucket;
use dreamframe::{Error, ErrorKind, Result};
use tokio::net::UdpSocket;

use self::pace::Pace;
use self::packet::{Message, OscError};
use self::write::Write;
use crate::app::App;
use crate::streams::Stream;

/// The longest datagram.
const LONGEST: usize = 1 << 16;
/// The rate per second, and the burst, of errors in the log.
const ERRORS_PER_SECOND: u32 = 1;
const ERRORS_AT_ONCE: u32 = 10;
/// The pause after the socket failed.
const PAUSE: Duration = Duration::from_millis(100);
/// The stream in an address that means all of them.
const EVERY: &str = "*";

/// Binds the socket at `address`.
///
/// # Errors
///
/// `Io` if it is taken.
pub(crate) async fn bind(address: SocketAddr) -> Result<UdpSocket> {
    let failed = |error| Error::new(ErrorKind::Io, format!("failed to listen for OSC at {address}")).with_source(error);
    UdpSocket::bind(address).await.map_err(failed)
}

/// Applies what arrives at `socket`, indefinitely.
pub(crate) async fn listen(app: Arc<App>, socket: &UdpSocket) {
    let mut receiver = Receiver::new(app);
    let mut bytes = vec![0; LONGEST];
    loop {
        let due = receiver.due();
        let waits = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            received = socket.recv_from(&mut bytes) => match received {
                Ok((length, _)) => receiver.receive(bytes.get(..length).unwrap_or_default(), Instant::now()),
                Err(error) => {
                    receiver.report(&format_args!("failed to receive: {error}"), Instant::now());
                    tokio::time::sleep(PAUSE).await;
                }
            },
            () = waits => receiver.flush(Instant::now()),
        }
    }
}

/// A stream, and what a packet changes there.
type Batch = (Arc<Stream>, Vec<Write>);

/// Applies packets to the streams of a server.
struct Receiver {
    app: Arc<App>,
    /// The rate limit of each stream, by its id.
    paces: HashMap<String, Pace>,
    errors: TokenBucket,
    /// The number of errors that were not reported.
    unreported: u64,
}

impl Receiver {
    fn new(app: Arc<App>) -> Self {
        let errors = TokenBucket::new(ERRORS_PER_SECOND, ERRORS_AT_ONCE);
        Self { app, paces: HashMap::new(), errors, unreported: 0 }
    }

    /// Applies a packet: for each stream all of it or nothing.
    fn receive(&mut self, bytes: &[u8], now: Instant) {
        let writes = packet::read(bytes).and_then(|messages| self.writes(messages));
        let mut writes = match writes {
            Ok(writes) => writes,
            Err(error) => return self.report(&error, now),
        };
        if self.paces.len() > self.app.streams.max_streams() {
            self.paces.retain(|id, _| self.app.streams.by_id(id).is_some());
        }
        for (stream, writes) in writes.drain(..) {
            let pace = self.paces.entry(stream.id.clone()).or_default();
            if let Err(error) = pace.arrived(&stream, writes, now) {
                self.report(&error, now);
            }
        }
    }

    /// What `messages` change, by stream.
    fn writes(&self, messages: Vec<Message>) -> Result<Vec<Batch>, OscError> {
        let mut all: Vec<Batch> = Vec::new();
        for message in messages {
            let streams = self.named(&message.stream);
            if streams.is_empty() && message.stream != EVERY {
                return Err(OscError::message(&message.address(), "no stream has this id or name"));
            }
            let write = Write::new(message)?;
            for stream in streams {
                match all.iter_mut().find(|(of, _)| of.id == stream.id) {
                    Some((_, writes)) => writes.push(write.clone()),
                    None => all.push((stream, vec![write.clone()])),
                }
            }
        }
        Ok(all)
    }

    fn named(&self, name: &str) -> Vec<Arc<Stream>> {
        match self.app.streams.by_id(name) {
            Some(stream) => vec![stream],
            None => {
                let mut all = self.app.streams.all();
                all.retain(|stream| name == EVERY || stream.has_name(name));
                all
            }
        }
    }

    /// The time at which [`flush`](Self::flush) is to be called.
    fn due(&self) -> Option<Instant> {
        self.paces.values().filter_map(Pace::due).min()
    }

    /// Applies what waited long enough.
    fn flush(&mut self, now: Instant) {
        let mut errors = Vec::new();
        let streams = &self.app.streams;
        self.paces.retain(|id, pace| {
            let Some(stream) = streams.by_id(id) else { return false };
            errors.extend(pace.ready(&stream, now).err());
            true
        });
        for error in errors {
            self.report(&error, now);
        }
    }

    fn report(&mut self, error: &dyn std::fmt::Display, now: Instant) {
        if self.errors.take(now).is_err() {
            self.unreported += 1;
            return;
        }
        let unreported = std::mem::take(&mut self.unreported);
        tracing::warn!(unreported, "OSC: {error}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType};
    use serde_json::json;

    use super::*;
    use crate::auth::Caller;
    use crate::config::Config;
    use crate::wire::request::Request;

    fn receiver() -> Receiver {
        let app = App::new(Config::for_tests(), SocketAddr::from(([127, 0, 0, 1], 1)), None).unwrap();
        Receiver::new(app)
    }

    fn stream(receiver: &Receiver, name: &str) -> Arc<Stream> {
        let request = Request { name: Some(name.to_owned()), ..Request::default() };
        receiver.app.streams.create(&Caller::local(), request).unwrap().0
    }

    fn message(addr: &str, args: Vec<OscType>) -> OscPacket {
        OscPacket::Message(OscMessage { addr: addr.to_owned(), args })
    }

    fn send(receiver: &mut Receiver, packet: &OscPacket, now: Instant) {
        receiver.receive(&rosc::encoder::encode(packet).unwrap(), now);
    }

    fn bundle(content: Vec<OscPacket>) -> OscPacket {
        OscPacket::Bundle(OscBundle { timetag: OscTime { seconds: 0, fractional: 1 }, content })
    }

    #[tokio::test]
    async fn streams_are_named_by_id_by_name_or_all_together() {
        let mut receiver = receiver();
        let (one, two) = (stream(&receiver, "one"), stream(&receiver, "two"));
        let now = Instant::now();
        send(&mut receiver, &message("/dreamframe/*/delta", vec![OscType::Float(0.25)]), now);
        assert_eq!((one.params().delta, two.params().delta), (0.25, 0.25));
        send(&mut receiver, &message("/dreamframe/two/delta", vec![OscType::Float(0.5)]), now);
        send(&mut receiver, &message(&format!("/dreamframe/{}/delta", one.id), vec![OscType::Float(0.75)]), now);
        assert_eq!((one.params().delta, two.params().delta), (0.75, 0.5));
        send(&mut receiver, &message("/dreamframe/three/delta", vec![OscType::Float(1.0)]), now);
        assert_eq!((one.params().delta, two.params().delta), (0.75, 0.5));
    }

    #[tokio::test]
    async fn a_bundle_is_applied_together_or_not_at_all() {
        let mut receiver = receiver();
        let stream = stream(&receiver, "one");
        let now = Instant::now();
        let list = vec![OscType::Int(10), OscType::Int(20)];
        let good = bundle(vec![
            message("/dreamframe/one/prompt", vec![OscType::String("ink".into())]),
            bundle(vec![message("/dreamframe/one/t_index_list", list)]),
        ]);
        send(&mut receiver, &good, now);
        assert_eq!((stream.params().prompt, stream.params().t_index_list), ("ink".into(), vec![10, 20]));
        for fault in [
            message("/dreamframe/one/guidance_scale", vec![OscType::Float(-1.0)]),
            message("/dreamframe/one/odd", vec![OscType::Int(1)]),
            message("/dreamframe/none/delta", vec![OscType::Int(1)]),
        ] {
            let packet = bundle(vec![message("/dreamframe/one/delta", vec![OscType::Float(0.125)]), fault]);
            send(&mut receiver, &packet, now);
            assert_eq!(stream.params().delta, 0.7);
        }
    }

    #[tokio::test]
    async fn messages_past_the_rate_are_joined_and_the_last_value_counts() {
        let mut receiver = receiver();
        let stream = stream(&receiver, "one");
        let start = Instant::now();
        for at in 0..1000 {
            send(&mut receiver, &message("/dreamframe/one/delta", vec![OscType::Float(at as f32 / 1000.0)]), start);
        }
        assert_eq!(stream.params().delta, 0.059, "a burst of 60 passes");
        let due = receiver.due().unwrap();
        assert!(due > start && due <= start + Duration::from_millis(100));
        receiver.flush(start);
        assert_eq!(stream.params().delta, 0.059);
        receiver.flush(due);
        assert_eq!((stream.params().delta, receiver.due()), (0.999, None));
    }

    #[tokio::test]
    async fn errors_are_reported_at_a_bounded_rate() {
        let mut receiver = receiver();
        let now = Instant::now();
        for _ in 0..100 {
            receiver.receive(b"/odd", now);
        }
        assert_eq!(receiver.unreported, 100 - u64::from(ERRORS_AT_ONCE));
        receiver.receive(b"/odd", now + Duration::from_secs(2));
        assert_eq!(receiver.unreported, 0);
    }

    #[tokio::test]
    async fn a_stream_that_ended_is_forgotten() {
        let mut receiver = receiver();
        let id = stream(&receiver, "one").id.clone();
        let now = Instant::now();
        for _ in 0..100 {
            send(&mut receiver, &message("/dreamframe/*/delta", vec![OscType::Int(1)]), now);
        }
        receiver.app.streams.remove(&id).await;
        receiver.flush(now + Duration::from_secs(1));
        assert!(receiver.paces.is_empty());
    }

    #[tokio::test]
    async fn no_packet_causes_a_panic() {
        let receiver = receiver();
        stream(&receiver, "one");
        let now = Instant::now();
        let segment =
            prop_oneof!["[a-z_]{1,12}", "[0-9]{1,21}", Just("controlnets".to_owned()), Just("prompt".to_owned())];
        let path = prop::collection::vec(segment, 0..5);
        let value = prop_oneof![
            any::<i32>().prop_map(OscType::Int),
            any::<f32>().prop_map(OscType::Float),
            any::<f64>().prop_map(OscType::Double),
            any::<i64>().prop_map(OscType::Long),
            any::<bool>().prop_map(OscType::Bool),
            ".{0,8}".prop_map(OscType::String),
            Just(OscType::Nil),
            Just(OscType::Inf),
        ];
        let wild = prop::collection::vec(any::<u8>(), 0..256);
        let shaped = (path, prop::collection::vec(value, 0..5));
        let receiver = std::cell::RefCell::new(receiver);
        // Each long after the one before, so that none waits.
        let receive = |bytes: &[u8]| {
            let mut receiver = receiver.borrow_mut();
            receiver.paces.clear();
            receiver.receive(bytes, now);
        };
        let test = |(bytes, (path, args), cut): (Vec<u8>, (Vec<String>, Vec<OscType>), usize)| {
            receive(&bytes);
            receive(&[b"#bundle\0".as_slice(), &bytes].concat());
            let coded = rosc::encoder::encode(&message(&format!("/dreamframe/*/{}", path.join("/")), args)).unwrap();
            receive(&coded);
            receive(&coded[..cut % (coded.len() + 1)]);
            Ok(())
        };
        proptest::test_runner::TestRunner::default().run(&(wild, shaped, any::<usize>()), test).unwrap();
    }

    #[tokio::test]
    async fn nil_is_the_default_of_new_streams() {
        let mut receiver = receiver();
        let stream = stream(&receiver, "one");
        let before = json!(stream.params());
        let now = Instant::now();
        for (path, value) in [
            ("delta", OscType::Float(0.5)),
            ("ip_adapter/scale", OscType::Float(0.25)),
            ("prompt", OscType::String("x".into())),
        ] {
            let address = format!("/dreamframe/one/{path}");
            send(&mut receiver, &message(&address, vec![value]), now);
            assert_ne!(json!(stream.params()), before, "{path}");
            send(&mut receiver, &message(&address, vec![OscType::Nil]), now);
            assert_eq!(json!(stream.params()), before, "{path}");
        }
    }
}

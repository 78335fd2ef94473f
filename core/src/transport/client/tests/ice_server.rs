//! A STUN and TURN server on loopback (RFC 8489, RFC 8656), which answers from when a test lets it. It checks no password.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::transport::peer::IceServer;

/// The address that it reports to STUN clients.
pub(in super::super) const SEEN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 4321);

const COOKIE: u32 = 0x2112_a442;
/// How often its threads look whether it answers, and whether it is over.
const LOOK: Duration = Duration::from_millis(5);

/// The types of messages.
const BINDING: u16 = 0x0001;
const ALLOCATE: u16 = 0x0003;
const SEND: u16 = 0x0016;
const DATA: u16 = 0x0017;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;
const ERROR: u16 = 0x0110;

/// The types of attributes.
const ERROR_CODE: u16 = 0x0009;
const CHANNEL_NUMBER: u16 = 0x000c;
const LIFETIME: u16 = 0x000d;
const PEER: u16 = 0x0012;
const CONTENT: u16 = 0x0013;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const RELAYED: u16 = 0x0016;
const MAPPED: u16 = 0x0020;

/// The server; it ends when it is dropped.
pub(in super::super) struct FakeIceServer {
    addr: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    answers: AtomicBool,
    over: AtomicBool,
    /// Packets sent to peers of its clients.
    relayed: AtomicUsize,
}

impl FakeIceServer {
    /// Starts a server that does not answer yet.
    pub(in super::super) fn start() -> Self {
        let socket = bound();
        let (addr, state) = (socket.local_addr().unwrap(), Arc::new(State::default()));
        let shared = state.clone();
        let thread = std::thread::spawn(move || serve(&socket, &shared));
        Self { addr, state, thread: Some(thread) }
    }

    /// Answers the requests that have come, and all others.
    pub(in super::super) fn answer(&self) {
        self.state.answers.store(true, Ordering::Relaxed);
    }

    /// Its description for clients, as a server of the `scheme` stun or turn.
    pub(in super::super) fn described(&self, scheme: &str) -> IceServer {
        let (username, credential) = (Some("user".into()), Some("password".into()));
        IceServer { urls: vec![format!("{scheme}:{}", self.addr)], username, credential, ..IceServer::default() }
    }

    /// The number of packets that it has sent to peers of its clients.
    pub(in super::super) fn relayed(&self) -> usize {
        self.state.relayed.load(Ordering::Relaxed)
    }
}

impl Drop for FakeIceServer {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What panicked there fails the test otherwise.
            let _ = thread.join();
        }
    }
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LOOK)).unwrap();
    socket
}

/// Receives the next packet; `None` if there is none now.
fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2048];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => Some((buffer[..length].to_vec(), from)),
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => None,
        // A client has closed its socket.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        Err(error) => panic!("{error}"),
    }
}

fn serve(socket: &UdpSocket, state: &Arc<State>) {
    let (mut waiting, mut clients) = (Vec::new(), HashMap::new());
    while !state.over.load(Ordering::Relaxed) {
        waiting.extend(receive(socket));
        if state.answers.load(Ordering::Relaxed) {
            for (packet, from) in waiting.drain(..) {
                handle(socket, state, &mut clients, &packet, from);
            }
        }
    }
}

/// A client with a relayed address.
struct Allocation {
    relay: Arc<UdpSocket>,
    channels: HashMap<u16, SocketAddr>,
}

impl Allocation {
    /// Opens a relayed address for `client`; a thread forwards what arrives there.
    fn open(socket: &UdpSocket, state: &Arc<State>, client: SocketAddr) -> Self {
        let (relay, socket, state) = (Arc::new(bound()), socket.try_clone().unwrap(), state.clone());
        let receiver = relay.clone();
        std::thread::spawn(move || {
            while !state.over.load(Ordering::Relaxed) {
                if let Some((packet, from)) = receive(&receiver) {
                    let indication = message(DATA, &[0; 12], &[(PEER, address(from)), (CONTENT, packet)]);
                    let _ = socket.send_to(&indication, client);
                }
            }
        });
        Self { relay, channels: HashMap::new() }
    }

    fn send(&self, state: &State, content: &[u8], peer: SocketAddr) {
        state.relayed.fetch_add(1, Ordering::Relaxed);
        let _ = self.relay.send_to(content, peer);
    }
}

type Clients = HashMap<SocketAddr, Allocation>;

fn handle(socket: &UdpSocket, state: &Arc<State>, clients: &mut Clients, packet: &[u8], from: SocketAddr) {
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    if packet.len() < 20 || packet[0] & 0xc0 == 0x40 {
        if let (true, Some(client)) = (packet.len() >= 4, clients.get(&from))
            && let Some(peer) = client.channels.get(&number(0))
        {
            client.send(state, &packet[4..4 + usize::from(number(2))], *peer);
        }
        return;
    }
    let (kind, transaction, attributes) = (number(0), &packet[8..20], attributes(packet));
    let reply = |kind: u16, attributes: &[(u16, Vec<u8>)]| {
        let _ = socket.send_to(&message(kind, transaction, attributes), from);
    };
    match kind {
        BINDING => reply(kind | SUCCESS, &[(MAPPED, address(SEEN.into()))]),
        // The first request has no credentials.
        ALLOCATE if !attributes.contains_key(&NONCE) => {
            let unauthorized = (ERROR_CODE, vec![0, 0, 4, 1]);
            reply(kind | ERROR, &[unauthorized, (REALM, b"realm".to_vec()), (NONCE, b"nonce".to_vec())]);
        }
        ALLOCATE => {
            let client = clients.entry(from).or_insert_with(|| Allocation::open(socket, state, from));
            let relayed = (RELAYED, address(client.relay.local_addr().unwrap()));
            let lifetime = (LIFETIME, 600_u32.to_be_bytes().to_vec());
            reply(kind | SUCCESS, &[relayed, (MAPPED, address(from)), lifetime]);
        }
        SEND => {
            if let Some(client) = clients.get(&from) {
                client.send(state, &attributes[&CONTENT], address_of(&attributes[&PEER]));
            }
        }
        CHANNEL_BIND => {
            let channel = &attributes[&CHANNEL_NUMBER];
            let (number, peer) = (u16::from_be_bytes([channel[0], channel[1]]), address_of(&attributes[&PEER]));
            if let Some(client) = clients.get_mut(&from) {
                client.channels.insert(number, peer);
            }
            reply(kind | SUCCESS, &[]);
        }
        // Permissions and refreshes.
        _ => reply(kind | SUCCESS, &[(LIFETIME, 600_u32.to_be_bytes().to_vec())]),
    }
}

fn message(kind: u16, transaction: &[u8], attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &length, &COOKIE.to_be_bytes(), transaction, &body].concat()
}

fn attributes(packet: &[u8]) -> HashMap<u16, Vec<u8>> {
    let (mut found, mut rest) = (HashMap::new(), &packet[20..]);
    while let [a, b, c, d, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        found.insert(u16::from_be_bytes([*a, *b]), after[..length].to_vec());
        rest = &after[length.next_multiple_of(4).min(after.len())..];
    }
    found
}

/// An address in the form of an XOR-MAPPED-ADDRESS.
fn address(addr: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(addr) = addr else { panic!("an IPv4 address") };
    let port = addr.port() ^ (COOKIE >> 16) as u16;
    [&[0, 1][..], &port.to_be_bytes(), &(addr.ip().to_bits() ^ COOKIE).to_be_bytes()].concat()
}

fn address_of(value: &[u8]) -> SocketAddr {
    let [_, _, p, q, a, b, c, d] = *value else { panic!("an IPv4 address") };
    let port = u16::from_be_bytes([p, q]) ^ (COOKIE >> 16) as u16;
    (Ipv4Addr::from_bits(u32::from_be_bytes([a, b, c, d]) ^ COOKIE), port).into()
}

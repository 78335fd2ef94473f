//! Stands between clients and a server, and has their media pass over links that delay and lose packets.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::Conditions;
use super::relay::Relay;

/// A server's address for clients that shall reach it over bad links. Every session gets a link of its own, until this is
/// dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    conditions: Arc<Conditions>,
    thread: Option<JoinHandle<()>>,
}

/// What all connections share.
struct Shared {
    server: SocketAddr,
    conditions: Arc<Conditions>,
    /// The seed of the next link.
    seed: AtomicU64,
}

impl Proxy {
    /// Stands before `server`; what links lose is drawn from `seed`.
    ///
    /// # Errors
    ///
    /// Those of the system, where it has no port.
    pub fn start(server: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (addr, conditions) = (listener.local_addr()?, Arc::new(Conditions::default()));
        let shared = Arc::new(Shared { server, conditions: conditions.clone(), seed: AtomicU64::new(seed) });
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.conditions.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = shared.clone();
                // A client whose request cannot be passed on is not answered.
                thread::spawn(move || shared.pass_on(client));
            }
        });
        Ok(Self { addr, conditions, thread: Some(thread) })
    }

    /// Returns the address of a path of the server's.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Returns what the links do.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.conditions.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread.
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn pass_on(&self, mut client: TcpStream) -> io::Result<()> {
        let (head, body) = read(&client)?;
        if !head.starts_with("POST") {
            return client.write_all(&self.ask(&head, &body)?);
        }
        let relay = Relay::bind()?;
        let (near, far) = relay.addresses()?;
        let (offer, client_addr) = redirect(&text(body)?, far);
        let answer = text(self.ask(&head, offer.as_bytes())?)?;
        let (answer_head, answer) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let (answer, server_addr) = redirect(answer, near);
        if let (Some(client_addr), Some(server_addr)) = (client_addr, server_addr) {
            let seed = self.seed.fetch_add(1, Ordering::Relaxed);
            relay.run((client_addr, server_addr), &self.conditions, seed);
        }
        client.write_all(&message(answer_head, answer.as_bytes()))
    }

    /// Asks the server, which closes the connection when it has answered.
    fn ask(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.server)?;
        server.write_all(&message(head, body))?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).map(|_| answer)
    }
}

/// Reads the head of a request, up to the empty line, and its body.
fn read(stream: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let (mut reader, mut head) = (BufReader::new(stream), String::new());
    while reader.read_line(&mut head)? > 2 {}
    let lengths = head.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| is_length(name));
    let length = lengths.filter_map(|(_, length)| length.trim().parse().ok()).next().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head.trim_end().to_owned(), body))
}

fn is_length(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length")
}

/// Writes a head with the length of the body that goes with it now. Each connection has one request.
fn message(head: &str, body: &[u8]) -> Vec<u8> {
    let is_replaced = |name: &str| is_length(name) || name.eq_ignore_ascii_case("connection");
    let kept = head.lines().filter(|line| !line.split_once(':').is_some_and(|(name, _)| is_replaced(name)));
    let mut message: String = kept.flat_map(|line| [line, "\r\n"]).collect();
    message.push_str(&format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()));
    [message.as_bytes(), body].concat()
}

/// Puts `to` in the place of the first candidate's address, which it gives, and leaves the others out.
fn redirect(description: &str, to: SocketAddr) -> (String, Option<SocketAddr>) {
    let mut found = None;
    let mut lines = String::new();
    for line in description.lines() {
        let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        if line.starts_with("a=candidate:") {
            let address = words.get(4).zip(words.get(5)).and_then(|(ip, port)| format!("{ip}:{port}").parse().ok());
            if found.is_some() || address.is_none() {
                continue;
            }
            found = address;
            (words[4], words[5]) = (to.ip().to_string(), to.port().to_string());
        }
        lines.push_str(&words.join(" "));
        lines.push_str("\r\n");
    }
    (lines, found)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(io::Error::other)
}

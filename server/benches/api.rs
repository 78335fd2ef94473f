//! How long requests to `dreamframe serve` take: a client with one connection over loopback, one request after the other.
//!
//! `cargo bench -p dreamframe-server --bench api -- [ROUNDS]`
//!
//! A round creates a stream of the demo model, reads its status, changes a parameter, reads the health and the metrics of
//! the server, and deletes the stream. The stream has no publisher, and so no session and no pictures:
//! these are the times of the requests alone. A time is from the first byte that is sent to the last one that is received.
//! The time from a change to the first picture with it is measured by the part `changes` of `network`, a bench of the tests.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dreamframe::telemetry::{Samples, Summary};
use dreamframe_tests::network::Program;
use serde_json::{Value, json};

/// Rounds that are measured, unless the command line has another number.
const ROUNDS: usize = 500;
/// Rounds before the measured ones.
const WARM_UP: usize = 20;
/// The most time for all rounds; those until then count.
const TIME: Duration = Duration::from_secs(60);
/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(30);

const REQUESTS: [&str; 6] = [
    "create a stream (POST /v1/streams)",
    "read its status (GET)",
    "change a parameter (PATCH), until accepted",
    "read the health (GET /health)",
    "read the metrics of one stream (GET /metrics)",
    "delete the stream (DELETE)",
];

fn main() -> io::Result<()> {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let rounds: usize = number.unwrap_or(ROUNDS).max(1);
    let server = Program::start(Path::new(env!("CARGO_BIN_EXE_dreamframe")))?;
    let mut client = Client::connect(server.addr())?;
    let mut samples: [Samples; REQUESTS.len()] = std::array::from_fn(|_| Samples::new(rounds));
    let started = Instant::now();
    for index in 0..WARM_UP + rounds {
        if started.elapsed() > TIME {
            break;
        }
        let times = round(&mut client, index)?;
        if index >= WARM_UP {
            for (samples, time) in samples.iter_mut().zip(times) {
                samples.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    println!("{:<48} {:>10} {:>10} {:>8}", "request", "median ms", "p95 ms", "n");
    for (what, samples) in REQUESTS.iter().zip(&samples) {
        if let Some(Summary { median, p95, n, .. }) = samples.summary() {
            println!("{what:<48} {median:>10.2} {p95:>10.2} {n:>8}");
        }
    }
    Ok(())
}

/// Sends each of the [`REQUESTS`] once, and returns how long they took.
fn round(client: &mut Client, index: usize) -> io::Result<[Duration; REQUESTS.len()]> {
    let body = json!({"pipeline": "streamdiffusion", "params": {"prompt": "snow", "width": 512, "height": 512}});
    let (create, stream) = client.ask("POST", "/v1/streams", Some(&body))?;
    let stream: Value = serde_json::from_slice(&stream)?;
    let id = stream["id"].as_str().ok_or_else(|| unsound(format!("id: got {}, expected a text", stream["id"])))?;
    let path = format!("/v1/streams/{id}");
    let (status, _) = client.ask("GET", &format!("{path}/status"), None)?;
    let change = json!({"params": {"prompt": format!("snow, take {index}")}});
    let (patch, _) = client.ask("PATCH", &path, Some(&change))?;
    let (health, _) = client.ask("GET", "/health", None)?;
    let (metrics, _) = client.ask("GET", "/metrics", None)?;
    let (delete, _) = client.ask("DELETE", &path, None)?;
    Ok([create, status, patch, health, metrics, delete])
}

/// A connection that is kept.
struct Client {
    socket: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Client {
    fn connect(host: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(host)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Self { socket: BufReader::new(socket), host })
    }

    /// Sends a request, and returns the time until the end of its answer, and the answer's body.
    fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> io::Result<(Duration, Vec<u8>)> {
        let body = body.map_or_else(String::new, Value::to_string);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let started = Instant::now();
        self.socket.get_mut().write_all(request.as_bytes())?;
        let head = self.head()?;
        let length = head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let length =
            length.ok_or_else(|| unsound(format!("{method} {path}: got {head:?}, expected a content-length")))?;
        let mut answer = vec![0; length];
        self.socket.read_exact(&mut answer)?;
        let time = started.elapsed();
        let status = head.first().map_or("", String::as_str);
        if !status.starts_with("HTTP/1.1 2") {
            let answer = String::from_utf8_lossy(&answer);
            return Err(unsound(format!("{method} {path}: got {status}: {answer}, expected a success")));
        }
        Ok((time, answer))
    }

    /// Reads the lines of an answer before its body.
    fn head(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.socket.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(lines);
            }
            lines.push(line.to_owned());
        }
    }
}

fn unsound(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

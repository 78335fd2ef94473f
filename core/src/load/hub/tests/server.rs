//! A small HTTP server with responses and failures defined by a test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Maximum number of requests, so that a client that never gives up is detected.
const MAX_REQUESTS: usize = 200;

#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    /// Number of earlier requests of this method and path.
    pub(super) before: usize,
}

#[derive(Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// How much of the body is sent before the connection breaks.
    pub(super) cut: Option<usize>,
}

/// The first line and the headers of each request.
type Log = Mutex<Vec<(String, HashMap<String, String>)>>;

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

pub(super) struct Server {
    address: SocketAddr,
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let server_log = log.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take(MAX_REQUESTS).flatten() {
                if !answer(stream, &server_log, &handler) {
                    break;
                }
            }
        });
        Self { address, log, thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Methods and paths of all requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    pub(super) fn header(&self, request: &str, header: &str) -> Vec<Option<String>> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(line, _)| line == request).map(|(_, headers)| headers.get(header).cloned()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection without a request ends the server.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request; `false` if none came.
fn answer(stream: TcpStream, log: &Log, handler: &Handler) -> bool {
    let mut lines = BufReader::new(&stream).lines().map_while(|line| line.ok()).take_while(|line| !line.is_empty());
    let Some(first) = lines.next() else { return false };
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())))
        .collect();
    let line = format!("{method} {path}");
    let before = log.lock().unwrap().iter().filter(|(other, _)| *other == line).count();
    log.lock().unwrap().push((line, headers.clone()));
    let head = method == "HEAD";
    let reply = handler(&Request { method, path, headers, before });
    let mut text =
        format!("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let mut stream = &stream;
    let _ = stream.write_all(text.as_bytes());
    if !head {
        let _ = stream.write_all(body);
    }
    true
}

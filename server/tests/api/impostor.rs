//! A server that is no worker: it answers everything alike, and remembers what it was sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ends with the test.
pub(crate) struct Impostor {
    pub(crate) address: SocketAddr,
    /// The heads of the requests that came.
    heads: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    /// Answers every request with `status` ("401 Unauthorized"), `headers` (lines that end with `\r\n`) and an empty list.
    pub(crate) fn start(status: &str, headers: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let body = r#"{"success": true, "data": [{"id": "str_false"}]}"#;
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        );
        let (heads, ends) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (kept, ended) = (heads.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                serve(socket.unwrap(), &answer, &kept);
            }
        });
        Self { address, heads, ends, thread: Some(thread) }
    }

    /// Where it is, as a worker's address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(mut socket: TcpStream, answer: &str, heads: &Mutex<Vec<String>>) {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(&socket);
    let mut head = String::new();
    // A connection without a request counts, too.
    while reader.read_line(&mut head).is_ok_and(|read| read > 0) && !head.ends_with("\r\n\r\n") {}
    heads.lock().unwrap().push(head.clone());
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = reader.read_exact(&mut body);
    let _ = socket.write_all(answer.as_bytes());
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

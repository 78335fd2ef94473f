//! The server as a program of its own, as a user starts it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Process, ask_to_end, can_be_asked};

/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(30);

/// A running `dreamframe serve` or `dreamframe gateway`, which ends with this.
#[derive(Debug)]
pub struct Program {
    child: Child,
    addr: SocketAddr,
}

/// A stream of a [`Program`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveStream {
    id: String,
    key: String,
}

/// What a program answers to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// Returns the JSON of the body; `Null` if it has another form.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl LiveStream {
    /// Names a stream that exists, by the object that the API has of it.
    pub fn of(object: &Value) -> Self {
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        Self { id: text("id"), key: text("stream_key") }
    }

    /// Returns the id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the path to publish to.
    pub fn whip(&self) -> String {
        format!("/live/video-to-video/{}/whip", self.key)
    }

    /// Returns the path to watch.
    pub fn whep(&self) -> String {
        format!("/live/video-to-video/{}-out/whep", self.key)
    }
}

impl Program {
    /// Starts the program, on a port of the system's choice.
    ///
    /// # Errors
    ///
    /// Those of the system; `InvalidData` where it does not say what it listens at.
    pub fn start(path: &Path) -> io::Result<Self> {
        Self::start_with(path, |_| ())
    }

    /// Likewise, with changes of the command line and the environment.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start).
    pub fn start_with(path: &Path, change: impl FnOnce(&mut Command)) -> io::Result<Self> {
        Self::run(path, &["serve", "--rtmp", "off", "--threads", "1"], change)
    }

    /// Starts a gateway of the workers of a registry.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start).
    pub fn gateway(path: &Path, registry: &str, change: impl FnOnce(&mut Command)) -> io::Result<Self> {
        Self::run(path, &["gateway", "--registry", registry], change)
    }

    fn run(path: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> io::Result<Self> {
        let mut command = Command::new(path);
        command.args(arguments).args(["--bind", "127.0.0.1:0", "--json"]);
        command.env("RUST_LOG", "warn").env_remove("DREAMFRAME_API_KEYS");
        change(&mut command);
        let mut child = can_be_asked(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        let addr = told["url"].as_str().and_then(|url| url.strip_prefix("http://")?.parse().ok());
        // It must not outlive a failure.
        let mut program = Self { child, addr: ([127, 0, 0, 1], 0).into() };
        program.addr = addr.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the program said no address"))?;
        Ok(program)
    }

    /// Asks it to end in good order, and waits until it has ended; returns whether it succeeded.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn stop(mut self) -> io::Result<bool> {
        ask_to_end(&self.child, "TERM")?;
        self.child.wait().map(|status| status.success())
    }

    /// Returns where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns its process.
    pub fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    /// Returns the address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Creates a stream with some parameters.
    ///
    /// # Errors
    ///
    /// Those of [`ask`](Self::ask).
    pub fn create(&self, params: &Value) -> io::Result<LiveStream> {
        self.ask("POST", "/v1/streams", &json!({ "params": params })).map(|made| LiveStream::of(&made))
    }

    /// Changes parameters of a stream.
    ///
    /// # Errors
    ///
    /// Those of [`ask`](Self::ask).
    pub fn patch(&self, stream: &LiveStream, params: &Value) -> io::Result<()> {
        self.ask("PATCH", &format!("/v1/streams/{}", stream.id), &json!({ "params": params })).map(drop)
    }

    /// Ends a stream.
    ///
    /// # Errors
    ///
    /// Those of [`ask`](Self::ask).
    pub fn end(&self, stream: &LiveStream) -> io::Result<()> {
        self.ask("DELETE", &format!("/v1/streams/{}", stream.id), &json!({})).map(drop)
    }

    /// Returns the streams.
    ///
    /// # Errors
    ///
    /// Those of [`ask`](Self::ask).
    pub fn streams(&self) -> io::Result<Value> {
        self.ask("GET", "/v1/streams", &json!({}))
    }

    /// Sends JSON, and gives the JSON that is answered.
    ///
    /// # Errors
    ///
    /// Those of the connection; `InvalidData`, with what was answered, where that is no success.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let answer = self.send(method, path, body)?;
        let unsound = || io::Error::new(io::ErrorKind::InvalidData, format!("{method} {path}: {answer:?}"));
        if answer.status / 100 != 2 {
            return Err(unsound());
        }
        serde_json::from_str(&answer.text).map_err(|_| unsound())
    }

    /// Sends JSON, and gives what is answered, whether it is a success or not.
    ///
    /// # Errors
    ///
    /// Those of the connection; `InvalidData` where the answer has no status.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        let (status, body) = self.exchange(method, path, body)?;
        let text = String::from_utf8(body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Answer { status, text })
    }

    /// Reads what is at a path; `None` if there is nothing.
    ///
    /// # Errors
    ///
    /// Those of [`ask`](Self::ask).
    pub fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.exchange("GET", path, &json!({}))? {
            (200, body) => Ok(Some(body)),
            (404, _) => Ok(None),
            (status, _) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {status}"))),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n",
            self.addr
        );
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let unsound = || io::Error::new(io::ErrorKind::InvalidData, format!("{method} {path}: no answer"));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(unsound)?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if let Some(length) = length.filter(|length: &usize| *length != body.len()) {
            let text = format!("{method} {path}: got {} bytes, expected {length}", body.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok((status.ok_or_else(unsound)?, body))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A server that runs as long as a test, and a client that sends exactly the given bytes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dreamframe_tests::process::{ask_to_end, can_be_asked};
use serde_json::{Value, json};

/// A running `dreamframe serve` or `dreamframe gateway`.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// The address for OSC; empty if it is off.
    pub(crate) osc: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// Starts a server with the demo model, without keys.
    pub(crate) fn start() -> Self {
        Self::with(&[], &[])
    }

    /// Starts one with further arguments and environment variables.
    pub(crate) fn with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let rtmp: &[&str] = if arguments.contains(&"--rtmp") { &[] } else { &["--rtmp", "off"] };
        Self::run("serve", &[arguments, rtmp].concat(), variables)
    }

    /// Starts what a subcommand serves.
    pub(crate) fn run(subcommand: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::run_with_log(subcommand, arguments, variables, Stdio::null())
    }

    /// Starts what a subcommand serves, with its log in `log`.
    pub(crate) fn run_with_log(subcommand: &str, arguments: &[&str], variables: &[(&str, &str)], log: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dreamframe"));
        command.args([subcommand, "--bind", "127.0.0.1:0"]).args(arguments);
        command.env_remove("RUST_LOG").envs(variables.iter().copied());
        let mut child =
            can_be_asked(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "listening");
        let address = event["url"].as_str().unwrap().split_once("://").unwrap().1.to_owned();
        let osc = event["osc"].as_str().unwrap_or_default().to_owned();
        Self { child, address, osc }
    }

    /// Sends a request as it is written; the head's lines end with `\n` alone here.
    pub(crate) fn raw(&self, head: &str, body: &[u8]) -> Answer {
        let mut socket = self.connect();
        let head = format!("{}\r\n\r\n", head.trim_end().replace('\n', "\r\n"));
        socket.write_all(head.as_bytes()).unwrap();
        // A server that refuses a body may close before all of it was sent.
        let _ = socket.write_all(body);
        Answer::read(&mut socket)
    }

    /// Asks it to end in good order.
    pub(crate) fn ask_to_end(&self) {
        ask_to_end(&self.child, "TERM").unwrap();
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket
    }

    /// Sends a request with `headers`, each a line.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let more: String = headers.iter().map(|line| format!("{line}\n")).collect();
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\n", body.len()) };
        self.raw(&format!("{method} {path} HTTP/1.1\nhost: {}\nconnection: close\n{more}{length}", self.address), body)
    }

    /// Sends a JSON body.
    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &["content-type: application/json"], body.to_string().as_bytes())
    }

    /// Sends a request without a body.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Creates a stream, and returns its object.
    pub(crate) fn create(&self, body: &Value) -> Value {
        let answer = self.json("POST", "/v1/streams", body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.value()
    }

    /// Creates a stream, and returns its path.
    pub(crate) fn stream(&self, params: Value) -> String {
        let stream = self.create(&json!({"pipeline": "streamdiffusion", "params": params}));
        format!("/v1/streams/{}", stream["id"].as_str().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// Reads one answer, whose connection then closes; those in between (100) are passed over.
    pub(crate) fn read(socket: &mut TcpStream) -> Self {
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all);
        let mut rest = all.as_slice();
        loop {
            let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
            let (head, body) =
                rest.split_at(end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(rest))));
            let head = String::from_utf8(head.to_vec()).unwrap();
            let mut lines = head.split("\r\n");
            let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let headers = lines.map(|line| line.split_once(':').unwrap());
            let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
            rest = &body[4..];
            if status != 100 {
                return Self { status, headers, body: rest.to_vec() };
            }
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks that this is an error as the SDKs read it.
    pub(crate) fn expect_error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.header("content-type").starts_with("application/json"), "{self:?}");
        let body = self.value();
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["success", "error", "code", "status", "details", "requestId", "traceId"]);
        assert_eq!((&body["success"], &body["status"]), (&json!(false), &json!(status)));
        // Pages may read it: those of any origin where keys are configured, and else those of the origins that are allowed.
        assert!(self.header("access-control-allow-origin") == "*" || self.header("vary") == "Origin", "{self:?}");
        body
    }
}

//! How large and how wide a body may be, and how many large ones are read at a time.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::client::{Answer, Server};

/// More than a style image of the largest size takes, in its body.
const MOST: usize = 12 << 20;
/// Bodies above 1 MiB that are read at a time.
const LARGE_BODIES: usize = 4;

#[test]
fn a_body_of_twelve_mebibytes_is_read_and_a_longer_one_is_not() {
    let server = Server::start();
    let body = |length: usize| format!("{{\"name\": \"x\"{}}}", " ".repeat(length - 13));
    assert_eq!(body(100).len(), 100);
    assert_eq!(server.send("POST", "/v1/streams", &[], body(MOST).as_bytes()).status, 201);
    // Refused by what is said of its length, and where nothing is said, by what comes.
    let head = format!("POST /v1/streams HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", server.address);
    let mut socket = server.connect();
    write!(socket, "{head}content-length: {}\r\n\r\n", MOST + 1).unwrap();
    Answer::read(&mut socket).expect_error(413);
    let mut socket = server.connect();
    write!(socket, "{head}transfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    // It may close before all was sent.
    while socket.write_all(chunk.as_bytes()).is_ok() {}
    let _ = socket.read(&mut [0]);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_body_of_many_small_values_is_refused_with_the_figure() {
    let server = Server::start();
    let path = server.stream(json!({}));
    for wide in [format!("[0{}]", ",0".repeat(1_000_000)), format!("[[]{}]", ",[]".repeat(1_000_000))] {
        let body = format!("{{\"params\": {{\"unheard_of\": {wide}}}}}");
        let error = server.send("PATCH", &path, &[], body.as_bytes()).expect_error(400);
        assert!(error["error"].as_str().unwrap().contains("100000"), "{}", error["error"]);
        assert_eq!(server.send("POST", "/v1/streams", &[], body.as_bytes()).status, 400);
    }
}

/// A request whose body is large and does not come yet; answered with 100 once it is waited for.
fn large(server: &Server) -> TcpStream {
    let mut socket = server.connect();
    write!(
        socket,
        "POST /v1/streams HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        server.address,
        2 << 20
    )
    .unwrap();
    socket
}

fn goes_on(mut socket: &TcpStream) -> bool {
    let mut line = [0; 25];
    match socket.read_exact(&mut line) {
        Ok(()) => line.starts_with(b"HTTP/1.1 100 "),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn large_bodies_wait_for_each_other_and_small_ones_do_not() {
    let server = Server::start();
    let mut reading: Vec<_> = (0..LARGE_BODIES).map(|_| large(&server)).collect();
    assert!(reading.iter().all(goes_on));
    let mut waiting = large(&server);
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(!goes_on(&waiting));
    assert_eq!(server.send("POST", "/v1/streams", &[], b"{}").status, 201);
    // One that breaks off makes room, as does one that is read.
    drop(reading.pop());
    waiting.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(goes_on(&waiting));
    let body = format!("{{{}}}", " ".repeat((2 << 20) - 2));
    waiting.write_all(body.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut waiting).status, 201);
}

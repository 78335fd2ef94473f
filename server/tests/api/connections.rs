//! Connections: how long one may last that does nothing, and how many there may be.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;

use crate::client::Server;

/// Longer than the server waits for anything here; the time limits are 10 s and 20 s.
const LONG: Duration = Duration::from_secs(40);

/// How many connections of one address there may be by default.
const OF_ONE_ADDRESS: usize = 256;

/// Waits for the end of a connection, whatever is answered before.
fn expect_end(mut socket: impl std::io::Read, what: &str) {
    let began = Instant::now();
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {}
        Err(error) => panic!("{what}: after {:?}: {error}", began.elapsed()),
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 "), "{what}: {text}");
}

fn connect(server: &Server) -> TcpStream {
    let socket = server.connect();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

fn expect_time_limits(server: &Server) {
    std::thread::scope(|scope| {
        for sent in [
            b"".as_slice(),
            b"P",
            b"GET /hea",
            b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n",
            // The first bytes of HTTP/2, which is not spoken here.
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PRI * HT",
        ] {
            scope.spawn(move || {
                let mut socket = connect(server);
                socket.write_all(sent).unwrap();
                expect_end(socket, &String::from_utf8_lossy(sent));
            });
        }
        scope.spawn(|| {
            // After a response, a connection has a timeout for the next request.
            let mut socket = connect(server);
            socket.write_all(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
            expect_end(socket, "an idle connection");
        });
    });
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_connection_that_sends_no_request_ends() {
    expect_time_limits(&Server::start());
}

#[test]
fn idle_connection_to_a_gateway_is_closed() {
    // It need not reach its registry for that.
    expect_time_limits(&Server::run("gateway", &["--registry", "redis://127.0.0.1:1"], &[]));
}

/// A TLS server, and the configuration of clients that trust it.
fn with_tls() -> (Server, rustls::ClientConfig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let arguments = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = Server::with(&arguments, &[]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server, config.with_root_certificates(roots).with_no_client_auth(), folder)
}

#[test]
fn a_connection_by_tls_that_sends_no_request_ends_and_speaks_http_1_alone() {
    let (server, mut config, _folder) = with_tls();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    std::thread::scope(|scope| {
        scope.spawn(|| expect_end(connect(&server), "no handshake"));
        for sent in [b"".as_slice(), b"GET / HTTP/1.1\r\n"] {
            let (server, config) = (&server, config.clone());
            scope.spawn(move || {
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let client = rustls::ClientConnection::new(config, name).unwrap();
                let mut stream = rustls::StreamOwned::new(client, connect(server));
                stream.conn.complete_io(&mut stream.sock).unwrap();
                assert_eq!(stream.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
                stream.write_all(sent).unwrap();
                expect_end(stream, &format!("a handshake and {:?}", String::from_utf8_lossy(sent)));
            });
        }
    });
}

/// Requests answers of many megabytes and reads none of them.
#[test]
fn a_connection_that_does_not_read_its_answers_ends() {
    let server = Server::start();
    let mut socket = connect(&server);
    let request = format!("GET /page/clip.mp4 HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    socket.set_nonblocking(true).unwrap();
    let (began, mut at) = (Instant::now(), 0);
    // The server reads no further requests once it can write no more, and resets the connection when it gives it up.
    loop {
        match socket.write(&request.as_bytes()[at..]) {
            Ok(written) => at = (at + written) % request.len(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
                return;
            }
        }
        assert!(began.elapsed() < LONG, "the connection is still there");
    }
}

/// The body of an offer is short, and need not take long.
#[test]
fn an_offer_whose_body_does_not_come_is_refused_in_time() {
    let server = Server::start();
    let stream = server.create(&serde_json::json!({}));
    let mut socket = connect(&server);
    let path = stream["whip_url"].as_str().unwrap().split_once(&server.address).unwrap().1.to_owned();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/sdp\r\ncontent-length: 9\r\n\r\n",
        server.address
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).expect("an answer in time");
    assert_eq!(&first, b"HTTP/1.1 408");
}

#[test]
fn connections_per_address_are_limited_and_released() {
    let server = Server::start();
    let mut held: Vec<_> = (0..OF_ONE_ADDRESS).map(|_| answered(&server)).collect();
    assert!(!answers(&server), "there is one connection too many");
    held.truncate(OF_ONE_ADDRESS / 2);
    expect_room(&server);
}

#[test]
fn the_limit_of_connections_can_be_set() {
    let server = Server::with(&["--max-connections", "4"], &[]);
    let held = [answered(&server), answered(&server)];
    assert!(!answers(&server), "half of the connections may be of one address");
    drop(held);
    expect_room(&server);
}

/// A connection that the server has let in, and that may send a further request.
fn answered(server: &Server) -> TcpStream {
    let mut socket = connect(server);
    socket.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    socket
}

fn expect_room(server: &Server) {
    let began = Instant::now();
    while !answers(server) {
        assert!(began.elapsed() < LONG, "there is no room again");
    }
}

fn answers(server: &Server) -> bool {
    let mut socket = connect(server);
    // One that is refused may be closed before the request is written.
    let _ = socket.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut text = String::new();
    let _ = socket.read_to_string(&mut text);
    text.starts_with("HTTP/1.1 200")
}

//! Responses of a server to clients other than this library's.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

/// Sends bytes and returns the response.
fn talk(server: &Server<()>, request: &str) -> String {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server may close the connection if the request is too long.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap().to_ascii_lowercase()
}

#[test]
fn every_answer_is_for_all_origins_and_the_last_of_its_connection() {
    let server = echo(&ServeOptions { token: Some("right".into()), ..options() });
    let with_token = "host: sd.example\r\nauthorization: right\r\n";
    let cases = [
        ("OPTIONS /whip", "host: a\r\n", "204"),
        ("OPTIONS /whep/session", "host: a\r\n", "204"),
        ("POST /whip", "host: a\r\n", "401"),
        ("GET /whep", "host: a\r\nauthorization: Bearer wrong\r\n", "401"),
        ("GET /whep", "host: a\r\nauthorization: bearer right\r\n", "200"),
        ("HEAD /whep", with_token, "200"),
        ("PUT /whip", with_token, "405"),
        ("POST /whip", with_token, "415"),
        ("DELETE /whip/none", with_token, "404"),
        ("DELETE /whip/..%2f..%2fetc%2fpasswd", with_token, "404"),
        ("DELETE /whip/%ff", with_token, "404"),
        ("GET /", with_token, "404"),
        ("GET /whip/a/b", with_token, "404"),
    ];
    for (line, headers, status) in cases {
        let answer = talk(&server, &format!("{line} HTTP/1.1\r\n{headers}content-length: 0\r\n\r\n"));
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{line}: {answer}");
        assert!(answer.contains("access-control-allow-origin: *\r\n"), "{line}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{line}: {answer}");
    }
    assert!(talk(&server, "POST /whip HTTP/1.1\r\nhost: a\r\n\r\n").contains("www-authenticate: bearer\r\n"));
}

#[test]
fn without_a_token_pages_of_other_origins_and_hosts_of_other_names_are_refused() {
    let server = echo(&options());
    let offer = "content-type: application/sdp\r\ncontent-length: 3\r\n\r\nv=0";
    for (method, path) in
        [("GET", "/whep"), ("OPTIONS", "/whip"), ("POST", "/whip"), ("DELETE", "/whep/ses_1"), ("GET", "/")]
    {
        for headers in [
            "host: 127.0.0.1\r\norigin: https://hostile.example\r\n",
            "host: localhost\r\norigin: null\r\n",
            "host: hostile.example\r\n",
            "host: hostile.example:8080\r\norigin: http://hostile.example:8080\r\n",
        ] {
            let answer = talk(&server, &format!("{method} {path} HTTP/1.1\r\n{headers}{offer}"));
            assert!(answer.starts_with("http/1.1 403 "), "{method} {path} {headers}: {answer}");
            assert!(!answer.contains("access-control-allow-origin"), "{answer}");
            assert!(answer.contains("vary: origin\r\n"), "{answer}");
        }
    }
    for (headers, origin) in [
        ("host: localhost:1\r\norigin: http://localhost:3000\r\n", Some("http://localhost:3000")),
        ("host: [::1]\r\norigin: http://127.0.0.1\r\n", Some("http://127.0.0.1")),
        ("host: 127.0.0.1\r\n", None),
    ] {
        let answer = talk(&server, &format!("GET /whep HTTP/1.1\r\n{headers}\r\n"));
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        let told = answer.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: "));
        assert_eq!(told, origin, "{answer}");
    }
}

#[test]
fn server_without_a_token_answers_pages_of_allowed_origins() {
    let origins = vec!["https://app.example".into(), "http://app.example:3000".into()];
    let public_url = Some("https://sd.example/stream/".into());
    let server = echo(&ServeOptions { allow_origins: origins, public_url, ..options() });
    for (host, origin, status) in [
        ("localhost", "https://app.example", "200"),
        ("localhost", "http://app.example:3000", "200"),
        ("sd.example", "https://sd.example", "200"),
        ("localhost", "http://app.example", "403"),
        ("hostile.example", "https://app.example", "403"),
    ] {
        let answer = talk(&server, &format!("GET /whep HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\n\r\n"));
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{host} {origin}: {answer}");
        let told = answer.contains(&format!("access-control-allow-origin: {origin}\r\n"));
        assert_eq!(told, status == "200", "{host} {origin}: {answer}");
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let server = echo(&options());
    let head =
        "POST /whip HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/sdp\r\ncontent-length: 1000000000\r\n\r\n";
    let answer = talk(&server, head);
    assert!(answer.starts_with("http/1.1 413 "), "{answer}");
}

#[test]
fn garbage_ends_a_connection_and_nothing_else() {
    let server = echo(&options());
    for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "POST /whip HTTP/9.9\r\n\r\n"] {
        talk(&server, garbage);
    }
    assert!(talk(&server, "GET /whip HTTP/1.1\r\nhost: localhost\r\n\r\n").starts_with("http/1.1 200 "));
}

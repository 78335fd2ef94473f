//! Clients that cannot connect.

use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::super::{Client, ClientEvent, ClientOptions, publish};
use super::fake::{Fake, answer};
use crate::ErrorKind;
use crate::transport::peer::{PeerOptions, PeerState};
use crate::transport::{Egress, EgressOptions};

const LONG: Duration = Duration::from_secs(60);

fn options() -> ClientOptions {
    let peer = PeerOptions { bind: vec![Ipv4Addr::LOCALHOST.into()], ..PeerOptions::default() };
    ClientOptions { peer, pause: Duration::from_millis(1), ..ClientOptions::default() }
}

fn publisher(url: &str, options: ClientOptions) -> Client {
    publish(url, options, Egress::new(EgressOptions::default())).unwrap()
}

/// The error of each attempt, and the pause that followed in milliseconds.
fn troubles(client: &Client) -> Vec<(String, Option<u64>)> {
    let mut troubles = Vec::new();
    while let Some(event) = client.events().next_within(LONG) {
        if let ClientEvent::AttemptFailed { error, retry_ms } = event {
            troubles.push((error.to_string().rsplit_once("status ").unwrap().1.to_owned(), retry_ms));
        }
    }
    troubles
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_the_end() {
    let server = Fake::start(|_, before| answer([404, 409, 429, 500, 401][before], &[], "no"));
    let client = publisher(&server.url("/whip"), options());
    client.wait_for(PeerState::Failed, LONG).unwrap();
    let expected =
        [("404: no", Some(1)), ("409: no", Some(2)), ("429: no", Some(4)), ("500: no", Some(8)), ("401: no", None)];
    assert_eq!(troubles(&client), expected.map(|(what, retry)| (what.to_owned(), retry)));
    let error = client.wait_for(PeerState::Connected, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(format!("{error:#}").contains("401"), "{error:#}");
    assert!(client.stats().is_none() && client.playback_url().is_none());
    let offers = server.asked();
    assert!(offers.iter().all(|asked| asked.body.contains("a=ice-ufrag:")), "{offers:?}");
}

#[test]
fn client_gives_up_after_the_given_number_of_attempts() {
    let server = Fake::start(|_, _| answer(503, &[], "full"));
    let attempts = NonZeroU32::new(2);
    let client = publisher(&server.url("/whip"), ClientOptions { attempts, ..options() });
    client.wait_for(PeerState::Failed, LONG).unwrap();
    assert_eq!(server.lines().len(), 2);
    assert_eq!(troubles(&client).pop().unwrap().1, None);
}

#[test]
fn ice_servers_that_cannot_be_used_do_not_keep_a_client_from_its_next_attempt() {
    let headers = [("link", "<turn:127.0.0.1:9>; rel=\"ice-server\""), ("location", "/session")];
    let server = Fake::start(move |_, _| answer(201, &headers, "v=0\r\n"));
    let client = publisher(&server.url("/whip"), ClientOptions { attempts: NonZeroU32::new(4), ..options() });
    client.wait_for(PeerState::Failed, LONG).unwrap();
    let offers = server.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert!(offers >= 2, "{offers} offers");
}

#[test]
fn retry_after_of_the_server_is_respected() {
    let server = Fake::start(|_, _| answer(503, &[("retry-after", "9")], "full"));
    let client = publisher(&server.url("/whip"), options());
    let waits = std::iter::from_fn(|| client.events().next_within(LONG)).find_map(|event| match event {
        ClientEvent::AttemptFailed { retry_ms, .. } => retry_ms,
        ClientEvent::State { .. } => None,
    });
    assert_eq!(waits, Some(9000));
    client.stop();
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn stopped_client_deletes_a_session_that_never_connected() {
    // The answer does not match the offer, so the client ends the session on the server.
    let server = Fake::start(|asked, _| {
        if asked.line.starts_with("POST") {
            answer(201, &[("location", "/session")], "v=0\r\n")
        } else {
            answer(200, &[], "")
        }
    });
    let client = publisher(&server.url("/whip"), ClientOptions { pause: LONG, ..options() });
    assert!(matches!(client.events().next_within(LONG), Some(ClientEvent::AttemptFailed { .. })));
    let events = client.events();
    client.stop();
    assert_eq!(server.lines(), ["POST /whip", "DELETE /session"]);
    assert!(matches!(events.try_next(), Some(ClientEvent::State { state: PeerState::Closed })));
    assert!(events.next_within(LONG).is_none());
}

#[test]
fn silent_server_does_not_delay_shutdown() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = publisher(&format!("http://{}/whip", silent.local_addr().unwrap()), options());
    let asked = silent.accept().unwrap();
    assert_eq!(client.wait_for(PeerState::Connected, Duration::from_millis(1)).unwrap_err().kind(), ErrorKind::Timeout);
    let start = Instant::now();
    client.stop();
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    drop(asked);
}

#[test]
fn events_are_written_with_their_type() {
    let event = ClientEvent::State { state: PeerState::Connected };
    assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"type":"state","state":"connected"}"#);
}

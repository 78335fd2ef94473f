//! One request at a time.

use std::time::Duration;

use super::super::wire::{Failure, Wire};
use super::fake::{Fake, answer};
use crate::ErrorKind;

const TIMEOUT: Duration = Duration::from_secs(60);

fn wire(url: &str, token: Option<&str>) -> Wire {
    Wire::new(url, token, TIMEOUT).unwrap()
}

fn created(location: &str) -> http::Response<String> {
    answer(201, &[("content-type", "application/sdp"), ("location", location)], "v=0\r\n")
}

#[test]
fn an_offer_is_posted_and_the_answer_read() {
    let server = Fake::start(|_, _| {
        let headers = [
            ("location", "/sessions/1"),
            ("livepeer-playback-url", "https://elsewhere.example/whep/x"),
            ("link", "<stun:127.0.0.1:9>; rel=\"ice-server\""),
        ];
        answer(201, &headers, "v=0\r\nanswer")
    });
    let url = server.url("/whip/key?x=1");
    let created = wire(&url, Some("secret")).post(&url, "v=0\r\noffer").unwrap();
    assert_eq!(created.answer, "v=0\r\nanswer");
    assert_eq!(created.resource, Some(server.url("/sessions/1")));
    assert_eq!(created.playback_url.as_deref(), Some("https://elsewhere.example/whep/x"));
    assert_eq!(created.ice_servers.len(), 1);
    let asked = server.asked().remove(0);
    assert_eq!(asked.line, "POST /whip/key?x=1");
    assert_eq!(asked.content_type.as_deref(), Some("application/sdp"));
    assert_eq!((asked.token.as_deref(), asked.body.as_str()), (Some("Bearer secret"), "v=0\r\noffer"));
}

#[test]
fn redirects_keep_method_body_and_token() {
    let server = Fake::start(|asked, _| match asked.line.split(' ').nth(1).unwrap() {
        "/a" => answer(307, &[("location", "b/c")], ""),
        "/b/c" => answer(308, &[("location", "/d/e")], ""),
        "/d/e" => created("session"),
        _ => answer(200, &[], ""),
    });
    let url = server.url("/a");
    let wire = wire(&url, Some("secret"));
    let created = wire.post(&url, "v=0\r\n").unwrap();
    // Relative to the URL of the redirect.
    let resource = created.resource.unwrap();
    assert_eq!(resource, server.url("/d/session"));
    wire.delete(&resource).unwrap();
    assert_eq!(server.lines(), ["POST /a", "POST /b/c", "POST /d/e", "DELETE /d/session"]);
    for asked in server.asked() {
        assert_eq!(asked.token.as_deref(), Some("Bearer secret"), "{asked:?}");
        assert!(asked.line.starts_with("DELETE") || asked.body == "v=0\r\n", "{asked:?}");
    }
}

#[test]
fn token_is_not_sent_to_another_host() {
    let other = Fake::start(|_, _| created("/session"));
    let target = format!("http://localhost:{}/x", other.addr.port());
    let server = Fake::start(move |_, _| answer(307, &[("location", &target)], ""));
    let url = server.url("/a");
    wire(&url, Some("secret")).post(&url, "v=0\r\n").unwrap();
    assert_eq!(server.asked().remove(0).token.as_deref(), Some("Bearer secret"));
    assert_eq!(other.asked().remove(0).token, None);
}

#[test]
fn unencrypted_session_url_is_not_sent_the_token() {
    let server = Fake::start(|_, _| answer(200, &[], ""));
    let wire = wire(&server.url("/whip").replace("http://", "https://"), Some("secret"));
    wire.delete(&server.url("/session")).unwrap();
    assert_eq!(server.asked().remove(0).token, None);
}

#[test]
fn redirects_that_change_the_request_are_refused() {
    for status in [301, 302, 303] {
        let server = Fake::start(move |_, _| answer(status, &[("location", "/b")], ""));
        let url = server.url("/a");
        let refused = wire(&url, None).post(&url, "v=0\r\n");
        assert!(matches!(refused, Err(Failure::Final(_))), "{refused:?}");
        assert_eq!(server.lines(), ["POST /a"]);
    }
    let server = Fake::start(|_, _| answer(307, &[("location", "/a")], ""));
    let url = server.url("/a");
    assert!(matches!(wire(&url, None).post(&url, "v=0\r\n"), Err(Failure::Final(_))));
    assert_eq!(server.lines().len(), 6);
    for target in [&[("location", "ftp://x")][..], &[]] {
        let server = Fake::start(move |_, _| answer(307, target, ""));
        let url = server.url("/a");
        assert!(matches!(wire(&url, None).post(&url, "v=0\r\n"), Err(Failure::Final(_))));
    }
}

#[test]
fn statuses_determine_whether_to_retry() {
    let passing = [404, 408, 409, 425, 429, 500, 502, 503, 504];
    let last = [400, 401, 403, 405, 406, 410, 415, 422];
    for status in passing.into_iter().chain(last) {
        let server = Fake::start(move |_, _| answer(status, &[("retry-after", "7")], "because\r\nof that"));
        let url = server.url("/whip/key");
        match wire(&url, None).post(&url, "v=0\r\n").unwrap_err() {
            Failure::Passing(error, after) => {
                assert!(passing.contains(&status), "{status}");
                assert_eq!(after, Some(Duration::from_secs(7)));
                assert!(error.to_string().ends_with(&format!("{status}: becauseof that")), "{error}");
                // The key is in the path, and must not be logged.
                assert!(!error.to_string().contains("key"), "{error}");
            }
            Failure::Final(error) => assert!(last.contains(&status), "{error}"),
        }
    }
}

#[test]
fn invalid_responses_are_rejected() {
    let server = Fake::start(|_, before| match before {
        0 => answer(200, &[], "<html>"),
        1 => answer(201, &[], &"v=0\r\n".repeat(20_000)),
        _ => answer(201, &[("location", "ftp://x"), ("link", "nonsense")], "v=0\r\n"),
    });
    let url = server.url("/a");
    let wire = wire(&url, None);
    assert!(matches!(wire.post(&url, "v=0\r\n"), Err(Failure::Final(_))));
    assert!(matches!(wire.post(&url, "v=0\r\n"), Err(Failure::Passing(..))));
    let created = wire.post(&url, "v=0\r\n").unwrap();
    assert!(created.resource.is_none() && created.ice_servers.is_empty());
}

#[test]
fn a_session_that_has_ended_need_not_be() {
    let server = Fake::start(|_, before| answer([200, 204, 404, 500][before], &[], ""));
    let url = server.url("/session");
    let wire = wire(&url, None);
    assert!((0..3).all(|_| wire.delete(&url).is_ok()));
    assert!(wire.delete(&url).is_err());
}

#[test]
fn candidates_are_sent_with_the_tag_of_their_session_if_it_has_one() {
    let server = Fake::start(|_, _| answer(204, &[], ""));
    let url = server.url("/session");
    let wire = wire(&url, Some("secret"));
    let tag = http::HeaderValue::from_static("\"tag\"");
    for tag in [Some(&tag), None] {
        wire.patch(&url, "a=end-of-candidates\r\n", tag).unwrap();
    }
    let tags: Vec<_> = server.asked().into_iter().map(|asked| asked.if_match).collect();
    assert_eq!(tags, [Some("\"tag\"".to_owned()), None]);
    for asked in server.asked() {
        assert_eq!((asked.line.as_str(), asked.token.as_deref()), ("PATCH /session", Some("Bearer secret")));
        assert_eq!(asked.content_type.as_deref(), Some("application/trickle-ice-sdpfrag"));
        assert_eq!(asked.body, "a=end-of-candidates\r\n");
    }
    assert!(wire.takes_candidates());
}

#[test]
fn invalid_urls_and_tokens_are_rejected_immediately() {
    for url in ["", "nowhere", "ftp://host/x", "/whip", "http://", "file:///etc/passwd"] {
        let refused = Wire::new(url, None, TIMEOUT).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{url}");
    }
    let refused = Wire::new("http://host/", Some("a\nb"), TIMEOUT).unwrap_err();
    assert!(refused.kind() == ErrorKind::InvalidArgument && !refused.to_string().contains("a\nb"));
}

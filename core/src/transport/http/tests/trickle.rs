//! Requests to a session.

use super::*;

const CANDIDATE: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
    a=candidate:1 1 UDP 2122260223 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n";

async fn published() -> (WhipEndpoint, Peer, String, String) {
    let endpoint = whip(Limits::default());
    let (client, offer) = offer(publishes()).await;
    let response = endpoint.handle(sdp(&offer), None, &links()).await;
    let tag = header(&response, "etag").to_owned();
    let id = session(&response);
    (endpoint, client, id, tag)
}

#[tokio::test]
async fn candidates_are_accepted_for_every_way_to_name_the_session() {
    let (endpoint, _client, id, tag) = published().await;
    let bare = tag.trim_matches('"').to_owned();
    let ways: [&[(&str, &str)]; 7] = [
        &[("if-match", &tag)],
        &[("if-match", "*")],
        &[("etag", &tag)],
        &[],
        &[("if-match", "")],
        &[("if-match", &format!("\"other\", {tag}"))],
        &[("if-match", &bare)],
    ];
    for way in ways {
        let response = endpoint.handle(fragment(way, CANDIDATE), Some(&id), &links()).await;
        assert_eq!(response.status(), 204, "{way:?} {:?}", response.body());
        assert_eq!((header(&response, "etag"), response.body().len()), ("", 0));
        assert_cors(&response);
    }
}

#[tokio::test]
async fn invalid_patches_are_rejected() {
    let (endpoint, _client, id, tag) = published().await;
    for other in ["\"other\"", &format!("W/{tag}"), "\u{e9}"] {
        let response = endpoint.handle(fragment(&[("if-match", other)], CANDIDATE), Some(&id), &links()).await;
        assert_eq!(response.status(), 412, "{other}");
    }
    let malformed = "a=ice-ufrag:EsAw\r\n";
    let response = endpoint.handle(fragment(&[], malformed), Some(&id), &links()).await;
    assert_eq!(response.status(), 400, "{:?}", response.body());
    assert_eq!(endpoint.handle(fragment(&[], &b"\xff\xfe"[..]), Some(&id), &links()).await.status(), 400);
    let wrong_type = request("PATCH", &[("content-type", "application/sdp")], CANDIDATE);
    let response = endpoint.handle(wrong_type, Some(&id), &links()).await;
    assert_eq!(response.status(), 415);
    assert_eq!(header(&response, "accept-patch"), "application/trickle-ice-sdpfrag");
    assert_eq!(endpoint.handle(fragment(&[], CANDIDATE), Some("other"), &links()).await.status(), 404);
}

#[tokio::test]
async fn new_credentials_are_an_ice_restart() {
    let (endpoint, _client, id, tag) = published().await;
    let new = format!("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n{CANDIDATE}");
    let response = endpoint.handle(fragment(&[("if-match", "*")], new.clone()), Some(&id), &links()).await;
    assert_cors(&response);
    assert_eq!(response.status(), 200, "{:?}", response.body());
    assert_eq!(header(&response, "content-type"), "application/trickle-ice-sdpfrag");
    let new_tag = header(&response, "etag").to_owned();
    assert!(!new_tag.is_empty() && new_tag != tag, "{new_tag}");
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    assert_eq!(body.matches("a=candidate:").count(), 1, "{body}");
    assert!(body.contains("a=ice-ufrag:") && body.contains("a=ice-pwd:"), "{body}");
    // The old tag is invalid now; the same credentials again are only candidates.
    assert_eq!(endpoint.handle(fragment(&[("if-match", &tag)], new.clone()), Some(&id), &links()).await.status(), 412);
    assert_eq!(endpoint.handle(fragment(&[("if-match", &new_tag)], new), Some(&id), &links()).await.status(), 204);
}

#[tokio::test]
async fn a_session_is_deleted_once() {
    let (endpoint, _client, id, _) = published().await;
    assert!(endpoint.publisher().is_some());
    let response = endpoint.handle(request("DELETE", &[("if-match", "\"stray\"")], ""), Some(&id), &links()).await;
    assert_eq!((response.status().as_u16(), response.body().len()), (200, 0));
    assert!(endpoint.publisher().is_none());
    for method in ["DELETE", "GET"] {
        assert_eq!(endpoint.handle(request(method, &[], ""), Some(&id), &links()).await.status(), 404);
    }
    assert_eq!(endpoint.handle(fragment(&[], CANDIDATE), Some(&id), &links()).await.status(), 404);
}

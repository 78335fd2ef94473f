//! The contract's tables, method by method.

use super::*;
use crate::transport::peer::IceServer;

const SDP: (&str, &str) = ("content-type", "application/sdp");

/// Method, headers, body; status, and required headers.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a [(&'a str, &'a str)]);

const ENDPOINT: &[Row<'_>] = &[
    ("OPTIONS", &[], "", 204, &[("accept-post", "application/sdp"), ("link", "")]),
    ("OPTIONS", &[("origin", "https://elsewhere.example"), ("access-control-request-method", "POST")], "", 204, &[]),
    ("GET", &[], "", 200, &[]),
    ("HEAD", &[], "", 200, &[]),
    ("DELETE", &[], "", 405, &[("allow", "GET, HEAD, OPTIONS, POST")]),
    ("PATCH", &[SDP], "v=0", 405, &[("allow", "GET, HEAD, OPTIONS, POST")]),
    ("PUT", &[SDP], "v=0", 405, &[("allow", "GET, HEAD, OPTIONS, POST")]),
    ("BREW", &[], "", 405, &[("allow", "GET, HEAD, OPTIONS, POST")]),
    ("POST", &[("content-type", "text/plain")], "v=0", 415, &[("accept-post", "application/sdp")]),
    ("POST", &[], "v=0", 415, &[("accept-post", "application/sdp")]),
    ("POST", &[("cookie", "")], "", 415, &[]),
    ("POST", &[SDP], "", 400, &[]),
    ("POST", &[SDP], "hello", 400, &[]),
    ("POST", &[("content-type", "Application/SDP; charset=utf-8")], "v=0\r\n", 400, &[]),
    (
        "POST",
        &[SDP],
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\na=mid:0\r\n",
        400,
        &[],
    ),
];

const SESSION: &[Row<'_>] = &[
    ("OPTIONS", &[], "", 204, &[("accept-patch", "application/trickle-ice-sdpfrag")]),
    ("GET", &[], "", 404, &[]),
    ("HEAD", &[], "", 404, &[]),
    ("PATCH", &[("content-type", "application/trickle-ice-sdpfrag")], "", 404, &[]),
    ("DELETE", &[], "", 404, &[]),
    ("POST", &[SDP], "v=0", 405, &[("allow", "DELETE, GET, HEAD, OPTIONS, PATCH")]),
    ("PUT", &[], "", 405, &[("allow", "DELETE, GET, HEAD, OPTIONS, PATCH")]),
];

#[tokio::test]
async fn every_method_has_its_answer() {
    let (whip, whep, links) = (whip(Limits::default()), whep(Limits::default()), links());
    for (session, rows) in [(None, ENDPOINT), (Some("none"), SESSION)] {
        for &(method, headers, body, status, expected) in rows {
            let ask = || request(method, headers, body.to_owned());
            let answers = [whip.handle(ask(), session, &links).await, whep.handle(ask(), session, &links).await];
            for response in answers {
                assert_eq!(response.status().as_u16(), status, "{method} {headers:?} {body:?} {response:?}");
                for &(name, value) in expected {
                    assert_eq!(header(&response, name), value, "{method} {headers:?}");
                }
                assert_cors(&response);
                assert_eq!(response.body().is_empty(), status < 400, "{method} {headers:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let long = "v=0\r\n".repeat(20_000);
    let (whip, links) = (whip(Limits::default()), links());
    assert_eq!(whip.handle(sdp(&long), None, &links).await.status(), 413);
    let (_client, offer) = offer(publishes()).await;
    let id = session(&whip.handle(sdp(&offer), None, &links).await);
    assert_eq!(whip.handle(fragment(&[], long), Some(&id), &links).await.status(), 413);
}

#[tokio::test]
async fn response_to_a_publisher_has_all_headers() {
    let servers = vec![
        IceServer { urls: vec!["stun:127.0.0.1:9".into()], ..IceServer::default() },
        IceServer {
            urls: vec!["turn:127.0.0.1:9".into()],
            username: Some("name".into()),
            credential: Some("secret".into()),
            ..IceServer::default()
        },
    ];
    let options = PeerOptions { ice_servers: servers, ..loopback() };
    let endpoint = WhipEndpoint::new(watches(), options, Limits::default());
    let (_client, offer) = offer(publishes()).await;
    // The query of the request, and an unnecessary key, have no effect.
    let mut ask = request("POST", &[SDP, ("authorization", "Bearer any")], offer);
    *ask.uri_mut() = "/whip/key?pipeline=a&params=%7B%7D".parse().unwrap();
    let response = endpoint.handle(ask, None, &links()).await;
    let id = session(&response);
    assert_cors(&response);
    assert_eq!(header(&response, "content-type"), "application/sdp");
    assert_eq!(header(&response, "location"), format!("https://sd.example/whip/key/{id}"));
    assert_eq!(header(&response, "livepeer-playback-url"), "https://sd.example/webrtc/watch");
    assert_eq!(header(&response, "accept-patch"), "application/trickle-ice-sdpfrag");
    let tag = header(&response, "etag");
    assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let links: Vec<_> = response.headers().get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    let turn = "<turn:127.0.0.1:9>; rel=\"ice-server\"; username=\"name\"; credential=\"secret\"; \
                credential-type=\"password\"";
    assert_eq!(links, ["<stun:127.0.0.1:9>; rel=\"ice-server\"", turn]);
    // For clients that gather candidates before their offer.
    let before = endpoint.handle(request("OPTIONS", &[], String::new()), None, &self::links()).await;
    assert!(before.headers().get_all("link").iter().eq(response.headers().get_all("link")));
    assert!(response.body().starts_with(b"v=0\r\n") && response.body().len() <= 8192);
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[tokio::test]
async fn viewer_does_not_get_the_password_of_a_turn_server() {
    let stun = IceServer { urls: vec!["stun:127.0.0.1:9".into()], ..IceServer::default() };
    let turn = IceServer {
        urls: vec!["turn:127.0.0.1:9".into()],
        username: Some("name".into()),
        credential: Some("secret".into()),
        ..IceServer::default()
    };
    let shared =
        IceServer { urls: vec!["turn:127.0.0.1:7".into()], secret: Some("shared".into()), ..IceServer::default() };
    let options = PeerOptions { ice_servers: vec![stun, turn, shared], ..loopback() };
    let endpoint = WhepEndpoint::new(publishes(), options, Limits::default());
    let (_client, offer) = offer(watches()).await;
    let response = endpoint.handle(sdp(&offer), None, &Links { playback: None, ..links() }).await;
    session(&response);
    let links: Vec<_> = response.headers().get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    assert_eq!((links.len(), links[0]), (2, "<stun:127.0.0.1:9>; rel=\"ice-server\""));
    // Created for this response, instead of the permanent ones.
    assert!(links[1].starts_with("<turn:127.0.0.1:7>; rel=\"ice-server\"; username=\""), "{links:?}");
    assert!(links[1].contains(":dreamframe\"; credential=") && !links[1].contains("shared"), "{links:?}");
    let before = endpoint.handle(request("OPTIONS", &[], String::new()), None, &self::links()).await;
    assert_eq!(before.headers().get_all("link").iter().count(), 2);
}

#[tokio::test]
async fn viewer_can_connect_before_a_publisher() {
    let endpoint = whep(Limits::default());
    let (_client, offer) = offer(watches()).await;
    // Some players send the token without a scheme.
    let ask = request("POST", &[SDP, ("authorization", "key")], offer);
    let links = Links { playback: None, ..links() };
    let response = endpoint.handle(ask, None, &links).await;
    let id = session(&response);
    assert_eq!(header(&response, "content-type"), "application/sdp");
    assert_eq!(header(&response, "livepeer-playback-url"), "");
    assert!(!header(&response, "etag").is_empty());
    assert_eq!(endpoint.viewers(), 1);
    assert_eq!(endpoint.handle(request("GET", &[], ""), Some(&id), &links).await.status(), 200);
    let head = endpoint.handle(request("HEAD", &[], ""), None, &links).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-type")), (200, "application/sdp"));
}

#[tokio::test]
async fn offers_without_a_common_codec_are_refused_as_each_kind_of_client_expects() {
    let foreign = |offer: String| offer.replace(" H264/90000", " H999/90000").replace(" VP8/90000", " VP99/90000");
    let (_publisher, publish) = offer(publishes()).await;
    let (_viewer, watch) = offer(watches()).await;
    let refused = whip(Limits::default()).handle(sdp(&foreign(publish)), None, &links()).await;
    assert_eq!(refused.status(), 422, "{:?}", refused.body());
    let refused = whep(Limits::default()).handle(sdp(&foreign(watch)), None, &links()).await;
    assert_eq!(refused.status(), 406, "{:?}", refused.body());
    assert_cors(&refused);
}

#[tokio::test]
async fn addresses_invalid_in_headers_do_not_panic() {
    let links = Links { resource: "https://sd.example/\n".into(), playback: None };
    assert_eq!(whip(Limits::default()).handle(sdp("v=0"), None, &links).await.status(), 500);
}

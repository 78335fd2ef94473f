//! Candidates: those of the offer, later ones, and relayed ones only.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::runtime::Handle;

use super::super::{Client, ClientOptions, publish};
use super::fake::{Asked, Fake, answer};
use super::ice_server::{FakeIceServer, SEEN};
use crate::ErrorKind;
use crate::frame::FrameView;
use crate::transport::http::{Limits, Links};
use crate::transport::peer::{IceServer, IceTransportPolicy, Media, PeerOptions, PeerState};
use crate::transport::{Egress, EgressOptions, FrameSink, WhipEndpoint};

const LONG: Duration = Duration::from_secs(60);
/// Long enough for the addresses of this machine.
const GATHERING: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Blind;

impl FrameSink for Blind {
    fn frame(&self, _: &FrameView<'_>) {}
}

fn loopback() -> PeerOptions {
    PeerOptions { bind: vec![Ipv4Addr::LOCALHOST.into()], ..PeerOptions::default() }
}

fn whip() -> WhipEndpoint {
    let media = Media { video_in: Some(Arc::new(Blind)), ..Media::default() };
    WhipEndpoint::new(media, loopback(), Limits::default())
}

/// The endpoint's response, on the runtime of the fake server.
fn by(endpoint: &WhipEndpoint, asked: &Asked) -> Response<String> {
    let (method, target) = asked.line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target);
    let headers = [("content-type", &asked.content_type), ("if-match", &asked.if_match)];
    for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        request = request.header(name, value);
    }
    let request = request.body(Bytes::from(asked.body.clone())).unwrap();
    let links = Links { resource: "/whip".into(), playback: None };
    let session = target.strip_prefix("/whip/");
    let handling = endpoint.handle(request, session, &links);
    let response = tokio::task::block_in_place(|| Handle::current().block_on(handling));
    response.map(|body| String::from_utf8(body.to_vec()).unwrap())
}

fn publisher(server: &Fake, peer: PeerOptions) -> Client {
    let options = ClientOptions { peer, pause: Duration::from_millis(1), ..ClientOptions::default() };
    publish(&server.url("/whip"), options, Egress::new(EgressOptions::default())).unwrap()
}

/// A WHIP server whose answers to `PATCH` a test changes; it lets `ice` answer once there is an offer.
fn server(
    ice: Arc<FakeIceServer>,
    patched: impl Fn(Response<String>) -> Response<String> + Send + Sync + 'static,
) -> (Fake, Receiver<(Asked, Response<String>)>) {
    let (endpoint, (heard_by, heard)) = (whip(), channel());
    let fake = Fake::start(move |asked, _| {
        let mut response = by(&endpoint, asked);
        if asked.line.starts_with("PATCH") {
            response = patched(response);
        }
        ice.answer();
        // A test that does not listen any more is over.
        let _ = heard_by.send((asked.clone(), response.clone()));
        response
    });
    (fake, heard)
}

fn next(heard: &Receiver<(Asked, Response<String>)>, method: &str) -> (Asked, Response<String>) {
    loop {
        let (asked, response) = heard.recv_timeout(LONG).unwrap();
        if asked.line.starts_with(method) {
            return (asked, response);
        }
    }
}

/// Options of a client whose STUN server is `ice`.
fn with_stun(ice: &FakeIceServer) -> PeerOptions {
    PeerOptions { ice_servers: vec![ice.described("stun")], gather_timeout: GATHERING, ..loopback() }
}

#[test]
fn candidates_found_after_the_offer_are_sent_to_the_session_with_its_tag() {
    let ice = Arc::new(FakeIceServer::start());
    let (server, heard) = server(ice.clone(), |response| response);
    let client = publisher(&server, with_stun(&ice));
    let (offer, created) = next(&heard, "POST");
    // The STUN server has not answered yet: the offer has the candidates that there are.
    let body = &offer.body;
    assert!(body.contains("typ host") && !body.contains("typ srflx"), "{body}");
    assert!(body.contains("a=ice-options:trickle") && !body.contains("a=end-of-candidates"), "{body}");
    let (patch, answered) = next(&heard, "PATCH");
    assert_eq!(answered.status(), 204, "{}", answered.body());
    let header = |name: &str| created.headers()[name].to_str().unwrap();
    assert_eq!(
        (patch.line, patch.if_match.as_deref()),
        (format!("PATCH {}", header("location")), Some(header("etag")))
    );
    assert_eq!(patch.content_type.as_deref(), Some("application/trickle-ice-sdpfrag"));
    let line = |name: &str| body.lines().find(|line| line.starts_with(name)).unwrap();
    for expected in [line("a=ice-ufrag:"), line("a=ice-pwd:"), line("a=mid:"), "typ srflx", &SEEN.ip().to_string()] {
        assert!(patch.body.contains(expected), "{expected} in {}", patch.body);
    }
    assert!(!patch.body.contains("typ host"), "{}", patch.body);
    let last = if patch.body.contains("a=end-of-candidates") { patch.body } else { next(&heard, "PATCH").0.body };
    assert!(last.ends_with("a=end-of-candidates\r\n"), "{last}");
    client.wait_for(PeerState::Connected, LONG).unwrap();
}

#[test]
fn complete_offer_is_followed_by_no_candidates() {
    let ice = Arc::new(FakeIceServer::start());
    ice.answer();
    let (server, heard) = server(ice.clone(), |response| response);
    let client = publisher(&server, PeerOptions { gather_timeout: LONG, ..with_stun(&ice) });
    let (offer, _) = next(&heard, "POST");
    assert!(offer.body.contains("typ srflx") && offer.body.contains("a=end-of-candidates"), "{}", offer.body);
    client.wait_for(PeerState::Connected, LONG).unwrap();
    client.stop();
    assert!(server.lines().iter().all(|line| !line.starts_with("PATCH")), "{:?}", server.lines());
}

#[test]
fn server_that_refuses_candidates_is_connected_to_and_not_asked_again() {
    for status in [404, 405, 501] {
        let ice = Arc::new(FakeIceServer::start());
        let (server, heard) = server(ice.clone(), move |_| answer(status, &[], "no"));
        let client = publisher(&server, with_stun(&ice));
        let (patch, _) = next(&heard, "PATCH");
        let tag = http::HeaderValue::from_static("\"tag\"");
        client.wait_for(PeerState::Connected, LONG).unwrap();
        client.stop();
        let patches = server.lines().into_iter().filter(|line| line.starts_with("PATCH")).count();
        assert_eq!(patches, 1, "{status}");
        let url = server.url("/whip/session");
        let wire = super::super::wire::Wire::new(&url, None, LONG).unwrap();
        assert!(wire.takes_candidates());
        assert!(wire.patch(&url, &patch.body, Some(&tag)).is_err() && !wire.takes_candidates(), "{status}");
    }
}

#[test]
fn other_failures_to_send_candidates_do_not_end_the_connection() {
    for status in [400, 412, 500] {
        let ice = Arc::new(FakeIceServer::start());
        let (server, heard) = server(ice.clone(), move |_| answer(status, &[], "no"));
        let client = publisher(&server, with_stun(&ice));
        next(&heard, "PATCH");
        client.wait_for(PeerState::Connected, LONG).unwrap();
        assert!(client.trouble().is_none(), "{:?}", client.trouble());
    }
}

fn relayed_only(ice_servers: Vec<IceServer>) -> PeerOptions {
    PeerOptions { ice_servers, ice_transport_policy: IceTransportPolicy::Relay, ..loopback() }
}

#[test]
fn relayed_candidates_without_a_turn_server_are_refused() {
    let stun = IceServer { urls: vec!["stun:127.0.0.1:9".into()], ..IceServer::default() };
    let by_tcp = IceServer { urls: vec!["turn:127.0.0.1:9?transport=tcp".into()], ..stun.clone() };
    for (status, link) in [(204, ""), (204, "<stun:127.0.0.1:9>; rel=\"ice-server\""), (405, ""), (501, "")] {
        let server = Fake::start(move |_, _| answer(status, &[("link", link)], ""));
        let client = publisher(&server, relayed_only(vec![stun.clone(), by_tcp.clone()]));
        client.wait_for(PeerState::Failed, LONG).unwrap();
        let error = client.trouble().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().starts_with("TURN server: missing, expected"), "{error}");
        assert_eq!(server.lines(), ["OPTIONS /whip"]);
    }
}

#[test]
fn relayed_candidates_of_a_turn_server_that_the_server_names_are_the_only_ones_used() {
    let ice = Arc::new(FakeIceServer::start());
    ice.answer();
    let url = ice.described("turn").urls.remove(0);
    let link = format!("<{url}>; rel=\"ice-server\"; username=\"user\"; credential=\"password\"");
    let endpoint = whip();
    let server = Fake::start(move |asked, _| match asked.line.as_str() {
        "OPTIONS /whip" => answer(204, &[("link", &link)], ""),
        _ => by(&endpoint, asked),
    });
    let client = publisher(&server, relayed_only(Vec::new()));
    client.wait_for(PeerState::Connected, LONG).unwrap();
    client.stop();
    let asked = server.asked();
    assert_eq!(server.lines()[..2], ["OPTIONS /whip", "POST /whip"]);
    let sent = asked.iter().flat_map(|asked| asked.body.lines()).filter(|line| line.starts_with("a=candidate:"));
    let sent: Vec<_> = sent.collect();
    // The address that it was allocated from is not disclosed either.
    assert!(!sent.is_empty() && sent.iter().all(|line| line.ends_with("typ relay raddr 0.0.0.0 rport 0")), "{sent:?}");
    assert!(ice.relayed() > 0);
}

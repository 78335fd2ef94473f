//! Every status and header of the contract, without a network except for the loopback sockets of connections.

mod proptests;
mod sessions;
mod table;
mod trickle;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, LOCATION,
};
use http::{Request, Response};
use tokio::sync::broadcast;

use super::{Limits, Links, SessionEvent};
use crate::frame::FrameView;
use crate::transport::peer::{Media, Peer, PeerOptions};
use crate::transport::{Egress, EgressOptions, FrameSink, WhepEndpoint, WhipEndpoint};

/// Timeout that no test reaches, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Discards frames.
#[derive(Debug)]
struct Nowhere;

impl FrameSink for Nowhere {
    fn frame(&self, _frame: &FrameView<'_>) {}
}

fn loopback() -> PeerOptions {
    PeerOptions { bind: vec![Ipv4Addr::LOCALHOST.into()], ..PeerOptions::default() }
}

fn links() -> Links {
    Links { resource: "https://sd.example/whip/key".into(), playback: Some("https://sd.example/webrtc/watch".into()) }
}

fn publishes() -> Media {
    Media { video_out: Some(Egress::new(EgressOptions::default())), ..Media::default() }
}

fn watches() -> Media {
    Media { video_in: Some(Arc::new(Nowhere)), ..Media::default() }
}

fn whip(limits: Limits) -> WhipEndpoint {
    WhipEndpoint::new(watches(), loopback(), limits)
}

fn whep(limits: Limits) -> WhepEndpoint {
    WhepEndpoint::new(publishes(), loopback(), limits)
}

async fn offer(media: Media) -> (Peer, String) {
    Peer::offer(media, &loopback()).await.unwrap()
}

fn request(method: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri("/whatever");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

fn sdp(offer: &str) -> Request<Bytes> {
    request("POST", &[("content-type", "application/sdp")], offer.to_owned())
}

fn fragment(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
    let headers: Vec<_> =
        headers.iter().copied().chain([("content-type", "application/trickle-ice-sdpfrag")]).collect();
    request("PATCH", &headers, body)
}

/// A header's value, `""` where it is absent.
fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The session that was created by a response.
fn session(response: &Response<Bytes>) -> String {
    assert_eq!(response.status(), 201, "{:?}", response.body());
    header(response, LOCATION.as_str()).rsplit_once('/').unwrap().1.to_owned()
}

/// Checks the headers that every response has for pages of other origins.
fn assert_cors(response: &Response<Bytes>) {
    assert_eq!(header(response, ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*");
    assert!(header(response, ACCESS_CONTROL_ALLOW_METHODS.as_str()).contains("PATCH"));
    let exposed = header(response, ACCESS_CONTROL_EXPOSE_HEADERS.as_str());
    for name in ["Location", "ETag", "Link", "Livepeer-Playback-Url", "Accept-Patch", "Retry-After"] {
        assert!(exposed.split(", ").any(|one| one == name), "{name} in {exposed}");
    }
}

async fn next(events: &mut broadcast::Receiver<SessionEvent>) -> SessionEvent {
    tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap()
}

//! WHIP and WHEP: frames in, pictures out. The secret in the path is the credential; headers are ignored.
//!
//! The library's endpoints answer; a [`Role`] maps a path to a stream and its endpoint.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use dreamframe::transport::http::{BODY_LIMIT, Links, refusal};

use crate::app::App;
use crate::http::{SHORT_BODY_TIME, read_body_within};
use crate::streams::Stream;
use crate::urls::{Urls, playback_path, whep_path};

/// A request with its body, as the library's endpoints accept it.
type Whole = axum::http::Request<Bytes>;

/// The kind of a path: its users, and the secret in it.
pub(crate) trait Role: 'static {
    /// Finds the stream by the secret in the path.
    fn find(app: &App, secret: &str) -> Option<Arc<Stream>>;

    /// The addresses in responses.
    fn links(stream: &Stream, urls: &Urls) -> Links;

    /// Passes the request to the stream's endpoint.
    fn answer(
        stream: &Arc<Stream>,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> impl Future<Output = axum::http::Response<Bytes>> + Send;
}

/// Publishing, by stream key.
#[derive(Debug)]
pub(crate) enum Whip {}

/// Watching, by stream key and `-out`: such viewers may change parameters.
#[derive(Debug)]
pub(crate) enum Whep {}

/// Watching by playback id, which may be shared with viewers: it does not allow publishing or changing parameters.
#[derive(Debug)]
pub(crate) enum Playback {}

impl Role for Whip {
    fn find(app: &App, secret: &str) -> Option<Arc<Stream>> {
        app.streams.by_key(secret)
    }

    fn links(stream: &Stream, urls: &Urls) -> Links {
        Links { resource: urls.whip(&stream.key), playback: Some(urls.playback(&stream.playback_id)) }
    }

    async fn answer(
        stream: &Arc<Stream>,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> axum::http::Response<Bytes> {
        // From before the session exists, so that none of its events is missed.
        let events = stream.whip().events();
        let response = stream.whip().handle(request, session, links).await;
        if let Some(id) = accepted(&response) {
            stream.follow_whip(id, events);
        }
        response
    }
}

impl Role for Whep {
    fn find(app: &App, secret: &str) -> Option<Arc<Stream>> {
        app.streams.by_key(secret.strip_suffix("-out")?)
    }

    fn links(stream: &Stream, urls: &Urls) -> Links {
        Links { resource: urls.absolute(&whep_path(&stream.key)), playback: None }
    }

    async fn answer(
        stream: &Arc<Stream>,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> axum::http::Response<Bytes> {
        let response = stream.whep().handle(request, session, links).await;
        wake_for_viewer(stream, &response);
        response
    }
}

impl Role for Playback {
    fn find(app: &App, secret: &str) -> Option<Arc<Stream>> {
        app.streams.by_playback(secret)
    }

    fn links(stream: &Stream, urls: &Urls) -> Links {
        Links { resource: urls.absolute(&playback_path(&stream.playback_id)), playback: None }
    }

    async fn answer(
        stream: &Arc<Stream>,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> axum::http::Response<Bytes> {
        let channel = stream.watcher().clone();
        let response = stream.whep().handle_with_channel(request, session, links, channel).await;
        wake_for_viewer(stream, &response);
        response
    }
}

/// Returns the id of the session whose offer was accepted: the last segment of its address.
fn accepted(response: &axum::http::Response<Bytes>) -> Option<&str> {
    let address = response.headers().get(LOCATION).filter(|_| response.status() == StatusCode::CREATED)?;
    address.to_str().ok()?.rsplit('/').next()
}

/// Starts the session of a stream whose viewer was accepted, so that the model is loaded when a publisher connects. At the
/// limit of sessions, the viewer sees the placeholder.
fn wake_for_viewer(stream: &Arc<Stream>, response: &axum::http::Response<Bytes>) {
    if accepted(response).is_some() {
        let _ = stream.wake();
    }
}

/// Answers requests to the endpoint of a stream.
pub(crate) async fn endpoint<R: Role>(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path(secret): Path<String>,
    request: Request,
) -> Response {
    handle::<R>(&app, &urls, &secret, None, request).await
}

/// Answers requests to a session, whose address was the answer to an offer.
pub(crate) async fn session<R: Role>(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path((secret, session)): Path<(String, String)>,
    request: Request,
) -> Response {
    handle::<R>(&app, &urls, &secret, Some(&session), request).await
}

async fn handle<R: Role>(app: &App, urls: &Urls, secret: &str, session: Option<&str>, request: Request) -> Response {
    let Some(stream) = R::find(app, secret) else {
        // Players recognize by this text that the stream may start later.
        let text = "Stream is offline: there is no stream at this address";
        return to_axum(refusal(StatusCode::NOT_FOUND, text));
    };
    if *request.method() == Method::POST
        && let Err(error) = stream.check_room()
    {
        return error.into_response();
    }
    let (parts, body) = request.into_parts();
    let request = match read_body_within(body, BODY_LIMIT, SHORT_BODY_TIME).await {
        Ok(body) => Whole::from_parts(parts, body),
        Err(error) => return to_axum(refusal(error.status(), error.message())),
    };
    to_axum(R::answer(&stream, request, session, &R::links(&stream, urls)).await)
}

fn to_axum(response: axum::http::Response<Bytes>) -> Response {
    response.map(Body::from).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dreamframe::transport::peer::{Media, Peer};
    use dreamframe::transport::{Egress, EgressOptions};
    use dreamframe_tests::network::loopback;
    use serde_json::json;

    use super::*;
    use crate::config::Config;
    use crate::streams;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn an_offer_for_which_nothing_connects_does_not_end_a_publication_by_rtmp() {
        let stream = streams::tests::stream(Config::for_tests(), &json!({}));
        let mut publication = stream.take_over();
        let links = Links { resource: "http://127.0.0.1/whip".to_owned(), playback: None };
        let post = async || {
            let media = Media { video_out: Some(Egress::new(EgressOptions::default())), ..Media::default() };
            let (peer, offer) = Peer::offer(media, &loopback()).await.unwrap();
            let request = axum::http::Request::post("/whip").header("content-type", "application/sdp");
            let request = request.body(Bytes::from(offer)).unwrap();
            (peer, Whip::answer(&stream, request, None, &links).await)
        };
        let (abandoned, answer) = post().await;
        abandoned.close().await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let (publisher, answer) = post().await;
        assert!(!publication.is_replaced());
        publisher.set_answer(std::str::from_utf8(answer.body()).unwrap()).await.unwrap();
        tokio::time::timeout(PATIENCE, publication.replaced()).await.unwrap();
        assert!(stream.live());
        publisher.close().await;
    }
}

//! WHIP and WHEP: frames in, pictures out. The secret in the path is the credential; headers are ignored.
//!
//! The library's endpoints answer; a [`Role`] maps a path to a stream and its endpoint.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
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
        stream: &Stream,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> impl Future<Output = axum::http::Response<Bytes>> + Send;

    /// Called after an offer was accepted.
    fn accepted(stream: &Arc<Stream>);
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
        stream: &Stream,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> axum::http::Response<Bytes> {
        stream.whip().handle(request, session, links).await
    }

    fn accepted(stream: &Arc<Stream>) {
        stream.whip_began();
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
        stream: &Stream,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> axum::http::Response<Bytes> {
        stream.whep().handle(request, session, links).await
    }

    fn accepted(stream: &Arc<Stream>) {
        // So that the model is loaded when a publisher connects. At the limit of sessions, the viewer sees the
        // placeholder.
        let _ = stream.wake();
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
        stream: &Stream,
        request: Whole,
        session: Option<&str>,
        links: &Links,
    ) -> axum::http::Response<Bytes> {
        let channel = stream.watcher().clone();
        stream.whep().handle_with_channel(request, session, links, channel).await
    }

    fn accepted(stream: &Arc<Stream>) {
        Whep::accepted(stream);
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
    let is_post = *request.method() == Method::POST;
    if is_post && let Err(error) = stream.check_room() {
        return error.into_response();
    }
    let (parts, body) = request.into_parts();
    let request = match read_body_within(body, BODY_LIMIT, SHORT_BODY_TIME).await {
        Ok(body) => Whole::from_parts(parts, body),
        Err(error) => return to_axum(refusal(error.status(), error.message())),
    };
    let response = R::answer(&stream, request, session, &R::links(&stream, urls)).await;
    if is_post && session.is_none() && response.status() == StatusCode::CREATED {
        R::accepted(&stream);
    }
    to_axum(response)
}

fn to_axum(response: axum::http::Response<Bytes>) -> Response {
    response.map(Body::from).into_response()
}

//! WHIP: frames in. The key in the path is the credential, so that headers are neither asked for nor looked at.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};

use super::media::{answer, is_accepted, links, no_stream, whole};
use crate::app::App;
use crate::urls::{Urls, whip_path};

/// The endpoint of a stream.
pub(crate) async fn endpoint(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    handle(&app, &urls, &key, None, request).await
}

/// A publisher's session.
pub(crate) async fn session(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path((key, session)): Path<(String, String)>,
    request: Request,
) -> Response {
    handle(&app, &urls, &key, Some(&session), request).await
}

async fn handle(app: &App, urls: &Urls, key: &str, session: Option<&str>, request: Request) -> Response {
    let Some(stream) = app.streams.by_key(key) else { return no_stream() };
    let method = request.method().clone();
    if method == Method::POST
        && let Err(error) = stream.check_room()
    {
        return error.into_response();
    }
    let request = match whole(request).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let links = links(urls, &whip_path(key), Some(urls.playback(&stream.playback_id)));
    let response = stream.whip().handle(request, session, &links).await;
    if is_accepted(&method, session, &response) {
        stream.whip_began();
    }
    answer(response)
}

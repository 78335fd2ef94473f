//! WHEP: pictures out, at the address beside WHIP's and at one that Livepeer's players know by its word.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};

use super::media::{answer, is_accepted, links, no_stream, whole};
use crate::app::App;
use crate::scope::watcher::Watcher;
use crate::streams::Stream;
use crate::urls::{Urls, playback_path, whep_path};

/// The endpoint of a stream: its key, and `-out`.
pub(crate) async fn endpoint(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    by_key(&app, &urls, &key, None, request).await
}

/// A viewer's session.
pub(crate) async fn session(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path((key, session)): Path<(String, String)>,
    request: Request,
) -> Response {
    by_key(&app, &urls, &key, Some(&session), request).await
}

/// The same endpoint by playback id, which lets nobody publish or change parameters.
pub(crate) async fn alias(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path(playback_id): Path<String>,
    request: Request,
) -> Response {
    by_playback(&app, &urls, &playback_id, None, request).await
}

/// A session of the alias.
pub(crate) async fn alias_session(
    State(app): State<Arc<App>>,
    urls: Urls,
    Path((playback_id, session)): Path<(String, String)>,
    request: Request,
) -> Response {
    by_playback(&app, &urls, &playback_id, Some(&session), request).await
}

async fn by_key(app: &App, urls: &Urls, key: &str, session: Option<&str>, request: Request) -> Response {
    let stream = key.strip_suffix("-out").and_then(|key| app.streams.by_key(key));
    let Some(stream) = stream else { return no_stream() };
    let path = whep_path(&stream.key);
    handle(&stream, urls, &path, session, request, None).await
}

async fn by_playback(app: &App, urls: &Urls, id: &str, session: Option<&str>, request: Request) -> Response {
    let Some(stream) = app.streams.by_playback(id) else { return no_stream() };
    // Whoever embeds a player hands the id on: it lets nobody change what others see.
    let watcher = stream.watcher().clone();
    handle(&stream, urls, &playback_path(id), session, request, Some(watcher)).await
}

async fn handle(
    stream: &Arc<Stream>,
    urls: &Urls,
    path: &str,
    session: Option<&str>,
    request: Request,
    watcher: Option<Arc<Watcher>>,
) -> Response {
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
    let links = links(urls, path, None);
    let response = match watcher {
        Some(watcher) => stream.whep().handle_with_channel(request, session, &links, watcher).await,
        None => stream.whep().handle(request, session, &links).await,
    };
    if is_accepted(&method, session, &response) {
        // A publisher that comes later finds the model loaded; without room for it the viewer waits with the loading picture.
        let _ = stream.wake();
    }
    answer(response)
}

//! The route table. The handlers are in submodules.

mod clip_page;
mod clips;
pub(crate) mod fuzz_api;
pub(crate) mod health;
pub(crate) mod hls;
pub(crate) mod legacy;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod page;
mod ranges;
pub(crate) mod recommend;
pub(crate) mod record;
pub(crate) mod scope;
mod scope_headless;
mod scope_recordings;
pub(crate) mod status;
pub(crate) mod streams;
mod table;
mod whip_whep;

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse as _;
use serde_json::json;

use crate::app::App;
use crate::error::ApiError;
use table::{Access, Operation, Route, Tag, Verb, all_methods, route};
use whip_whep::{Playback, Whep, Whip, endpoint, session};

/// The router of every route.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    table::router(app, table(), ApiError::into_response).merge(scope::router(app))
}

/// Every route but those of Scope's API, which are in [`scope`].
fn table() -> Vec<Route> {
    [stream_routes(), state_routes(), clip_routes(), media_routes(), service_routes(), page_routes()]
        .into_iter()
        .flatten()
        .collect()
}

/// Streams: creation, changes and end.
fn stream_routes() -> Vec<Route> {
    use Access::{Control, Key};
    use Tag::Streams;
    use Verb::{Delete, Get, Patch, Post, Put};
    const ALL: &str = "/v1/streams";
    const ONE: &str = "/v1/streams/{id}";
    const CHANGED: &[u16] = &[400, 401, 404, 413, 503];
    let id = json!({"type": "string"});
    let create = Operation::new(Streams, "Create a stream").json_body("CreateStream").json(201, "CreatedStream");
    let list = Operation::new(Streams, "List the caller's streams").json(200, "StreamList");
    let read = Operation::new(Streams, "Read a stream").json(200, "Stream");
    let update = Operation::new(Streams, "Update a stream: absent keys keep their values").json_body("UpdateStream");
    let prompts = Operation::new(Streams, "Update parameters, for older clients").json_body("UpdateStream");
    let end = || Operation::new(Streams, "Delete a stream").json(200, "Deleted");
    let end_by_query = end().query("id", true, &id).errors(&[400, 401, 404]);
    vec![
        route(Post, ALL, Key, streams::create, create.errors(&[400, 401, 413, 429, 503])),
        route(Get, ALL, Key, streams::list, list.errors(&[401])),
        route(Delete, ALL, Control, streams::delete_by_query, end_by_query),
        route(Get, ONE, Control, streams::read, read.errors(&[401, 404])),
        route(Patch, ONE, Control, streams::update, update.json(200, "Stream").errors(CHANGED)),
        route(Put, ONE, Control, streams::update, Operation::unlisted("PATCH, for older clients")),
        route(Delete, ONE, Control, streams::delete_by_path, end().errors(&[401, 404])),
        route(Post, "/beta/streams/{id}/prompts", Control, legacy::prompts, prompts.json(200, "Taken").errors(CHANGED)),
    ]
}

/// The state and recordings of streams, and what clients request before they create one.
fn state_routes() -> Vec<Route> {
    use Access::{Control, Key, Open};
    use Verb::{Get, Post};
    let seconds = json!({"type": "integer", "minimum": 3, "maximum": 10, "default": 5});
    let file = json!({"type": "string", "format": "binary"});
    let status = Operation::new(Tag::Status, "Read the status of a stream: without its owner's key, the state only");
    let status_alias = Operation::unlisted("/v1/streams/{id}/status, for older clients");
    let events = Operation::unlisted("The status as server-sent events, without end");
    let recording = Operation::new(Tag::Streams, "Get the last seconds as an MP4")
        .query("seconds", false, &seconds)
        .content(200, "The file", "video/mp4", &file)
        .errors(&[400, 401, 404]);
    let schema = Operation::unlisted("The parameters, for the page's controls");
    let api_key = Operation::new(Tag::Service, "Return the caller's API key").json(200, "ApiKey").errors(&[401]);
    vec![
        route(Get, "/v1/streams/{id}/status", Open, status::status, status.json(200, "Status").errors(&[404])),
        route(Get, "/api/streams/{id}/status", Open, status::status, status_alias),
        route(Get, "/api/streams/{id}/sse", Open, status::events, events),
        route(Get, "/v1/streams/{id}/recording", Control, record::recording, recording),
        route(Get, "/v1/schema", Open, page::schema, schema),
        route(Post, "/v1/api-key", Key, legacy::api_key, api_key),
    ]
}

/// Clips, which their owners create and delete, and which everyone reads who has the link.
fn clip_routes() -> Vec<Route> {
    use Access::{Control, Open};
    use Verb::{Delete, Get, Post};
    let file = json!({"type": "string", "format": "binary"});
    let clips = |summary| Operation::new(Tag::Clips, summary);
    let create = clips("Create a clip of the last seconds: everyone with its link can watch it")
        .json_body("CreateClip")
        .json(201, "Clip")
        .errors(&[400, 401, 404, 413, 429, 503, 507]);
    let read = clips("Read a clip").json(200, "Clip").errors(&[404]);
    let video = clips("Get the video of a clip, or the part of it that the header Range names")
        .content(200, "The file", "video/mp4", &file)
        .content(206, "The part", "video/mp4", &file)
        .errors(&[404, 416]);
    let delete = clips("Delete a clip").json(200, "Deleted").errors(&[401, 404]);
    vec![
        route(Post, "/v1/streams/{id}/clips", Control, clips::create, create),
        route(Delete, "/v1/clips/{clip}", Control, clips::delete, delete),
        route(Get, "/clips/{clip}", Open, clip_page::show, Operation::unlisted("The page of a clip")),
        route(Get, "/clips/{clip}/clip.json", Open, clips::read, read),
        route(Get, "/clips/{clip}/video.mp4", Open, clips::video, video),
    ]
}

/// Video: WHIP, WHEP and HLS.
fn media_routes() -> Vec<Route> {
    use Verb::{Delete, Get, Options, Patch, Post};
    // Error responses to offers are plain text for people.
    let offer = |summary| {
        let offer = Operation::new(Tag::Media, summary).sdp_body().sdp_answer();
        let statuses = [400, 404, 406, 413, 415, 422, 429, 503];
        statuses.iter().fold(offer, |offer, status| offer.empty(*status, "The reason why the offer is refused"))
    };
    let endpoint_methods = |summary| {
        let methods = Operation::new(Tag::Media, "List the ICE servers, and answer preflights")
            .empty(204, "The headers Accept-Post and Link, or those of a preflight")
            .empty(404, "There is no such stream");
        vec![(Options, methods), (Post, offer(summary))]
    };
    let session_methods = || {
        vec![
            (Patch, Operation::unlisted("Add candidates, or restart ICE: the address is that of Location")),
            (Delete, Operation::unlisted("End the session: the address is that of Location")),
        ]
    };
    let (whip, whip_session) =
        ("/live/video-to-video/{stream_key}/whip", "/live/video-to-video/{stream_key}/whip/{session}");
    let (whep, whep_session) = ("/live/video-to-video/{output}/whep", "/live/video-to-video/{output}/whep/{session}");
    let (playback, playback_session) = ("/webrtc/{playback_id}", "/webrtc/{playback_id}/{session}");
    vec![
        all_methods(
            whip,
            Access::Path,
            endpoint::<Whip>,
            endpoint_methods("Offer a connection, to publish to a stream"),
        ),
        all_methods(whip_session, Access::Path, session::<Whip>, session_methods()),
        all_methods(
            whep,
            Access::Path,
            endpoint::<Whep>,
            endpoint_methods("Offer a connection, to watch a stream by its key"),
        ),
        all_methods(whep_session, Access::Path, session::<Whep>, session_methods()),
        all_methods(
            playback,
            Access::Path,
            endpoint::<Playback>,
            endpoint_methods("Offer a connection, to watch a stream by its playback id"),
        ),
        all_methods(playback_session, Access::Path, session::<Playback>, session_methods()),
        route(
            Get,
            "/hls/{playback_id}/{file}",
            Access::Path,
            hls::file,
            Operation::unlisted("A playlist, or a file that it names"),
        ),
    ]
}

/// The state of the server.
fn service_routes() -> Vec<Route> {
    use Access::{Key, Open};
    use Verb::Get;
    let about = |summary| Operation::new(Tag::Service, summary);
    let (json, text) = ("application/json", json!({"type": "string"}));
    let object = json!({"type": "object"});
    let ready =
        about("Check whether the server accepts streams").content(200, "The server accepts streams", json, &object);
    let metrics = about("Read metrics, for Prometheus").content(200, "The metrics", "text/plain", &text);
    let recommend = about("List the models that this machine can run, with estimated pictures per second")
        .json(200, "Recommendations")
        .errors(&[401, 503]);
    let document = about("This document").content(200, "The document", json, &object);
    vec![
        route(Get, "/health", Open, health::health, about("Check whether the server runs").json(200, "Health")),
        route(Get, "/ready", Open, health::ready, ready.content(503, "The server is draining", json, &object)),
        route(Get, "/metrics", Key, metrics::metrics, metrics.errors(&[401])),
        route(Get, "/v1/recommendations", Key, recommend::models, recommend),
        route(Get, "/openapi.json", Open, openapi::document, document),
    ]
}

/// The page and the player; the page of a clip is in [`clip_routes`].
fn page_routes() -> Vec<Route> {
    use Access::Open;
    use Verb::Get;
    vec![
        route(Get, "/", Open, page::page, Operation::unlisted("The page")),
        route(Get, "/page/{name}", Open, page::file, Operation::unlisted("A file of the page")),
        route(Get, "/{name}", Open, page::player, Operation::unlisted("The player of a stream, by its key and -out")),
    ]
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};

    use axum::body::Body;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::response::Response;
    use tower_service::Service as _;

    use super::fuzz_api::routes;
    use super::*;
    use crate::auth::Keys;
    use crate::config::Config;

    async fn send(router: &mut Router, verb: Verb, path: &str) -> Response {
        let request = Request::builder().method(verb.name().to_uppercase().as_str()).uri(path);
        let answer: Result<Response, Infallible> = router.call(request.body(Body::empty()).unwrap()).await;
        answer.unwrap()
    }

    #[test]
    fn every_route_has_a_description_of_each_method() {
        for route in routes() {
            assert!(!route.operations().is_empty(), "{}", route.path());
            for (verb, operation) in route.operations() {
                assert!(!operation.summary().is_empty(), "{} {}", verb.name(), route.path());
            }
        }
    }

    /// A route that is added to a router elsewhere would have no description.
    #[test]
    fn routes_come_from_the_table_alone() {
        // A gateway has a few routes of its own, and forwards all other requests to workers.
        let own = ["routes.rs", "routes/table.rs", "routes/scope.rs", "gateway/routes.rs"];
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![sources.clone()];
        let mut found: Vec<PathBuf> = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(".route(")) {
                    found.push(path.strip_prefix(&sources).unwrap().to_owned());
                }
            }
        }
        found.retain(|path| !own.iter().any(|own| path == Path::new(own)));
        assert_eq!(found, Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn every_route_is_served_and_requires_a_key_as_in_its_row() {
        let mut config = Config::for_tests();
        config.keys = Keys::parse("a-secret-key-of-a-test").unwrap();
        let app = App::new(config, SocketAddr::from(([127, 0, 0, 1], 1)), None).unwrap();
        let mut router = router(&app).fallback(|| async { StatusCode::IM_A_TEAPOT }).with_state(app);
        for route in routes() {
            let path = route
                .parameters()
                .fold(route.path().to_owned(), |path, name| path.replace(&format!("{{{name}}}"), "none"));
            for (verb, _) in route.operations() {
                let status = send(&mut router, *verb, &path).await.status();
                let place = format!("{} {path}: {status}", verb.name());
                assert!(![StatusCode::METHOD_NOT_ALLOWED, StatusCode::IM_A_TEAPOT].contains(&status), "{place}");
                let needs_key = [Access::Key, Access::Control].contains(&route.access());
                assert_eq!(status == StatusCode::UNAUTHORIZED, needs_key, "{place}");
            }
        }
    }
}

//! Requests to a whole server, one after another.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tower_service::Service as _;

use crate::app::{App, router};
use crate::config::Config;
use crate::routes::fuzz_api::{Route, routes};

/// A request.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The route, by its place in the table, modulo the number of routes.
    pub route: u8,
    /// The method, where it is not one of the route's.
    pub method: Option<&'a str>,
    /// Text in place of the names in the path; `None` for those of the last stream.
    pub name: Option<&'a str>,
    /// The query, without its question mark.
    pub query: &'a str,
    /// A header: its place in `HEADERS`, and its value.
    pub header: Option<(u8, &'a str)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Headers that handlers read.
const HEADERS: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::RANGE,
    header::IF_NONE_MATCH,
    header::AUTHORIZATION,
    header::ACCEPT,
    header::HOST,
    header::ORIGIN,
    header::LINK,
];

/// Paths whose handlers measure this machine, or start engines and connections, which take seconds.
const LEFT_OUT: [&str; 4] =
    ["/v1/recommendations", "/api/v1/session/start", "/api/v1/webrtc/offer", "/api/v1/pipeline/load"];
/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 32 << 20;

/// The service, and what is known of it.
struct Server {
    router: Router,
    routes: Vec<Route>,
    /// The answer to the last request that created a stream.
    stream: Value,
}

/// An answer.
struct Answer {
    status: StatusCode,
    kind: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an answer of this type is JSON")
    }
}

/// Sends the requests to a new server, one after another.
///
/// # Panics
///
/// If an answer is the error of a bug, has a status or a form that the API's description does not have, or a refused
/// change changes a stream.
pub fn requests(runtime: &Runtime, requests: &[Request<'_>]) {
    runtime.block_on(async {
        let app = Config::local().and_then(|config| App::new(config, SocketAddr::from(([127, 0, 0, 1], 1)), None));
        let app = app.expect("a server of the default settings");
        let mut server = Server { router: router(app), routes: routes(), stream: Value::Null };
        for request in requests {
            server.send(request).await;
        }
    });
}

impl Server {
    async fn send(&mut self, request: &Request<'_>) {
        let route = &self.routes[usize::from(request.route) % self.routes.len()];
        if LEFT_OUT.iter().any(|path| route.path().starts_with(path)) {
            return;
        }
        let (verb, operation) = &route.operations()[request.body.len() % route.operations().len()];
        let own = verb.name().to_uppercase();
        let Ok(method) = Method::from_bytes(request.method.unwrap_or(&own).as_bytes()) else { return };
        // These characters make a path of another route.
        let is_own = request.method.is_none() && !request.name.is_some_and(|name| name.contains(['/', '?', '#']));
        let is_described = is_own && operation.is_listed();
        let described = is_described.then(|| operation.to_openapi(route.access())["responses"].clone());
        let (template, path) = (route.path(), self.path(route.path(), request.name));
        let before = self.read().await;
        let uri = format!("{path}?{}", request.query);
        let Some(answer) = self.call(method.clone(), &uri, request).await else { return };
        let place = format!("{method} {uri}: {}", answer.status);
        assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{place}");
        check_form(&answer, template, &place);
        let is_known = |all: &Value| all.get(answer.status.as_str()).is_some();
        assert!(described.as_ref().is_none_or(is_known), "{place} is not described");
        if answer.status == StatusCode::CREATED && template == "/v1/streams" {
            self.stream = answer.json();
        } else if answer.status.is_client_error() || method == Method::GET {
            assert_eq!(self.read().await, before, "{place} changed the stream");
        }
    }

    /// Puts names in a path.
    fn path(&self, path: &str, name: Option<&str>) -> String {
        let own = |key: &str| self.stream[key].as_str();
        let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            None => part.to_owned(),
            // Offers and players would start connections and engines.
            Some("stream_key" | "output" | "playback_id") if !path.starts_with("/hls") => "none".to_owned(),
            Some("id") if name.is_none() => own("id").unwrap_or("none").to_owned(),
            Some("playback_id") if name.is_none() => own("output_playback_id").unwrap_or("none").to_owned(),
            Some(_) => name.unwrap_or("none").to_owned(),
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// Returns the parameters of the stream, if it still exists.
    async fn read(&mut self) -> Option<Value> {
        let id = self.stream["id"].as_str()?;
        let read = Request { route: 0, method: None, name: None, query: "", header: None, body: Vec::new() };
        let answer = self.call(Method::GET, &format!("/v1/streams/{id}"), &read).await?;
        Some(answer.json()["params"].clone())
    }

    /// Sends a request; `None` if it is none, or its answer has no end.
    async fn call(&mut self, method: Method, uri: &str, request: &Request<'_>) -> Option<Answer> {
        let mut built = axum::http::Request::builder().method(method).uri(uri);
        if let Some((name, value)) = request.header {
            let value = HeaderValue::from_str(value).ok()?;
            built = built.header(HEADERS[usize::from(name) % HEADERS.len()].clone(), value);
        }
        let built = built.body(Body::from(request.body.clone())).ok()?;
        let Ok(response) = self.router.call(built).await;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            return None;
        }
        let body = to_bytes(body, MAX_ANSWER).await.expect("an answer has an end").to_vec();
        Some(Answer { status: parts.status, kind: kind.to_owned(), body })
    }
}

/// Checks that an answer of the type JSON is, and that an error has the form of the API that it is of, and a text.
fn check_form(answer: &Answer, path: &str, place: &str) {
    if !answer.kind.starts_with("application/json") || answer.body.is_empty() {
        return;
    }
    let body = answer.json();
    if answer.status.is_success() || answer.status.is_redirection() {
        return;
    }
    if path.starts_with("/api/v1/") && answer.status != StatusCode::FORBIDDEN {
        assert!(body["detail"].as_str().is_some_and(|text| !text.is_empty()) || body["detail"].is_array(), "{place}");
        return;
    }
    let keys = ["success", "error", "code", "status", "details", "requestId", "traceId"];
    assert!(body.as_object().map(Map::keys).is_some_and(|own| own.eq(keys)), "{place}: {body}");
    assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{place}: {body}");
    assert_eq!((&body["success"], &body["status"]), (&false.into(), &answer.status.as_u16().into()), "{place}");
}

//! Forwards requests to workers, and their responses to clients.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, Entry};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version};
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::RETRY_SECONDS;
use super::connect::Connector;
use crate::cluster::{PROOF, Secret, Worker, now, prove};
use crate::error::ApiError;

/// The time for which an idle connection is kept: shorter than workers wait for a request on it.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// The longest time until a worker's response begins; the largest body takes a while.
const ANSWER_TIME: Duration = Duration::from_secs(90);
/// The longest pause within a response: longer than the interval of a stream's status events.
const PAUSE_TIME: Duration = Duration::from_secs(60);

/// Headers of one connection rather than of the request (RFC 9110, 7.6.1); and `Expect`, which is answered here.
const PER_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];

/// The reason for a missing response of a worker.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// Whether the connection could not be established.
    pub(super) is_gone: bool,
    pub(super) error: ApiError,
}

/// Forwards requests to workers, over persistent connections. It follows no redirects: those are for clients.
#[derive(Debug)]
pub(super) struct Forwarder {
    client: Client<Connector, Body>,
    /// The scheme by which clients reach this gateway.
    scheme: &'static str,
}

impl Forwarder {
    pub(super) fn new(tls: bool, connector: Connector) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE_TIME).pool_timer(TokioTimer::new());
        let client = builder.build(connector);
        Self { client, scheme: if tls { "https" } else { "http" } }
    }

    /// Sends a request to `worker`, as if to its own address, and returns the response; with a proof, if there is a
    /// `secret`.
    ///
    /// # Errors
    ///
    /// 503 if it cannot be reached, 502 if the connection breaks, 504 on a timeout.
    pub(super) async fn send(
        &self,
        worker: &Worker,
        secret: Option<&Secret>,
        request: Request,
    ) -> Result<Response, Unanswered> {
        let (mut parts, body) = request.into_parts();
        parts.uri = address(worker, &parts.uri).ok_or_else(|| unanswered(worker, true, "its address is invalid"))?;
        parts.version = Version::HTTP_11;
        self.prepare(&mut parts.headers);
        parts.headers.remove(PROOF);
        if let Some(secret) = secret {
            prove(secret, &worker.id, now(), &mut parts);
        }
        let asked = self.client.request(Request::from_parts(parts, body));
        let answer = match tokio::time::timeout(ANSWER_TIME, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unanswered(worker, error.is_connect(), &error.to_string())),
            Err(_) => {
                let error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "GATEWAY/TIMEOUT", "The worker does not answer");
                return Err(Unanswered { is_gone: false, error });
            }
        };
        let (mut parts, body) = answer.into_parts();
        leave_out(&mut parts.headers);
        parts.version = Version::default();
        Ok(Response::from_parts(parts, watched(Body::new(body), PAUSE_TIME)))
    }

    /// Converts the headers of a client's request to those of a request to a worker.
    fn prepare(&self, headers: &mut HeaderMap) {
        let host = headers.remove(header::HOST);
        // Before the gateway adds its own headers, which clients must not be able to remove.
        leave_out(headers);
        if let Some(host) = host {
            self.add_forwarded_host(headers, host);
        }
    }

    /// Adds the host of the client's request, unless a proxy in front has done so: the worker returns URLs with it.
    fn add_forwarded_host(&self, headers: &mut HeaderMap, host: HeaderValue) {
        if headers.contains_key(header::FORWARDED) {
            return;
        }
        let scheme = HeaderValue::from_static(self.scheme);
        for (name, value) in [("x-forwarded-host", host), ("x-forwarded-proto", scheme)] {
            if let Entry::Vacant(place) = headers.entry(HeaderName::from_static(name)) {
                place.insert(value);
            }
        }
    }
}

/// Returns the URL of the same path and query at the worker.
fn address(worker: &Worker, uri: &Uri) -> Option<Uri> {
    let mut parts = worker.url.parse::<Uri>().ok()?.into_parts();
    // A request that names no path asks for the root.
    parts.path_and_query = uri.path_and_query().cloned().or(parts.path_and_query);
    Uri::from_parts(parts).ok()
}

/// Aborts a response that pauses for longer than `pause`, so that a hanging worker does not block clients forever.
fn watched(body: Body, pause: Duration) -> Body {
    Body::from_stream(unfold(Some(body.into_data_stream()), move |data| async move {
        let mut data = data?;
        match tokio::time::timeout(pause, data.next()).await {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(data))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(axum::Error::new("the worker's response stopped")), None)),
        }
    }))
}

/// Removes the headers that apply to a single connection.
fn leave_out(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&PER_CONNECTION) {
        headers.remove(name);
    }
}

fn unanswered(worker: &Worker, is_gone: bool, why: &str) -> Unanswered {
    tracing::warn!(worker = worker.id, why, "a worker did not answer");
    let error = if is_gone {
        let text = "The worker cannot be reached";
        ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "GATEWAY/UNREACHABLE", text, RETRY_SECONDS)
    } else {
        ApiError::new(StatusCode::BAD_GATEWAY, "GATEWAY/BROKEN_OFF", "The worker did not answer to the end")
    };
    Unanswered { is_gone, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// That of a gateway with a certificate.
    fn forwarder() -> Forwarder {
        let allowed =
            std::sync::Arc::new(crate::gateway::worker_addresses::WorkerAddresses::new(None, false, false).unwrap());
        Forwarder::new(true, Connector::new(allowed, None))
    }

    #[tokio::test]
    async fn an_answer_that_pauses_is_broken_off_and_others_come_whole() {
        let parts = || futures_util::stream::iter(["one", "two"].map(Ok::<_, std::io::Error>));
        let whole = watched(Body::from_stream(parts()), PAUSE_TIME);
        assert_eq!(axum::body::to_bytes(whole, 100).await.unwrap(), "onetwo");
        let paused = Body::from_stream(parts().chain(futures_util::stream::pending()));
        let mut data = watched(paused, Duration::from_millis(1)).into_data_stream();
        for expected in ["one", "two"] {
            assert_eq!(data.next().await.unwrap().unwrap(), expected);
        }
        assert!(data.next().await.unwrap().is_err());
        assert!(data.next().await.is_none());
    }

    #[test]
    fn connection_headers_are_not_forwarded() {
        let mut some =
            headers(&[("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "trailers"), ("etag", "\"a\"")]);
        leave_out(&mut some);
        assert_eq!(some, headers(&[("etag", "\"a\"")]));
    }

    #[test]
    fn worker_gets_the_requested_host_from_the_first_proxy() {
        let gateway = forwarder();
        let mut direct = headers(&[("host", "sd.example")]);
        gateway.prepare(&mut direct);
        assert_eq!(direct, headers(&[("x-forwarded-host", "sd.example"), ("x-forwarded-proto", "https")]));
        let before = headers(&[("x-forwarded-host", "sd.example"), ("x-forwarded-proto", "http")]);
        let mut behind = before.clone();
        behind.insert(header::HOST, HeaderValue::from_static("10.0.0.9"));
        gateway.prepare(&mut behind);
        assert_eq!(behind, before);
    }

    /// A client can list any header in `Connection`.
    #[test]
    fn no_client_hides_what_host_was_asked() {
        let gateway = forwarder();
        for named in ["x-forwarded-host, x-forwarded-proto", "host", "close, Host, X-Forwarded-Host"] {
            let mut some = headers(&[("host", "sd.example"), ("connection", named), ("x-forwarded-host", "other")]);
            gateway.prepare(&mut some);
            let host = some.get("x-forwarded-host").map(|host| host.to_str().unwrap());
            assert_eq!(host, Some(if named == "host" { "other" } else { "sd.example" }), "{named}");
            assert!(!some.contains_key(header::HOST) && !some.contains_key(header::CONNECTION), "{some:?}");
        }
    }
}

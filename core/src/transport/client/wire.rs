//! The requests of a client: redirects, the servers that get the token, retries.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Uri};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use super::reach::Reach;
use crate::transport::http::{BODY_LIMIT, FRAGMENT, PLAYBACK_URL, SDP, read_ice_links};
use crate::transport::peer::IceServer;
use crate::web::{Origin, is_this_machine, resolve};
use crate::{Error, ErrorKind, Result};

/// Maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// The most characters of a server's error text that are reported.
const MOST_SAID: usize = 300;

/// Makes requests to one server, and to those that it points to.
pub(super) struct Wire {
    agent: Agent,
    host: String,
    /// Whether the server's own address is of https.
    encrypted: bool,
    token: Option<HeaderValue>,
    /// Whether the server has refused a `PATCH` in general, by its method.
    refuses_candidates: AtomicBool,
}

/// The content of a request.
#[derive(Debug, Clone, Copy)]
struct Content<'a> {
    media_type: &'static str,
    text: &'a str,
    /// The ICE session that it is meant for, if the server has named it.
    tag: Option<&'a HeaderValue>,
}

/// A session on the server.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) answer: String,
    /// Where candidates are sent, and where the session can be ended.
    pub(super) resource: Option<String>,
    /// The entity tag of the ICE session.
    pub(super) tag: Option<HeaderValue>,
    pub(super) playback_url: Option<String>,
    pub(super) ice_servers: Vec<IceServer>,
}

/// The failure of a request.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may succeed later; the server may have sent when.
    Passing(Error, Option<Duration>),
    /// It will not.
    Final(Error),
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(url: &str, token: Option<&str>, timeout: Duration) -> Result<Self> {
        let uri = url.parse::<Uri>().ok().filter(|uri| Origin::of(uri).is_some());
        let Some((uri, host)) = uri.as_ref().and_then(|uri| Some((uri, uri.host()?))) else {
            let what = "address of the server: expected one that starts with http:// or https:// and has a host";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .user_agent(concat!("dreamframe/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(timeout));
        if is_this_machine(uri) {
            config = config.proxy(None);
        }
        let token = token.map(bearer).transpose()?;
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), Reach::new(host));
        Ok(Self {
            agent,
            host: host.to_ascii_lowercase(),
            encrypted: Origin::of(uri).is_some_and(|origin| origin.https),
            token,
            refuses_candidates: AtomicBool::new(false),
        })
    }

    /// Asks an endpoint for its ICE servers; none if it does not know the method.
    pub(super) fn ice_servers(&self, url: &str) -> Result<Vec<IceServer>, Failure> {
        let (mut response, url) = self.follow(&Method::OPTIONS, url, None)?;
        match response.status() {
            status if status.is_success() => Ok(read_ice_links(response.headers())),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(Vec::new()),
            _ => Err(refused(&mut response, &url)),
        }
    }

    /// Posts an offer.
    pub(super) fn post(&self, url: &str, offer: &str) -> Result<Created, Failure> {
        let content = Content { media_type: SDP, text: offer, tag: None };
        let (mut response, url) = self.follow(&Method::POST, url, Some(content))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(&mut response, &url));
        }
        let answer = read(&mut response).map_err(|error| Failure::Passing(failed(&url, error), None))?;
        if !answer.starts_with("v=") {
            let what =
                format!("answer of {}: got status {} without a session description", shown(&url), status.as_u16());
            return Err(Failure::Final(Error::new(ErrorKind::Io, what)));
        }
        let headers = response.headers();
        let address = |name: &str| headers.get(name)?.to_str().ok().and_then(|target| resolve(&url, target));
        Ok(Created {
            answer,
            resource: address(LOCATION.as_str()),
            tag: headers.get(ETAG).cloned(),
            playback_url: address(PLAYBACK_URL),
            ice_servers: read_ice_links(headers),
        })
    }

    /// Sends candidates to a session; `tag` is its entity tag, if it has one.
    pub(super) fn patch(&self, url: &str, fragment: &str, tag: Option<&HeaderValue>) -> Result<(), Failure> {
        let content = Content { media_type: FRAGMENT, text: fragment, tag };
        let (mut response, url) = self.follow(&Method::PATCH, url, Some(content))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let unknown = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        if unknown.contains(&status) {
            self.refuses_candidates.store(true, Ordering::Relaxed);
        }
        Err(refused(&mut response, &url))
    }

    /// Returns whether a `PATCH` may be answered: false once the server has refused one with 404, 405 or 501.
    pub(super) fn takes_candidates(&self) -> bool {
        !self.refuses_candidates.load(Ordering::Relaxed)
    }

    /// Ends a session; not an error if it has already ended.
    pub(super) fn delete(&self, url: &str) -> Result<(), Failure> {
        let (mut response, url) = self.follow(&Method::DELETE, url, None)?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_FOUND { Ok(()) } else { Err(refused(&mut response, &url)) }
    }

    /// Sends a request and follows 307 and 308, with the same method and content.
    fn follow(
        &self,
        method: &Method,
        url: &str,
        content: Option<Content<'_>>,
    ) -> Result<(Response<Body>, String), Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(method, &url, content)?;
            let status = response.status();
            if !status.is_redirection() {
                return Ok((response, url));
            }
            let refuse = |what: &str| {
                let what = format!("redirect of {} with status {}: {what}", shown(&url), status.as_u16());
                Failure::Final(Error::new(ErrorKind::Io, what))
            };
            if ![StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&status) {
                return Err(refuse("expected status 307 or 308, which keep the request"));
            }
            let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
            let next = target.and_then(|target| resolve(&url, target)).ok_or_else(|| refuse("got no valid address"))?;
            if is_encrypted(&url) && !is_encrypted(&next) {
                return Err(refuse("got an address without encryption, expected https://"));
            }
            url = next;
        }
        let what = format!("redirects: got more than {MAX_REDIRECTS}, the last to {}", shown(&url));
        Err(Failure::Final(Error::new(ErrorKind::Io, what)))
    }

    fn once(&self, method: &Method, url: &str, content: Option<Content<'_>>) -> Result<Response<Body>, Failure> {
        let wrong = |error: http::Error| Failure::Final(Error::new(ErrorKind::InvalidArgument, error.to_string()));
        let mut request = Request::builder().method(method).uri(url).body(()).map_err(wrong)?;
        // A server behind a proxy that adds the encryption may name its sessions by http.
        let readable = self.encrypted && !is_encrypted(url);
        let ours = request.uri().host().is_some_and(|host| host.eq_ignore_ascii_case(&self.host)) && !readable;
        if let (true, Some(token)) = (ours, &self.token) {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let response = match content {
            Some(content) => {
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content.media_type));
                if let Some(tag) = content.tag {
                    request.headers_mut().insert(IF_MATCH, tag.clone());
                }
                self.agent.run(request.map(|()| content.text))
            }
            None => self.agent.run(request),
        };
        response.map_err(|error| Failure::Passing(failed(url, error), None))
    }
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Error::new(ErrorKind::InvalidArgument, "token: got characters that are not valid in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_encrypted(url: &str) -> bool {
    Origin::of_text(url).is_some_and(|origin| origin.https)
}

/// A URL for messages: without its last segment and its query, which may be secret.
fn shown(url: &str) -> &str {
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    path.rsplit_once('/').map_or(path, |(folder, _)| folder)
}

fn failed(url: &str, error: ureq::Error) -> Error {
    Error::new(ErrorKind::Io, format!("no answer from {}", shown(url))).with_source(error)
}

fn read(response: &mut Response<Body>) -> Result<String, ureq::Error> {
    response.body_mut().with_config().limit(BODY_LIMIT as u64).read_to_string()
}

/// The failure of a response other than success.
fn refused(response: &mut Response<Body>, url: &str) -> Failure {
    let (status, after) = (response.status(), retry_after(response.headers()));
    let said = read(response).unwrap_or_default();
    let said: String = said.chars().filter(|char| !char.is_control()).take(MOST_SAID).collect();
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => ErrorKind::InvalidArgument,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::NOT_ACCEPTABLE | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::UNPROCESSABLE_ENTITY => {
            ErrorKind::Unsupported
        }
        _ => ErrorKind::Io,
    };
    let error = Error::new(kind, format!("answer of {}: status {}: {said}", shown(url), status.as_u16()));
    let passing = [
        StatusCode::NOT_FOUND,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::CONFLICT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if status.is_server_error() || passing.contains(&status) {
        Failure::Passing(error, after)
    } else {
        Failure::Final(error)
    }
}

/// The delay of `Retry-After` in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

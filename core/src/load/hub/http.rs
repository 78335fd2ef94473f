//! Requests to the hub: redirects, tokens, retries.

use std::fmt;
use std::time::Duration;

use ureq::Agent;
use ureq::Body;
use ureq::http::{Response, StatusCode, Uri, header};

use crate::error::{Error, ErrorKind, Result};
use crate::web::{Origin, is_this_machine, resolve};

/// Maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 8;
/// The number of attempts of a request.
pub(super) const ATTEMPTS: u32 = 5;
const CONNECT: Duration = Duration::from_secs(15);
/// Longest pause of a server.
const SILENCE: Duration = Duration::from_secs(30);

/// A client for one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<String>,
    pause: Duration,
}

/// The failure of a request.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may succeed later.
    Passing(Error),
    /// It will not.
    Final(Error),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<String>, pause: Duration) -> Result<Self> {
        let uri = endpoint.parse::<Uri>().ok();
        let Some(origin) = uri.as_ref().and_then(Origin::of) else {
            let what =
                format!("address of the hub: got {endpoint:?}, expected one that starts with http:// or https://");
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        };
        let this_machine = uri.as_ref().is_some_and(is_this_machine);
        if token.is_some() && !origin.https && !this_machine {
            let what = format!(
                "address of the hub with a token: got http://{}, which is not encrypted, expected https:// or an address of \
                 this machine; unset HF_TOKEN to use none",
                uri.as_ref().and_then(Uri::host).unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("dreamframe/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        if this_machine {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().into(), endpoint: endpoint.to_owned(), origin, token, pause })
    }

    /// Returns an address at the hub, percent-encoded.
    pub(super) fn url(&self, parts: &[&str]) -> String {
        let mut url = self.endpoint.clone();
        for part in parts {
            url.push('/');
            for byte in part.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                    url.push(char::from(byte));
                } else {
                    url.push_str(&format!("%{byte:02X}"));
                }
            }
        }
        url
    }

    /// Returns a short text.
    pub(super) fn text(&self, url: &str, limit: u64) -> Result<String> {
        self.again(|| {
            let mut response = self.get(url, 0)?;
            let text = response.body_mut().with_config().limit(limit).read_to_string();
            text.map_err(|error| Failure::Passing(failed(url, error)))
        })
    }

    /// Repeats `attempt` until it succeeds, fails permanently, or the limit is reached; the delay increases each time.
    pub(super) fn again<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let mut pause = self.pause;
        for _ in 1..ATTEMPTS {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => tracing::debug!(error = format!("{error:#}"), "retrying"),
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        attempt().map_err(Failure::into_error)
    }

    /// Requests the body from byte `offset` on; a server may send all of it nevertheless.
    pub(super) fn get(&self, url: &str, offset: u64) -> Result<Response<Body>, Failure> {
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        let response = self.follow(url, false, range.as_deref(), &|_| false)?;
        check_status(url, response)
    }

    /// Requests the headers only. The headers about the file come from the hub itself, not from the target of its
    /// redirect, so redirects to another host are not followed.
    pub(super) fn head(&self, url: &str) -> Result<Response<Body>, Failure> {
        let response = self.follow(url, true, None, &|response| response.headers().contains_key("x-linked-etag"))?;
        if response.status().is_redirection() { Ok(response) } else { check_status(url, response) }
    }

    fn follow(
        &self,
        url: &str,
        head: bool,
        range: Option<&str>,
        enough: &dyn Fn(&Response<Body>) -> bool,
    ) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let origin = Origin::of_text(&url);
            let ours = origin.as_ref() == Some(&self.origin);
            let mut request = if head { self.agent.head(&url) } else { self.agent.get(&url) };
            if let (true, Some(token)) = (ours, &self.token) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            let response = request.call().map_err(|error| Failure::Passing(failed(&url, error)))?;
            if !response.status().is_redirection() || enough(&response) {
                return Ok(response);
            }
            let target = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let Some(next) = target.and_then(|target| resolve(&url, target)) else {
                let what = format!("redirect of {url}: got {:?}, expected an address", target.unwrap_or_default());
                return Err(Failure::Final(Error::new(ErrorKind::Io, what)));
            };
            let next_origin = Origin::of_text(&next);
            if head && next_origin.as_ref() != Some(&self.origin) {
                return Ok(response);
            }
            if origin.is_some_and(|origin| origin.https) && !next_origin.is_some_and(|next| next.https) {
                let what = format!("redirect of {url}: got {next}, which is not encrypted, expected https://");
                return Err(Failure::Final(Error::new(ErrorKind::Io, what)));
            }
            url = next;
        }
        let what =
            format!("redirects: got more than {MAX_REDIRECTS}, the last to {url}, expected at most {MAX_REDIRECTS}");
        Err(Failure::Final(Error::new(ErrorKind::Io, what)))
    }
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Passing(error) | Self::Final(error) => error,
        }
    }
}

fn failed(url: &str, error: ureq::Error) -> Error {
    Error::new(ErrorKind::Io, format!("failed to fetch {url}")).with_source(error)
}

fn check_status(url: &str, response: Response<Body>) -> Result<Response<Body>, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let error = |kind, advice: &str| Error::new(kind, format!("{url}: got the status {}{advice}", status.as_u16()));
    Err(match status {
        StatusCode::NOT_FOUND => Failure::Final(error(ErrorKind::NotFound, " (not found)")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Final(error(
            ErrorKind::NotFound,
            " (not found, or access is restricted; for restricted models set HF_TOKEN, and accept the terms on the hub)",
        )),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Failure::Passing(error(ErrorKind::Io, "")),
        status if status.is_server_error() => Failure::Passing(error(ErrorKind::Io, "")),
        _ => Failure::Final(error(ErrorKind::Io, "")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_url_characters_are_encoded() {
        let client = Client::new("http://hub.test", None, Duration::ZERO).unwrap();
        assert_eq!(client.url(&["org/name", "a b?#%.json"]), "http://hub.test/org/name/a%20b%3F%23%25.json");
        assert!(Client::new("ftp://hub.test", None, Duration::ZERO).is_err());
        assert!(Client::new("hub.test", None, Duration::ZERO).is_err());
    }
}

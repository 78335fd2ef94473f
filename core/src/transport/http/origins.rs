//! The web pages that may use a server, by the headers `Host` and `Origin` of their requests.

use std::net::IpAddr;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap, HeaderValue, ORIGIN, VARY};

use super::cors::add_cors;
use crate::{Error, ErrorKind, Result};

/// Which web pages may use a server.
///
/// A server that requires a secret can answer pages of [any](Self::any) origin: browsers do not send secrets by
/// themselves. A server without one answers [pages of this machine](Self::local) only, because browsers send requests
/// of every page that the user visits. Programs send no `Origin`; the check of `Host` applies to them alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigins {
    /// `None` for any.
    listed: Option<Vec<Listed>>,
}

/// An origin as its host has listed it, in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    scheme: String,
    host: String,
    /// The scheme's own where none is named; 0 where it has none.
    port: u16,
}

/// The reason why a request is refused, as text for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginRefused {
    /// The request was made to a name that is not the server's, as is that of a page whose host's address changed to
    /// one of this machine.
    #[error("Host: got {0:?}, expected a loopback name or address, or the host of an allowed origin")]
    Host(String),
    /// A page of another origin made the request.
    #[error("Origin: got {0:?}, expected a loopback origin or an allowed one")]
    Origin(String),
}

impl AllowedOrigins {
    /// Pages of any origin.
    pub fn any() -> Self {
        Self { listed: None }
    }

    /// Pages of this machine, whose origin has a loopback name or address as its host. Requests must name such a host
    /// as the server's, too.
    pub fn local() -> Self {
        Self { listed: Some(Vec::new()) }
    }

    /// Also allows pages of `origin`, such as `https://app.example` or `http://10.0.0.5:8080`, and requests to its
    /// host. Where any origin is allowed, it is checked and changes nothing.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for text that is not an origin: a scheme, a host and optionally a port.
    pub fn with(mut self, origin: &str) -> Result<Self> {
        let read = read(origin).ok_or_else(|| {
            let what = format!("origin: got {origin:?}, expected a scheme and a host, such as https://app.example");
            Error::new(ErrorKind::InvalidArgument, what)
        })?;
        if let Some(listed) = &mut self.listed {
            listed.push(read);
        }
        Ok(self)
    }

    /// Returns whether pages of any origin are allowed.
    pub fn is_any(&self) -> bool {
        self.listed.is_none()
    }

    /// Checks a request by its headers, before it is handled. A request without `Host` or `Origin` is not from a page.
    ///
    /// # Errors
    ///
    /// The header that is not allowed. The response is 403, with the headers of [`add_cors`](Self::add_cors).
    pub fn check(&self, headers: &HeaderMap) -> Result<(), OriginRefused> {
        let Some(listed) = &self.listed else { return Ok(()) };
        for host in headers.get_all(HOST) {
            if !host.to_str().is_ok_and(|host| is_ours(host, listed)) {
                return Err(OriginRefused::Host(shown(host)));
            }
        }
        for origin in headers.get_all(ORIGIN) {
            if !self.allows(origin) {
                return Err(OriginRefused::Origin(shown(origin)));
            }
        }
        Ok(())
    }

    /// Replaces the CORS headers of a response to a request with the headers `asked`, so that the page can read it;
    /// none for a page that is not allowed.
    pub fn add_cors(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        add_cors(answer);
        if self.is_any() {
            return;
        }
        // A worker's response may have these headers already.
        if answer.get_all(VARY).iter().all(|value| value != "Origin") {
            answer.append(VARY, HeaderValue::from_static("Origin"));
        }
        match asked.get(ORIGIN) {
            Some(origin) if self.check(asked).is_ok() => answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            _ => answer.remove(ACCESS_CONTROL_ALLOW_ORIGIN),
        };
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Some(listed) = &self.listed else { return true };
        let Some(origin) = origin.to_str().ok().and_then(read) else { return false };
        let is_web = ["http", "https"].contains(&origin.scheme.as_str());
        is_web && is_loopback(&origin.host) || listed.contains(&origin)
    }
}

/// Whether a `Host` is a loopback one, at any port, or that of a listed origin.
fn is_ours(host: &str, listed: &[Listed]) -> bool {
    let Some((name, port)) = split(host) else { return false };
    // Without a port the scheme's own is meant.
    let fits = |one: &Listed| one.host == name && port.or(usual_port(&one.scheme)) == Some(one.port);
    is_loopback(&name) || listed.iter().any(fits)
}

/// Reads `scheme://host[:port]`.
fn read(origin: &str) -> Option<Listed> {
    let (scheme, authority) = origin.split_once("://")?;
    let begins = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = scheme.to_ascii_lowercase();
    let (host, port) = split(authority)?;
    let port = port.or_else(|| usual_port(&scheme)).unwrap_or(0);
    (begins && scheme.bytes().all(fits)).then_some(Listed { scheme, host, port })
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Splits a host from its port. Small letters, and no brackets round an address.
fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_host = (1..=255).contains(&host.len()) && host.bytes().all(fits);
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    is_host.then(|| (host.to_ascii_lowercase(), port))
}

/// Whether a host is this machine for every browser: addresses, and names that are never looked up (RFC 6761, 6.3).
fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_address = name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}

/// A header as an answer may repeat it.
fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn page(origins: &AllowedOrigins, origin: &str) -> bool {
        origins.check(&headers(&[(HOST, "127.0.0.1:8889"), (ORIGIN, origin)])).is_ok()
    }

    fn asked(origins: &AllowedOrigins, host: &str) -> bool {
        origins.check(&headers(&[(HOST, host)])).is_ok()
    }

    #[test]
    fn pages_of_this_machine_and_listed_ones_are_allowed_and_no_others() {
        let origins = AllowedOrigins::local().with("https://App.example").unwrap().with("obs://panel").unwrap();
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "https://LOCALHOST:8443",
            "http://a.b.localhost:1",
            "http://127.0.0.1:8889",
            "http://127.9.9.9",
            "http://[::1]:5173",
            "https://app.example",
            "https://app.example:443",
            "obs://panel",
        ] {
            assert!(page(&origins, origin), "{origin}");
            assert!(page(&AllowedOrigins::any(), origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "localhost",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.hostile.test",
            "https://hostile.test",
            "http://localhost.hostile.test",
            "http://127.0.0.1.hostile.test",
            "http://127.0.0.1@hostile.test",
            "http://hostile.test/localhost",
            "http://hostile.test#.localhost",
            "http://hostile.test:80:localhost",
            "http://[::1].hostile.test",
            "http://[::2]",
            "http://128.0.0.1",
            "http://10.0.0.1",
            "ftp://localhost",
            "obs://localhost",
            "http://local\u{fc}host",
        ] {
            assert!(!page(&origins, origin), "{origin}");
            assert!(page(&AllowedOrigins::any(), origin), "{origin}");
        }
        let mut both = headers(&[(ORIGIN, "http://localhost")]);
        both.append(ORIGIN, HeaderValue::from_static("https://hostile.test"));
        assert!(origins.check(&both).is_err());
    }

    #[test]
    fn a_request_is_to_a_host_of_this_machine_or_a_listed_one() {
        let origins = AllowedOrigins::local().with("https://sd.example").unwrap().with("http://10.0.0.5:8889").unwrap();
        for host in [
            "localhost",
            "localhost:1",
            "127.0.0.1:8889",
            "[::1]:8889",
            "sd.example",
            "SD.example:443",
            "10.0.0.5:8889",
        ] {
            assert!(asked(&origins, host), "{host}");
        }
        // A name that is rebound to this machine has this server's port.
        for host in ["sd.example:8889", "sd.example:80", "10.0.0.5", "hostile.test", "", "localhost:x", "[::1", "a b"] {
            assert!(!asked(&origins, host), "{host}");
        }
        assert!(asked(&AllowedOrigins::any(), "hostile.test") && origins.check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn an_answer_names_the_page_that_may_read_it() {
        let told = |origins: &AllowedOrigins, asked: &[(http::HeaderName, &str)]| {
            let mut answer = HeaderMap::new();
            add_cors(&mut answer);
            origins.add_cors(&headers(asked), &mut answer);
            let text = |name| answer.get(name).map(|value| value.to_str().unwrap().to_owned());
            (text(ACCESS_CONTROL_ALLOW_ORIGIN), text(VARY))
        };
        let (some, vary) = (|text: &str| Some(text.to_owned()), Some("Origin".to_owned()));
        let local = AllowedOrigins::local();
        let page = [(ORIGIN, "http://localhost:3000")];
        assert_eq!(told(&local, &page), (some("http://localhost:3000"), vary.clone()));
        assert_eq!(told(&local, &[(ORIGIN, "https://hostile.test")]), (None, vary.clone()));
        // As of a page whose host's address changed.
        assert_eq!(told(&local, &[(HOST, "hostile.test"), page[0].clone()]), (None, vary.clone()));
        assert_eq!(told(&local, &[]), (None, vary));
        assert_eq!(told(&AllowedOrigins::any(), &page), (some("*"), None));
    }

    #[test]
    fn invalid_origins_are_rejected() {
        for origin in [
            "",
            "*",
            "null",
            "app.example",
            "https://",
            "https://a/b",
            "https://a/",
            "https://u@a",
            "1s://a",
            "://a",
            "a://b:70000",
        ] {
            for origins in [AllowedOrigins::local(), AllowedOrigins::any()] {
                assert_eq!(origins.with(origin).unwrap_err().kind(), ErrorKind::InvalidArgument, "{origin}");
            }
        }
    }
}

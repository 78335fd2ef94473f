//! The address that a stream is pushed to.

use std::fmt;

use dreamframe::{Error, ErrorKind, Result};

/// The ports of RTMP, and of RTMP over TLS.
const PORT: u16 = 1935;
const TLS_PORT: u16 = 443;

/// A parsed `rtmp://host[:port]/app/key`, or `rtmps://` for TLS. Its `Debug` leaves the key out.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Whether it is reached by TLS.
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) app: String,
    /// With the query, if there is one: services put tokens there.
    pub(super) key: String,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for one that is not RTMP or lacks a part.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let broken = |what: &str| Error::new(ErrorKind::InvalidArgument, what.to_owned());
        let expected = "expected rtmp:// or rtmps://";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| broken(&format!("got no scheme, {expected}")))?;
        let is_tls = scheme.eq_ignore_ascii_case("rtmps");
        if !is_tls && !scheme.eq_ignore_ascii_case("rtmp") {
            return Err(broken(&format!("got another scheme, {expected}")));
        }
        if url.len() > 2048 || url.chars().any(|letter| letter.is_control() || letter == ' ') {
            return Err(broken("expected at most 2048 bytes without spaces and control characters"));
        }
        let (authority, path) = rest.split_once('/').ok_or_else(|| broken("app and key after the host: missing"))?;
        if authority.contains('@') {
            return Err(broken("got a user name, expected none: it would not be sent"));
        }
        // An IPv6 address is in brackets, with colons of its own.
        let colon = authority.rfind(':').filter(|&colon| !authority[colon..].contains(']'));
        let (host, port) = match colon {
            Some(colon) => {
                let port = authority[colon + 1..].parse().ok().filter(|&port| port > 0);
                (&authority[..colon], port.ok_or_else(|| broken("got an invalid port, expected 1 to 65535"))?)
            }
            None => (authority, if is_tls { TLS_PORT } else { PORT }),
        };
        // The key may contain slashes after its question mark.
        let end = path.find('?').unwrap_or(path.len());
        let slash = path[..end].rfind('/').ok_or_else(|| broken("key after the app: missing"))?;
        let (app, key) = (path[..slash].trim_matches('/'), &path[slash + 1..]);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || app.is_empty() || key.is_empty() || key.starts_with('?') {
            return Err(broken("expected a host, an app and a key"));
        }
        Ok(Self { is_tls, host: host.to_owned(), port, app: app.to_owned(), key: key.to_owned() })
    }

    /// The URL in the `connect` command.
    pub(super) fn server_url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}://{host}:{}/{}", self.scheme(), self.port, self.app)
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls { "rtmps" } else { "rtmp" }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}/…", self.scheme(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let parts = |url| Target::parse(url).map(|target| (target.host, target.port, target.app, target.key));
        let of = |host: &str, port, app: &str, key: &str| (host.into(), port, app.into(), key.into());
        assert_eq!(parts("rtmp://a.tv/app/k").unwrap(), of("a.tv", 1935, "app", "k"));
        assert_eq!(parts("RTMP://a.tv:99/app/inst/k?t=a/b").unwrap(), of("a.tv", 99, "app/inst", "k?t=a/b"));
        assert_eq!(parts("rtmp://[::1]:80/live/k").unwrap(), of("::1", 80, "live", "k"));
        let by_tls = Target::parse("rtmps://a.tv/app/k").unwrap();
        assert_eq!((by_tls.is_tls, by_tls.port, by_tls.server_url()), (true, 443, "rtmps://a.tv:443/app".into()));
        assert_eq!(parts("RTMPS://a.tv:1936/app/k").unwrap().1, 1936);
        assert_eq!(Target::parse("rtmp://[::1]/live/k").unwrap().server_url(), "rtmp://[::1]:1935/live");
    }

    #[test]
    fn invalid_urls_are_rejected_without_showing_the_key() {
        for url in [
            "",
            "a.tv/app/k",
            "http://a.tv/app/k",
            "rtmp://a.tv",
            "rtmp://a.tv/app",
            "rtmp:///app/k",
            "rtmp://a.tv//k",
            "rtmp://a.tv/app/",
            "rtmp://a.tv/app/?k",
            "rtmp://a.tv:0/app/k",
            "rtmp://a.tv:x/app/k",
            "rtmp://u:p@a.tv/app/k",
            "rtmp://a.tv/app/k k",
            "rtmp://a.tv:70000/app/k",
        ] {
            assert_eq!(Target::parse(url).map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument), "{url}");
        }
        let shown = format!("{:?}", Target::parse("rtmp://a.tv/app/secret").unwrap());
        assert!(!shown.contains("secret") && shown.contains("a.tv"), "{shown}");
    }
}

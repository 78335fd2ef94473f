//! URLs in responses: all from one public base, so that they work for every client behind a proxy.

use std::str::FromStr;

use axum::http::HeaderMap;
use dreamframe::transport::http::base_url;

/// Scheme and host, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Urls {
    base: String,
}

impl FromStr for Urls {
    type Err = String;

    /// Parses `https://host`, `https://host:port`, or either with a path.
    fn from_str(text: &str) -> Result<Self, String> {
        let base = text.trim_end_matches('/');
        let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
        let (host, path) = rest.map_or(("", ""), |rest| rest.split_at(rest.find('/').unwrap_or(rest.len())));
        if is_host(host) && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte)) {
            return Ok(Self { base: base.to_owned() });
        }
        Err(format!("got {text:?}, expected a URL such as https://sd.example or http://10.0.0.5:8889"))
    }
}

impl Urls {
    /// Returns the base for a request with `headers`: `configured`, the one reported by a proxy, the requested host, or
    /// `fallback`.
    pub(crate) fn of(configured: Option<&Self>, headers: &HeaderMap, fallback: &str) -> Self {
        configured.cloned().unwrap_or_else(|| Self { base: base_url(headers, fallback) })
    }

    /// The absolute URL of `path`, which begins with a slash.
    pub(crate) fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The base itself.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The base without a path.
    pub(crate) fn origin(&self) -> &str {
        let end = self.base.match_indices('/').nth(2).map_or(self.base.len(), |(at, _)| at);
        self.base.get(..end).unwrap_or(&self.base)
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        let rest = self.base.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }

    /// Returns the WHIP URL of the stream with `key`.
    pub(crate) fn whip(&self, key: &str) -> String {
        self.absolute(&whip_path(key))
    }

    /// The WHEP URL of the stream with the playback id `id`: the one for viewers, since it does not allow publishing.
    pub(crate) fn playback(&self, id: &str) -> String {
        self.absolute(&playback_path(id))
    }
}

/// The path of the WHIP endpoint of `key`.
pub(crate) fn whip_path(key: &str) -> String {
    format!("/live/video-to-video/{key}/whip")
}

/// The path of the WHEP endpoint of the playback id `id`.
pub(crate) fn playback_path(id: &str) -> String {
    format!("/webrtc/{id}")
}

/// The path of the WHEP endpoint of `key`. It is accepted, but not part of responses: it contains the key, which allows
/// publishing.
pub(crate) fn whep_path(key: &str) -> String {
    format!("/live/video-to-video/{key}-out/whep")
}

/// Whether text is a host, with or without a port, without characters that could be used for injection.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((inner, port)) => (inner, port.strip_prefix(':').unwrap_or(port)),
            None => return false,
        },
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    !host.is_empty() && text.len() <= 260 && host.bytes().all(letters) && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn configured_url_takes_precedence() {
        let configured = "https://sd.example:8443/".parse().unwrap();
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("other.example"))]);
        assert_eq!(Urls::of(None, &headers, "http://x").base(), "http://other.example");
        let urls = Urls::of(Some(&configured), &headers, "http://x");
        assert_eq!(urls.whip("stk_a"), "https://sd.example:8443/live/video-to-video/stk_a/whip");
        assert_eq!(urls.playback("lp_a"), "https://sd.example:8443/webrtc/lp_a");
        assert_eq!((urls.host(), urls.origin()), ("sd.example:8443", "https://sd.example:8443"));
        assert_eq!("http://a/b/c".parse::<Urls>().unwrap().origin(), "http://a");
    }

    #[test]
    fn a_base_is_a_scheme_and_a_host() {
        for text in ["sd.example", "ftp://a", "https://", "https://a?x", "https://a b", "http://user@a"] {
            assert!(text.parse::<Urls>().is_err(), "{text}");
        }
    }
}

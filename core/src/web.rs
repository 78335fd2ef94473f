//! Addresses on the web: who is spoken to, and what a relative one means.

use ureq::http::Uri;
use url::Url;

/// Scheme, host and port: who is spoken to. A port that is not named is that of the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether what is said is encrypted.
    pub(crate) https: bool,
    /// In small letters.
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute address of http or https.
    ///
    /// It is read as the client of HTTP reads it, so that who is judged is who is spoken to.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let usual_port = if https { 443 } else { 80 };
        Some(Self { https, host: uri.host()?.to_ascii_lowercase(), port: uri.port_u16().unwrap_or(usual_port) })
    }

    /// The origin of an address as text.
    pub(crate) fn of_text(url: &str) -> Option<Self> {
        Self::of(&url.parse().ok()?)
    }
}

/// Returns whether an address is one of this machine, which no proxy reaches.
pub(crate) fn is_this_machine(uri: &Uri) -> bool {
    matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

/// The address that `target` means on a page at `base`, without a fragment; `None` if it is empty or not of http.
pub(crate) fn resolve(base: &str, target: &str) -> Option<String> {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    if target.is_empty() {
        return None;
    }
    let url = String::from(Url::parse(base).ok()?.join(target).ok()?);
    Origin::of_text(&url).map(|_| url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_may_be_relative() {
        let base = "https://hub.test/org/name/resolve/main/file?download=1";
        let resolved = |target| resolve(base, target);
        assert_eq!(resolved("/other/name").as_deref(), Some("https://hub.test/other/name"));
        assert_eq!(resolved("//cdn.test/x?y=1").as_deref(), Some("https://cdn.test/x?y=1"));
        assert_eq!(resolved("file2").as_deref(), Some("https://hub.test/org/name/resolve/main/file2"));
        assert_eq!(resolved("../x/./y?a=..").as_deref(), Some("https://hub.test/org/name/resolve/x/y?a=.."));
        assert_eq!(resolved("../../../../../../x#part").as_deref(), Some("https://hub.test/x"));
        assert_eq!(resolved("http://cdn.test/x").as_deref(), Some("http://cdn.test/x"));
        assert_eq!(resolved("?page=2").as_deref(), Some("https://hub.test/org/name/resolve/main/file?page=2"));
        assert_eq!(resolved("HTTPS://CDN.test:443/x").as_deref(), Some("https://cdn.test/x"));
        assert_eq!(resolved("a b").as_deref(), Some("https://hub.test/org/name/resolve/main/a%20b"));
        for target in ["file:///etc/passwd", "data:text/plain,x", "javascript:x", "", "#part", "https://", "//[::1"] {
            assert_eq!(resolved(target), None, "{target}");
        }
        assert_eq!(resolve("/no/host", "x"), None);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |url| Origin::of_text(url).unwrap();
        assert_eq!(origin("https://Hub.test/a"), origin("https://hub.test:443/b?c"));
        assert_eq!(origin("http://[::1]/a"), origin("http://[::1]:80"));
        for other in ["http://hub.test", "https://hub.test:80", "https://hub.test.evil", "https://hub.test@evil"] {
            assert_ne!(origin("https://hub.test"), origin(other), "{other}");
        }
        for none in ["ftp://hub.test", "hub.test", "/x", ""] {
            assert_eq!(Origin::of_text(none), None, "{none}");
        }
    }

    proptest! {
        // Two libraries read addresses: one resolves them, the other connects.
        #[test]
        fn resolved_target_keeps_its_host(target in "(https?:)?[/\\\\]{0,3}[ -~]{1,30}") {
            if let Some(url) = resolve("https://hub.test/org/file", &target) {
                let (read, uri) = (Url::parse(&url).unwrap(), url.parse::<Uri>().unwrap());
                prop_assert_eq!(read.host_str(), uri.host());
                prop_assert_eq!(read.port(), uri.port_u16());
                prop_assert_eq!(read.scheme(), uri.scheme_str().unwrap());
            }
        }
    }
}

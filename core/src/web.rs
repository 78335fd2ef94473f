//! Addresses on the web: who is spoken to, and what a relative one means.

use ureq::http::Uri;

/// Scheme, host and port: who is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether what is said is encrypted.
    pub(crate) https: bool,
    /// Host and port as the address has them, in small letters.
    pub(crate) authority: String,
}

impl Origin {
    /// The origin of an absolute address of http or https.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self { https, authority: uri.authority()?.as_str().to_ascii_lowercase() })
    }
}

/// Tells whether an address is one of this machine, which no proxy reaches.
pub(crate) fn is_this_machine(uri: &Uri) -> bool {
    matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

/// The address that `target` means on a page at `base`; `None` where it is not of http.
pub(crate) fn resolve(base: &str, target: &str) -> Option<String> {
    let uri: Uri = base.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    let url = if target.starts_with("http://") || target.starts_with("https://") {
        target.to_owned()
    } else if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else if target.contains("://") || target.is_empty() {
        return None;
    } else {
        let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{}", without_dots(&format!("{folder}/{target}")))
    };
    url.parse::<Uri>().ok().as_ref().and_then(Origin::of).map(|_| url)
}

/// A path whose segments `.` and `..` are done.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut kept = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(resolved("file:///etc/passwd"), None);
        assert_eq!(resolved(""), None);
    }
}

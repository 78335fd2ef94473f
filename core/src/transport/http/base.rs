//! The base URL by which clients know a server.

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName};

/// Returns the scheme and host that a request was made to, such as `https://sd.example:8443`, by its headers; those of
/// a proxy take precedence. Missing or invalid parts are taken from `fallback`, a URL of the same form.
///
/// A client controls these headers: the result is safe for URLs in its own response only.
pub fn base_url(headers: &HeaderMap, fallback: &str) -> String {
    let (scheme, host) = fallback.split_once("://").unwrap_or(("http", fallback));
    let schemes = [forwarded(headers, "proto"), first(headers, &X_FORWARDED_PROTO)];
    let hosts = [forwarded(headers, "host"), first(headers, &X_FORWARDED_HOST), first(headers, &HOST)];
    let scheme = schemes.into_iter().flatten().find_map(known_scheme).unwrap_or(scheme);
    let host = hosts.into_iter().flatten().find(|host| is_host(host)).unwrap_or(host);
    format!("{scheme}://{host}")
}

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The value of a header for the proxy that the client connected to, the first of a chain.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()?.split(',').next().map(str::trim)
}

/// A parameter of the header `Forwarded` (RFC 7239).
fn forwarded<'a>(headers: &'a HeaderMap, parameter: &str) -> Option<&'a str> {
    let mut pairs = first(headers, &FORWARDED)?.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(parameter))?;
    Some(value.trim().trim_matches('"'))
}

fn known_scheme(name: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| name.eq_ignore_ascii_case(known))
}

/// Returns whether a text is a valid host with an optional port: no path, no user, no characters that could be used for
/// injection.
fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(headers: &[(&'static str, &'static str)]) -> String {
        let parse = |&(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        base_url(&headers.iter().map(parse).collect(), "http://127.0.0.1:8000")
    }

    #[test]
    fn the_address_is_what_the_client_knows() {
        assert_eq!(base(&[]), "http://127.0.0.1:8000");
        assert_eq!(base(&[("host", "sd.example:81")]), "http://sd.example:81");
        assert_eq!(base(&[("host", "inner"), ("x-forwarded-proto", "https")]), "https://inner");
        let chain =
            [("host", "inner"), ("x-forwarded-host", "sd.example, middle"), ("x-forwarded-proto", "https, http")];
        assert_eq!(base(&chain), "https://sd.example");
        assert_eq!(
            base(&[("forwarded", "for=1.2.3.4;Proto=https;host=\"[2001:db8::1]:8443\", for=x")]),
            "https://[2001:db8::1]:8443"
        );
    }

    #[test]
    fn invalid_host_headers_are_ignored() {
        for host in ["a/b", "user@host", "a b", "", "<script>", "a?b"] {
            assert_eq!(base(&[("host", host)]), "http://127.0.0.1:8000", "{host}");
        }
        assert_eq!(base(&[("x-forwarded-proto", "javascript")]), "http://127.0.0.1:8000");
    }
}

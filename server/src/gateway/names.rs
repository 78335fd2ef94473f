//! Finds the name of a stream in the path or the query of a request.

use axum::http::Uri;

/// The prefixes of stream names; the rest of such a path segment is for the worker to interpret.
const PREFIXES: [&str; 3] = ["str_", "stk_", "lp_"];
/// The suffix of a stream key in the URL of its pictures.
const OUT: &str = "-out";

/// Finds the name of the stream that a request is about: its id, its stream key or its playback id.
pub(super) fn stream_name(uri: &Uri) -> Option<&str> {
    let of_query =
        || uri.query().into_iter().flat_map(|query| query.split('&')).find_map(|part| part.strip_prefix("id="));
    let is_name = |text: &&str| PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    let found = uri.path().split('/').find(is_name).or_else(|| of_query().filter(is_name));
    found.map(|name| name.strip_suffix(OUT).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(uri: &str) -> Option<String> {
        stream_name(&uri.parse().unwrap()).map(str::to_owned)
    }

    #[test]
    fn every_form_of_stream_name_is_recognized() {
        for (uri, expected) in [
            ("/v1/streams/str_9dKc", "str_9dKc"),
            ("/v1/streams/str_9dKc/status?x=1", "str_9dKc"),
            ("/v1/streams?id=str_9dKc", "str_9dKc"),
            ("/beta/streams/str_9dKc/prompts", "str_9dKc"),
            ("/live/video-to-video/stk_7mQ2/whip/ses_1", "stk_7mQ2"),
            ("/live/video-to-video/stk_7mQ2-out/whep", "stk_7mQ2"),
            ("/webrtc/lp_4nF8", "lp_4nF8"),
            ("/hls/lp_4nF8/index.m3u8", "lp_4nF8"),
            ("/lp_4nF8", "lp_4nF8"),
        ] {
            assert_eq!(name(uri).as_deref(), Some(expected), "{uri}");
        }
    }

    #[test]
    fn what_names_no_stream_is_for_any_worker() {
        for uri in
            ["/", "/v1/streams", "/v1/streams/other", "/page/app.js", "/v1/streams?id=5&x=str_1", "/openapi.json"]
        {
            assert_eq!(name(uri), None, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn stream_name_is_a_part_of_the_request(path in "/[ -~&&[^#?]]{0,40}", query in "[ -~&&[^#]]{0,40}") {
            let Ok(uri) = format!("{path}?{query}").parse::<Uri>() else { return Ok(()) };
            if let Some(name) = stream_name(&uri) {
                prop_assert!(!name.contains('/') && uri.to_string().contains(name));
            }
        }
    }
}

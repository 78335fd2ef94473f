//! Removes secrets from logged paths: names that allow publishing to a stream, or watching it or a clip of it.

/// The prefixes of stream keys, playback ids and clip ids.
const SECRETS: [&str; 3] = ["stk_", "lp_", "clip_"];
/// Longest path in the log, in characters.
const LONGEST: usize = 200;

/// Returns a path for the log: stream keys, playback ids and clip ids are masked, and at most 200 characters are kept.
pub(crate) fn path(path: &str) -> String {
    // Decoded as by the handlers, since a name may be percent-encoded.
    let path = decoded(path);
    let whole = path.split('/').map(shown).collect::<Vec<_>>().join("/");
    // Paths are sent by clients: control characters must not break a log line.
    whole.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn shown(segment: &str) -> String {
    let found = SECRETS.iter().filter_map(|secret| Some((segment.find(secret)?, secret)));
    match found.min() {
        Some((at, secret)) => {
            let tail = if segment.ends_with("-out") { "-out" } else { "" };
            format!("{}{secret}…{tail}", segment.get(..at).unwrap_or_default())
        }
        None => segment.to_owned(),
    }
}

/// Decodes percent escapes once, as routes do; other text stays.
fn decoded(path: &str) -> String {
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    let (bytes, mut out, mut at) = (path.as_bytes(), Vec::with_capacity(path.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_keys_are_not_in_a_path_that_is_logged() {
        assert_eq!(path("/live/video-to-video/stk_7mQ2xJ5LpYh6GtSa/whip"), "/live/video-to-video/stk_…/whip");
        assert_eq!(path("/live/video-to-video/stk_7mQ2-out/whep/ses_1"), "/live/video-to-video/stk_…-out/whep/ses_1");
        assert_eq!(path("/v1/streams/str_9dKc"), "/v1/streams/str_9dKc");
        for odd in ["/stk_secret", "stk_secret", "/a/xstk_secret-out", "//stk_secret//stk_secret"] {
            assert!(!path(odd).contains("secret"), "{odd}");
        }
    }

    #[test]
    fn playback_ids_and_names_that_are_written_otherwise_are_not_in_a_path_that_is_logged() {
        assert_eq!(path("/webrtc/lp_7mQ2xJ5LpYh6GtSa/ses_1"), "/webrtc/lp_…/ses_1");
        assert_eq!(path("/clips/clip_7mQ2xJ5LpYh6GtSa/video.mp4"), "/clips/clip_…/video.mp4");
        for odd in [
            "/live/video-to-video/%73tk_secret/whip",
            "/live/video-to-video/%73%74%6B%5Fsecret-out/whep",
            "/webrtc/%6cp_secret",
            "/hls/lp%5fsecret/index.m3u8",
            "/hls/..%2flp_secret/index.m3u8",
            "/a%2Fstk_secret%2Fstk_secret",
            "/lp_stk_secret",
            "/%ffstk_secret",
            "/%zzstk%5fsecret%",
        ] {
            assert!(!path(odd).contains("secret"), "{odd}: {}", path(odd));
        }
        assert_eq!(path("/a%0ab%"), "/a?b%");
    }

    #[test]
    fn no_path_breaks_a_line_or_fills_the_log() {
        assert_eq!(path("/a\nb"), "/a?b");
        assert_eq!(path(&"x".repeat(10_000)).len(), 200);
    }
}

//! A style image that is part of the parameters themselves, which has up to 8 MiB, in messages to clients.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The parameter that may hold an image.
const STYLE: &str = "ip_adapter_style_image_url";
/// The longest web address that is sent as it is, in bytes.
const MAX_URL: usize = 2048;
/// The prefix of a digest.
const PREFIX: &str = "sha256:";

/// Replaces a style image that is not a web address of at most 2048 bytes by its digest, `sha256:<hexadecimal>:<bytes>`.
pub fn hide_style_image(parameters: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = parameters.get_mut(STYLE)
        && is_image(text)
    {
        *text = digest(text);
    }
}

/// Removes the style image from `parameters` where it is the digest of the image in use, `known`: a client that sends
/// back what it was sent changes nothing.
pub fn drop_known_digest(parameters: &mut Map<String, Value>, known: &str) {
    let is_known = |value: &Value| value.as_str().is_some_and(|sent| sent.starts_with(PREFIX) && sent == digest(known));
    if parameters.get(STYLE).is_some_and(is_known) {
        parameters.shift_remove(STYLE);
    }
}

fn is_image(text: &str) -> bool {
    let is_url = ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    !text.is_empty() && (!is_url || text.len() > MAX_URL)
}

fn digest(text: &str) -> String {
    let mut out = PREFIX.to_owned();
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a `String` cannot fail, here and below.
        let _ = write!(out, "{byte:02x}");
    }
    let _ = write!(out, ":{}", text.len());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(style: &str) -> Map<String, Value> {
        json!({"prompt": "a", STYLE: style}).as_object().unwrap().clone()
    }

    fn hidden(style: &str) -> Map<String, Value> {
        let mut parameters = object(style);
        hide_style_image(&mut parameters);
        parameters
    }

    #[test]
    fn an_image_is_replaced_by_digest_and_length_and_an_address_stays() {
        for address in ["", "https://a.example/b.png", "HTTP://a.example/b.png"] {
            assert_eq!(hidden(address), object(address));
        }
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad:3";
        assert_eq!((&hidden("abc")[STYLE], &hidden("abc")["prompt"]), (&json!(digest), &json!("a")));
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL));
        assert!(hidden(&long)[STYLE].as_str().unwrap().starts_with(PREFIX));
    }

    #[test]
    fn the_digest_of_the_image_in_use_changes_nothing() {
        let digest = hidden("abc")[STYLE].as_str().unwrap().to_owned();
        let mut sent = object(&digest);
        drop_known_digest(&mut sent, "abc");
        assert!(!sent.contains_key(STYLE));
        let mut other = object(&digest);
        drop_known_digest(&mut other, "abd");
        assert_eq!(other, object(&digest));
    }
}

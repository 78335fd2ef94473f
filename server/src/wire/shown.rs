//! Parameters as they are told to all who listen: with the digest of a style image in place of the image.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Object;
use super::echo::hash;
use crate::auth::hex;

/// The parameter that may hold an image.
const STYLE: &str = "ip_adapter_style_image_url";
/// Longest address that is told as it is, in bytes.
const MOST: usize = 2048;
/// What a digest begins with.
const PREFIX: &str = "sha256:";

/// Parameters as they are told, and their digest.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) params: Object,
    pub(crate) hash: String,
}

impl Shown {
    /// Makes them of what a client would get back.
    pub(crate) fn new(params: Object) -> Self {
        let params = without_image(params);
        Self { hash: hash(&params), params }
    }
}

/// Puts a digest in the place of a style image that is in the parameters themselves.
pub(crate) fn without_image(mut params: Object) -> Object {
    if let Some(Value::String(text)) = params.get_mut(STYLE)
        && is_image(text)
    {
        *text = digest(text);
    }
    params
}

/// Takes the style image out where `params` have the digest of the image that there is, `known`: a client sends back what it
/// was told, which changes nothing.
pub(crate) fn without_known_digest(params: &mut Object, known: &str) {
    let is_known = |value: &Value| value.as_str().is_some_and(|sent| sent.starts_with(PREFIX) && sent == digest(known));
    if params.get(STYLE).is_some_and(is_known) {
        params.shift_remove(STYLE);
    }
}

fn is_image(text: &str) -> bool {
    let is_url = ["http://", "https://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    !text.is_empty() && (!is_url || text.len() > MOST)
}

/// `sha256:<digest in hexadecimal>:<length in bytes>`
fn digest(text: &str) -> String {
    format!("{PREFIX}{}:{}", hex(&Sha256::digest(text.as_bytes())), text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(style: &str) -> Object {
        json!({"prompt": "a", STYLE: style}).as_object().unwrap().clone()
    }

    #[test]
    fn an_image_is_told_by_digest_and_length_and_an_address_as_it_is() {
        for address in ["", "https://a.example/b.png", "HTTP://a.example/b.png"] {
            assert_eq!(without_image(object(address)), object(address));
        }
        let told = without_image(object("abc"));
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad:3";
        assert_eq!((&told[STYLE], &told["prompt"]), (&json!(digest), &json!("a")));
        let long = format!("https://a.example/{}", "x".repeat(MOST));
        assert!(without_image(object(&long))[STYLE].as_str().unwrap().starts_with(PREFIX));
        assert_ne!(Shown::new(object("abc")).hash, Shown::new(object("abd")).hash);
    }

    #[test]
    fn the_digest_of_the_image_that_there_is_changes_nothing() {
        let digest = without_image(object("abc"))[STYLE].as_str().unwrap().to_owned();
        let mut sent = object(&digest);
        without_known_digest(&mut sent, "abc");
        assert!(!sent.contains_key(STYLE));
        let mut other = object(&digest);
        without_known_digest(&mut other, "abd");
        assert_eq!(other, object(&digest));
    }
}

//! The style image, as shared text.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The text of a style image: an http, https or data URL of an image, or base64; for a face, also a data URL of its
/// embedding; empty for none.
///
/// The text is read once, when the value is created. Clones share it, and comparisons use its SHA-256, so that neither
/// depends on the length of the text, which may be up to 8 MiB. In JSON it is a string.
#[derive(Clone)]
pub struct StyleImageUrl(Arc<Inner>);

struct Inner {
    text: Box<str>,
    sha256: [u8; 32],
    chars: usize,
    is_source: bool,
}

impl StyleImageUrl {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Returns the number of characters.
    pub(super) fn chars(&self) -> usize {
        self.0.chars
    }

    /// Returns true for an http or https URL, a data URL of an image or a face, and base64.
    pub(super) fn is_source(&self) -> bool {
        self.0.is_source
    }
}

impl From<Box<str>> for StyleImageUrl {
    fn from(text: Box<str>) -> Self {
        let (sha256, chars) = (Sha256::digest(text.as_bytes()).into(), text.chars().count());
        let is_source = is_source(&text);
        Self(Arc::new(Inner { text, sha256, chars, is_source }))
    }
}

impl From<String> for StyleImageUrl {
    fn from(text: String) -> Self {
        text.into_boxed_str().into()
    }
}

impl From<&str> for StyleImageUrl {
    fn from(text: &str) -> Self {
        Box::<str>::from(text).into()
    }
}

impl Default for StyleImageUrl {
    fn default() -> Self {
        "".into()
    }
}

impl Deref for StyleImageUrl {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for StyleImageUrl {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.sha256 == other.0.sha256
    }
}

impl Eq for StyleImageUrl {}

impl PartialEq<str> for StyleImageUrl {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for StyleImageUrl {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Shows the start of a long text.
impl fmt::Debug for StyleImageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        match self.as_str().char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.as_str()[..end], self.len()),
            None => fmt::Debug::fmt(self.as_str(), f),
        }
    }
}

impl Serialize for StyleImageUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for StyleImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<str>::deserialize(deserializer).map(Self::from)
    }
}

/// The start of a data URL with the embedding of a face.
pub(crate) const FACE_SCHEME: &str = "data:application/x-face-embedding;base64,";

fn is_source(text: &str) -> bool {
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    let is_base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b));
    begins("http://") || begins("https://") || begins("data:image/") || begins(FACE_SCHEME) || is_base64(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_text_and_equal_texts_are_equal() {
        let image = StyleImageUrl::from("iVBORw0KGgo=");
        assert_eq!(image.clone().as_str().as_ptr(), image.as_str().as_ptr());
        assert_eq!(image, StyleImageUrl::from("iVBORw0KGgo=".to_owned()));
        assert_ne!(image, StyleImageUrl::from("iVBORw0KGgp="));
        assert_eq!(image, "iVBORw0KGgo=");
    }

    #[test]
    fn json_is_the_text() {
        let image: StyleImageUrl = serde_json::from_str(r#""https://host/a \"b\"""#).unwrap();
        assert_eq!(image.as_str(), r#"https://host/a "b""#);
        assert_eq!(serde_json::to_string(&image).unwrap(), r#""https://host/a \"b\"""#);
    }

    #[test]
    fn long_texts_are_shortened_for_debugging() {
        assert_eq!(format!("{:?}", StyleImageUrl::from("é")), "\"é\"");
        let long = format!("{:?}", StyleImageUrl::from("é".repeat(1 << 20)));
        assert_eq!(long, format!("\"{}\"… (2097152 bytes)", "é".repeat(64)));
    }
}

//! Parameters in status, notices and responses: with the digest of a style image in place of the image.

use dreamframe::transport::parameters::hide_style_image;

use super::Object;
use super::echo::hash;

/// Parameters as sent to clients, and their digest.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) params: Object,
    pub(crate) hash: String,
}

impl Shown {
    /// Takes the parameters as the API returns them.
    pub(crate) fn new(mut params: Object) -> Self {
        hide_style_image(&mut params);
        Self { hash: hash(&params), params }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_style_image_has_another_digest() {
        let shown = |style: &str| Shown::new(json!({"ip_adapter_style_image_url": style}).as_object().unwrap().clone());
        assert_ne!(shown("abc").hash, shown("abd").hash);
        assert!(!shown("abc").params["ip_adapter_style_image_url"].as_str().unwrap().contains("abc"));
    }
}

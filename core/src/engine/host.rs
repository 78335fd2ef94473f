//! The traits that a host implements for an engine.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::preprocess::Image;

/// Scores pictures for safety, one at a time, on the thread that processes frames.
pub trait SafetyChecker: Send + Sync + fmt::Debug {
    /// Returns how unsafe `image` (`[height, width, 3]`, RGB in 0..1) is, from 0 (harmless) to 1. A picture is flagged
    /// if its score is at least `safety_checker_threshold`.
    ///
    /// # Errors
    ///
    /// Any that prevents scoring; the picture is then flagged, and the frame fails.
    fn score(&self, image: &Image) -> Result<f32>;
}

/// Provides what the engine, which has no network access, cannot compute from `ip_adapter_style_image_url`. Called
/// while an update is prepared, on the preparing thread, never while a frame is processed.
///
/// Images inside the parameters do not need it: see [`style_data_uri`](crate::style_data_uri).
pub trait StyleImages: Send + Sync + fmt::Debug {
    /// Returns the bytes of the image file (PNG, JPEG or WebP) at an http or https URL.
    ///
    /// # Errors
    ///
    /// Any that prevents fetching it; the update is then rejected, and nothing has changed.
    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let text = format!("cannot fetch {url}: this host does not fetch images");
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Returns the embedding of the first face in the image `source` (the value of the parameter: a URL, a data URI or
    /// base64), for adapters of type `faceid`. Its length is that of the adapter's input (512 for the published ones). Not
    /// called if the source is such an embedding itself, as [`face_data_uri`](crate::face_data_uri) writes it.
    ///
    /// # Errors
    ///
    /// Any that prevents it, such as an image without a face; the update is then rejected, and nothing has changed.
    fn face(&self, _source: &str) -> Result<Vec<f32>> {
        let text = "cannot embed a face: this host does not detect faces; pass the embedding of one as a data URI";
        Err(Error::new(ErrorKind::Unsupported, text))
    }
}

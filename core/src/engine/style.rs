//! What a host brings for style images that the engine cannot read by itself.

use std::fmt;

use super::workshop::Workshop;
use crate::conditioning::style::{StyleText, read_style_text};
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::params::IPAdapterType;

/// Brings what the engine, which has no network, cannot make of `ip_adapter_style_image_url`. It is asked when an update is
/// prepared, on the thread that prepares it, never while a frame is worked on.
///
/// Images that are in the parameters themselves need none: see [`style_data_uri`](crate::style_data_uri).
pub trait StyleImages: Send + Sync + fmt::Debug {
    /// Brings the bytes of the image file (PNG, JPEG, WebP) at an http(s) URL.
    ///
    /// # Errors
    ///
    /// Why it cannot be brought; the update is then refused, and nothing has changed.
    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let text = format!("{url} is not fetched: this host brings no images from URLs");
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Finds the first face in the image that `source` is (the whole text of the parameter: a URL, a data URI or base64), for
    /// adapters of type `faceid`: its embedding, as long as the adapter wants it (512 numbers for those published).
    ///
    /// # Errors
    ///
    /// Why there is none; the update is then refused, and nothing has changed.
    fn face(&self, _source: &str) -> Result<Vec<f32>> {
        Err(Error::new(ErrorKind::Unsupported, "faces are not looked for: this host brings no embeddings of faces"))
    }
}

/// A style image as an adapter takes it.
#[derive(Debug)]
pub(super) enum Style {
    /// The bytes of an image file.
    Image(Vec<u8>),
    /// The embedding of a face.
    Face(Vec<f32>),
}

const PATH: &str = "ip_adapter_style_image_url";

impl Style {
    /// Reads what the parameter says.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for what is no image; `Unsupported` where the host brings nothing; what the host reports.
    pub(super) fn read(workshop: &Workshop, kind: IPAdapterType, text: &str) -> Result<Self> {
        if kind == IPAdapterType::Faceid {
            return host(workshop, "faces need an embedding")?.face(text).map(Self::Face).map_err(told);
        }
        match read_style_text(text).map_err(invalid)? {
            StyleText::Bytes(bytes) => Ok(Self::Image(bytes)),
            StyleText::Url(url) => host(workshop, "it is a URL")?.fetch(url).map(Self::Image).map_err(told),
        }
    }
}

fn host<'a>(workshop: &'a Workshop, why: &str) -> Result<&'a dyn StyleImages> {
    workshop.style_images.as_deref().ok_or_else(|| {
        let text =
            format!("{PATH}: {why}, which the host must bring (EngineBuilder::style_images), and it brings none");
        Error::new(ErrorKind::Unsupported, text)
    })
}

fn told(error: Error) -> Error {
    error.within(PATH)
}

/// What is wrong with an image is wrong with the parameter.
pub(super) fn invalid(error: Error) -> Error {
    if error.kind() != ErrorKind::InvalidArgument {
        return told(error);
    }
    let violation = Violation { path: PATH.into(), message: error.to_string() };
    Error::invalid_params(vec![violation]).with_source(error)
}

//! Reading of style images.

use super::context::BuildContext;
use crate::conditioning::style::{StyleText, read_face, read_style_text};
use crate::engine::host::StyleImages;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::params::IPAdapterType;

/// A style image, as input of an adapter.
#[derive(Debug)]
pub(super) enum Style {
    /// The bytes of an image file.
    Image(Vec<u8>),
    /// The embedding of a face.
    Face(Vec<f32>),
}

const PATH: &str = "ip_adapter_style_image_url";

impl Style {
    /// Reads the parameter's value.
    ///
    /// # Errors
    ///
    /// `InvalidParams` for what is neither an image nor a face; `Unsupported` if the host provides nothing; those of the
    /// host.
    pub(super) fn read(context: &BuildContext, kind: IPAdapterType, text: &str) -> Result<Self> {
        if kind == IPAdapterType::Faceid {
            if let Some(face) = read_face(text).map_err(invalid)? {
                return Ok(Self::Face(face));
            }
            let why = "faces are not detected here: the style image must be the embedding of one (face_data_uri), or the \
                       host must make it";
            return host(context, why)?.face(text).map(Self::Face).map_err(within_path);
        }
        match read_style_text(text).map_err(invalid)? {
            StyleText::Bytes(bytes) => Ok(Self::Image(bytes)),
            StyleText::Url(url) => {
                host(context, "a URL needs a source of images")?.fetch(url).map(Self::Image).map_err(within_path)
            }
        }
    }
}

fn host<'a>(context: &'a BuildContext, why: &str) -> Result<&'a dyn StyleImages> {
    context.style_images.as_deref().ok_or_else(|| {
        let text = format!("{PATH}: {why}, and the host provides none (EngineBuilder::style_images)");
        Error::new(ErrorKind::Unsupported, text)
    })
}

fn within_path(error: Error) -> Error {
    error.within(PATH)
}

/// Converts the error of an image into one of the parameter.
pub(super) fn invalid(error: Error) -> Error {
    if error.kind() != ErrorKind::InvalidArgument {
        return within_path(error);
    }
    let violation = Violation { path: PATH.into(), message: error.to_string() };
    Error::invalid_params(vec![violation]).with_source(error)
}

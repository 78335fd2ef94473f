//! `upscale`: enlarges the picture by interpolation.

use serde_json::{Map, Value};

use super::resize::{Interpolation, Resizer};
use super::{Context, Image, Preprocessor};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::MAX_SIDE;
use crate::params::{UpscaleAlgorithm, UpscaleSettings};

#[derive(Debug)]
pub(super) struct Upscale {
    settings: UpscaleSettings,
    resizer: Resizer,
}

impl Upscale {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        Self { settings: UpscaleSettings::read(settings), resizer: Resizer::default() }
    }
}

/// Returns the size of an image that is `factor` times as large.
pub(super) fn enlarged((width, height): (usize, usize), factor: f64) -> (usize, usize) {
    ((width as f64 * factor) as usize, (height as f64 * factor) as usize)
}

impl Preprocessor for Upscale {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        let how = match self.settings.algorithm {
            UpscaleAlgorithm::Bilinear => Interpolation::Bilinear,
            UpscaleAlgorithm::Bicubic => Interpolation::Bicubic,
            UpscaleAlgorithm::Lanczos => Interpolation::Lanczos,
            UpscaleAlgorithm::Nearest => Interpolation::Nearest,
        };
        let size = enlarged((input.width(), input.height()), self.settings.scale_factor);
        if size.0.max(size.1) > MAX_SIDE as usize {
            let text = format!("size of the result: got {}x{}, expected sides of at most {MAX_SIDE}", size.0, size.1);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.resizer.resize(how, input, size, output);
        if matches!(how, Interpolation::Bicubic | Interpolation::Lanczos) {
            // Both overshoot at edges.
            output.pixels_mut().iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        }
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = UpscaleSettings::read(settings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_is_too_large_is_rejected_without_allocation() {
        let settings = Map::from_iter([("scale_factor".to_owned(), 8.0.into())]);
        let input = Image::from_pixels(1025, 1, 3, vec![0.5; 1025 * 3]).unwrap();
        let refused = Upscale::new(&settings).run(&input, &Context::default(), &mut Image::new()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(refused.to_string().contains("8200x8"), "{refused}");
    }
}

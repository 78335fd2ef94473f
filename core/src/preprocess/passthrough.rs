//! `passthrough` returns the frame, `external` an image that the caller provides.

use serde_json::{Map, Value};

use super::{Context, Image, Preprocessor};
use crate::error::{Error, ErrorKind, Result};
use crate::params::ExternalSettings;

/// Returns its input.
#[derive(Debug)]
pub(super) struct Passthrough;

impl Preprocessor for Passthrough {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        output.copy_from(input);
        Ok(())
    }

    fn configure(&mut self, _: &Map<String, Value>) {}
}

/// Returns its input, a finished control image, after checking its size.
#[derive(Debug)]
pub(super) struct External {
    settings: ExternalSettings,
}

impl External {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        Self { settings: ExternalSettings::read(settings) }
    }
}

impl Preprocessor for External {
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> Result<()> {
        let (width, height) = context.size;
        if self.settings.validate_input && (input.width(), input.height()) != (width, height) {
            let text = format!("image: got {}x{}, expected {width}x{height}", input.width(), input.height());
            return Err(Error::new(ErrorKind::InvalidFrame, text));
        }
        output.copy_from(input);
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = ExternalSettings::read(settings);
    }
}

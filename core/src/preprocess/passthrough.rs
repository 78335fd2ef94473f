//! `passthrough` returns the frame.

use serde_json::{Map, Value};

use super::{Context, Image, Preprocessor};
use crate::error::Result;

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

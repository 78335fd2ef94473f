//! `blur`: a Gaussian blur with zero padding.

use serde_json::{Map, Value};

use super::filter::{Border, Filter, gaussian};
use super::{Context, Image, Preprocessor};
use crate::error::Result;
use crate::params::BlurSettings;

#[derive(Debug)]
pub(super) struct Blur {
    kernel: Vec<f32>,
    filter: Filter,
}

impl Blur {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        let mut blur = Self { kernel: Vec::new(), filter: Filter::default() };
        blur.configure(settings);
        blur
    }
}

impl Preprocessor for Blur {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        output.resize(input.width(), input.height(), input.channels());
        self.filter.blur(input.pixels(), input.size(), &self.kernel, Border::Zero, output.pixels_mut());
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        let BlurSettings { blur_intensity, kernel_size } = BlurSettings::read(settings);
        gaussian(blur_intensity, kernel_size as usize | 1, 1.0, &mut self.kernel);
    }
}

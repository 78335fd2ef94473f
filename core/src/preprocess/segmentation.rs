//! `mediapipe_segmentation`: MediaPipe's selfie segmentation, a mask of people.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::filter::{Border, Filter, gaussian};
use super::network_runner::{Loaded, Running};
use super::resize::{Interpolation, Resizer, with_shorter_side};
use super::{Context, Factory, Image, Preprocessor, rgb};
use crate::error::Result;
use crate::exec::Executor;
use crate::models::annotators::View;
use crate::params::{MaskOutput, MediapipeSegmentationSettings};

/// Starts processors that segment people.
pub(super) struct SegmentationFactory {
    loaded: Arc<Loaded>,
    view: View,
}

impl fmt::Debug for SegmentationFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentationFactory").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Returns the network that the settings select.
pub(super) fn view(settings: &Map<String, Value>) -> View {
    match MediapipeSegmentationSettings::read(settings).model_selection {
        0 => View::General,
        _ => View::Landscape,
    }
}

impl SegmentationFactory {
    /// Compiles the network.
    ///
    /// # Errors
    ///
    /// `Unsupported` if it is not built in, and those of the executor.
    #[cfg(feature = "segmentation")]
    pub(super) fn load(executor: &dyn Executor, view: View) -> Result<Self> {
        use crate::load::WeightFiles;
        use crate::models::annotators::segmentation_program;

        let weights = Arc::new(WeightFiles::embedded(match view {
            View::General => "segmentation/general.safetensors",
            View::Landscape => "segmentation/landscape.safetensors",
        })?);
        Ok(Self { loaded: Arc::new(Loaded::new(executor, segmentation_program(view)?, weights)?), view })
    }

    #[cfg(not(feature = "segmentation"))]
    pub(super) fn load(_: &dyn Executor, _: View) -> Result<Self> {
        let text = "the network of person masks is not built in: build with the feature `segmentation`";
        Err(crate::error::Error::new(crate::error::ErrorKind::Unsupported, text))
    }
}

impl Factory for SegmentationFactory {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        let mut segmentation = Segmentation {
            running: Running::new(self.loaded.clone()),
            view: self.view,
            settings: MediapipeSegmentationSettings::default(),
            resizers: Default::default(),
            seen: Image::new(),
            probabilities: Image::new(),
            mask: Image::new(),
            filter: Filter::default(),
            kernel: Vec::new(),
            blurred: Vec::new(),
            shown: Image::new(),
        };
        segmentation.configure(settings);
        Box::new(segmentation)
    }
}

struct Segmentation {
    running: Running,
    view: View,
    settings: MediapipeSegmentationSettings,
    /// The resizers from frame to network, from network to mask, and from frame to the size of the mask.
    resizers: [Resizer; 3],
    /// The input of the network.
    seen: Image,
    probabilities: Image,
    mask: Image,
    filter: Filter,
    kernel: Vec<f32>,
    blurred: Vec<f32>,
    /// The frame at the size of the mask.
    shown: Image,
}

impl fmt::Debug for Segmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segmentation")
            .field("view", &self.view)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Preprocessor for Segmentation {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        rgb(input)?;
        self.find(input)?;
        let (width, height) = (self.mask.width(), self.mask.height());
        output.resize(width, height, 3);
        let pixels = output.pixels_mut().as_chunks_mut::<3>().0.iter_mut();
        if self.settings.output_mode == MaskOutput::Binary {
            pixels.zip(self.mask.pixels()).for_each(|(to, &mask)| *to = [mask; 3]);
            return Ok(());
        }
        let behind = self.settings.output_mode == MaskOutput::Background;
        let size = (width, height);
        self.resizers[2].resize(scaling(input, size), input, size, &mut self.shown);
        let shown = self.shown.pixels().as_chunks::<3>().0;
        for ((to, from), &mask) in pixels.zip(shown).zip(self.mask.pixels()) {
            let share = if behind { 1.0 - mask } else { mask };
            *to = from.map(|x| x * share);
        }
        Ok(())
    }

    fn evaluations(&self) -> u64 {
        self.running.evaluations()
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = MediapipeSegmentationSettings::read(settings);
        self.kernel.clear();
        let radius = self.settings.blur_radius;
        if radius > 0 {
            // OpenCV's choice for a kernel of this side.
            let sigma = 0.3 * (f64::from(radius) - 1.0) + 0.8;
            gaussian(sigma, 2 * radius as usize + 1, 1.0, &mut self.kernel);
        }
    }
}

impl Segmentation {
    /// Computes the mask of `input`: the coverage of each pixel by a person, inverted with `invert_mask`.
    fn find(&mut self, input: &Image) -> Result<()> {
        let (height, width) = self.view.size();
        self.resizers[0].resize(scaling(input, (width, height)), input, (width, height), &mut self.seen);
        let logits = self.running.run(self.seen.pixels())?.first().map_or(&[] as &[f32], Vec::as_slice);
        self.probabilities.resize(width, height, 1);
        for (to, logit) in self.probabilities.pixels_mut().iter_mut().zip(logits) {
            *to = 1.0 / (1.0 + (-logit).exp());
        }
        let settings = &self.settings;
        let size = with_shorter_side((input.width(), input.height()), settings.detect_resolution as usize);
        self.resizers[1].resize(Interpolation::Bilinear, &self.probabilities, size, &mut self.mask);
        let (threshold, inverted) = (settings.mask_threshold as f32, settings.invert_mask);
        for x in self.mask.pixels_mut() {
            *x = if (*x >= threshold) == inverted { 0.0 } else { 1.0 };
        }
        if !self.kernel.is_empty() {
            self.blurred.resize(self.mask.pixels().len(), 0.0);
            let (from, size) = (self.mask.pixels(), self.mask.size());
            self.filter.blur(from, size, &self.kernel, Border::Reflect, &mut self.blurred);
            for (to, &from) in self.mask.pixels_mut().iter_mut().zip(&self.blurred) {
                // Rounding may exceed the range.
                *to = from.clamp(0.0, 1.0);
            }
        }
        Ok(())
    }
}

/// Returns the interpolation for resizing a frame to `size`.
fn scaling(input: &Image, (width, _): (usize, usize)) -> Interpolation {
    if width < input.width() { Interpolation::Area } else { Interpolation::Bilinear }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::annotators::segmentation_program;
    use crate::preprocess::network_runner::tests::random;

    /// Runs a network with random weights on a random frame; returns the frame and the output.
    fn run(settings: Value) -> (Image, Image) {
        let mut pixels = vec![0.0; 40 * 20 * 3];
        (0..pixels.len()).for_each(|i| pixels[i] = (i * 7919 % 1009) as f32 / 1008.0);
        let frame = Image::from_pixels(40, 20, 3, pixels).unwrap();
        let factory = SegmentationFactory {
            loaded: random(segmentation_program(View::Landscape).unwrap()),
            view: View::Landscape,
        };
        let (mut processor, mut output) = (factory.start(settings.as_object().unwrap()), Image::new());
        processor.run(&frame, &Context::default(), &mut output).unwrap();
        (frame, output)
    }

    /// A threshold at which the mask of random weights is neither empty nor full.
    const SOMEWHERE: f64 = 0.5;

    #[test]
    fn the_mask_has_the_shape_of_the_frame_and_is_black_and_white() {
        let (_, mask) = run(json!({"detect_resolution": 60, "mask_threshold": SOMEWHERE}));
        assert_eq!((mask.width(), mask.height(), mask.channels()), (120, 60, 3));
        assert!(mask.pixels().iter().all(|&x| x == 0.0 || x == 1.0));
        let (_, all) = run(json!({"detect_resolution": 60, "mask_threshold": 0.0}));
        assert!(all.pixels().iter().all(|&x| x == 1.0));
        let (_, none) = run(json!({"detect_resolution": 60, "mask_threshold": 0.0, "invert_mask": true}));
        assert!(none.pixels().iter().all(|&x| x == 0.0));
    }

    #[test]
    fn inverted_mask_is_the_complement_with_and_without_blur() {
        for radius in [0, 5] {
            let settings = |invert: bool| {
                let mut settings = json!({"detect_resolution": 32, "mask_threshold": SOMEWHERE});
                (settings["blur_radius"], settings["invert_mask"]) = (json!(radius), json!(invert));
                settings
            };
            let ((_, mask), (_, rest)) = (run(settings(false)), run(settings(true)));
            let sums = mask.pixels().iter().zip(rest.pixels()).map(|(a, b)| a + b);
            assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
            let mixed = mask.pixels().iter().any(|&x| x > 0.01 && x < 0.99);
            assert_eq!(mixed, radius > 0, "blurring makes edges soft");
        }
    }

    #[test]
    fn person_and_background_add_up_to_the_frame() {
        let settings = |mode: &str| {
            let mut settings = json!({"detect_resolution": 20, "mask_threshold": SOMEWHERE, "blur_radius": 3});
            settings["output_mode"] = json!(mode);
            settings
        };
        let ((frame, person), (_, behind)) = (run(settings("alpha")), run(settings("background")));
        let (_, mask) = run(settings("binary"));
        for (i, &x) in frame.pixels().iter().enumerate() {
            assert!((person.pixels()[i] - x * mask.pixels()[i]).abs() < 1e-5);
            assert!((person.pixels()[i] + behind.pixels()[i] - x).abs() < 1e-5);
        }
    }

    #[test]
    fn invalid_frames_are_rejected() {
        let factory =
            SegmentationFactory { loaded: random(segmentation_program(View::General).unwrap()), view: View::General };
        let (mut processor, mut output) = (factory.start(&Map::new()), Image::new());
        for image in [Image::new(), Image::from_pixels(2, 2, 4, vec![0.0; 16]).unwrap()] {
            assert!(processor.run(&image, &Context::default(), &mut output).is_err());
        }
    }
}

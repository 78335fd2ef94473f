//! `feedback` and `latent_feedback`: mix the last output into the input.

use serde_json::{Map, Value};

use super::resize::{Interpolation, Resizer};
use super::{Context, Image, Preprocessor};
use crate::error::Result;
use crate::params::{FeedbackSettings, LatentFeedbackSettings};

/// Maximum weight of the last latent.
const MAX_LATENT_STRENGTH: f64 = 0.4;
/// The range of latents.
const MAX_LATENT: f32 = 10.0;

/// Mixes the last picture into the frame; the first frame is unchanged.
#[derive(Debug)]
pub(super) struct Feedback {
    strength: f32,
    resizer: Resizer,
    /// The last picture at the frame's size.
    fitted: Image,
}

impl Feedback {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        let mut feedback = Self { strength: 0.0, resizer: Resizer::default(), fitted: Image::new() };
        feedback.configure(settings);
        feedback
    }
}

impl Preprocessor for Feedback {
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> Result<()> {
        output.copy_from(input);
        let Some(mut previous) = context.previous.filter(|previous| previous.channels() == input.channels()) else {
            return Ok(());
        };
        if !previous.same_size(input) {
            let size = (input.width(), input.height());
            self.resizer.resize(Interpolation::Bilinear, previous, size, &mut self.fitted);
            previous = &self.fitted;
        }
        for (output, previous) in output.pixels_mut().iter_mut().zip(previous.pixels()) {
            *output = (1.0 - self.strength) * *output + self.strength * previous;
        }
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.strength = FeedbackSettings::read(settings).feedback_strength.clamp(0.0, 1.0) as f32;
    }
}

/// Mixes the last clean latent into the latent; the first latent is unchanged.
#[derive(Debug)]
pub(super) struct LatentFeedback {
    strength: f32,
}

impl LatentFeedback {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        let mut feedback = Self { strength: 0.0 };
        feedback.configure(settings);
        feedback
    }
}

impl Preprocessor for LatentFeedback {
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> Result<()> {
        output.copy_from(input);
        let Some(previous) = context.previous.filter(|previous| previous.same_size(input)) else { return Ok(()) };
        for (output, previous) in output.pixels_mut().iter_mut().zip(previous.pixels()) {
            let mixed = (1.0 - self.strength) * *output + self.strength * previous;
            // A latent with NaN would be fed back forever.
            *output = if mixed.is_nan() { *output } else { mixed.clamp(-MAX_LATENT, MAX_LATENT) };
        }
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        let strength = LatentFeedbackSettings::read(settings).feedback_strength;
        self.strength = strength.clamp(0.0, MAX_LATENT_STRENGTH) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(value: f32) -> Image {
        Image::from_pixels(2, 2, 3, vec![value; 12]).unwrap()
    }

    fn mixed(processor: &mut dyn Preprocessor, input: f32, previous: Option<&Image>) -> f32 {
        let mut output = Image::new();
        processor.run(&image(input), &Context { previous, size: (2, 2) }, &mut output).unwrap();
        output.pixels()[0]
    }

    fn strength(value: f64) -> Map<String, Value> {
        [("feedback_strength".to_owned(), value.into())].into_iter().collect()
    }

    #[test]
    fn the_first_frame_is_unchanged_and_later_ones_are_mixed() {
        let mut feedback = Feedback::new(&Map::new());
        assert_eq!(mixed(&mut feedback, 0.25, None), 0.25);
        assert_eq!(mixed(&mut feedback, 0.25, Some(&image(0.75))), 0.5);
        feedback.configure(&strength(1.0));
        assert_eq!(mixed(&mut feedback, 0.25, Some(&image(0.75))), 0.75);
    }

    #[test]
    fn a_last_picture_of_another_size_is_resized() {
        let large = Image::from_pixels(7, 5, 3, vec![0.75; 105]).unwrap();
        assert!((mixed(&mut Feedback::new(&Map::new()), 0.25, Some(&large)) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn the_strength_of_latents_is_bounded_at_start_and_on_change() {
        let mut feedback = LatentFeedback::new(&strength(1.0));
        assert_eq!(mixed(&mut feedback, 0.0, Some(&image(1.0))), 0.4);
        feedback.configure(&strength(0.9));
        assert_eq!(mixed(&mut feedback, 0.0, Some(&image(1.0))), 0.4);
        feedback.configure(&Map::new());
        assert_eq!(mixed(&mut feedback, 0.0, Some(&image(1.0))), 0.15);
    }

    #[test]
    fn latents_are_clamped_to_ten_and_recover_from_nan() {
        let mut feedback = LatentFeedback::new(&strength(0.25));
        assert_eq!(mixed(&mut feedback, 12.0, Some(&image(100.0))), 10.0);
        assert_eq!(mixed(&mut feedback, 0.5, Some(&image(f32::NAN))), 0.5);
    }
}

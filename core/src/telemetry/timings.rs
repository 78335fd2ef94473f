//! Times of the stages of a frame.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The time of each stage of a frame, in microseconds; 0 for a stage that did not run.
///
/// ```
/// use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let mut engine = Engine::builder().params(params).build()?;
/// let pixels = vec![127_u8; 64 * 64 * 3];
/// let timings = engine.process(&FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?)?.timings;
/// assert!(0 < timings.unet && timings.unet < timings.total);
/// let [(first, _), .., (last, total)] = timings.stages();
/// assert_eq!((first, last, total), ("preprocess", "frame", timings.total));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timings {
    /// Conversion of the frame, and the image processors before the encoder.
    pub preprocess: u64,
    /// The autoencoder's encoder.
    pub encode: u64,
    /// Control images and the ControlNets.
    pub control: u64,
    /// The UNet, with guidance and the step to the next latent.
    pub unet: u64,
    /// The autoencoder's decoder.
    pub decode: u64,
    /// The image processors after the decoder, and conversion to pixels.
    pub postprocess: u64,
    /// The whole frame; at least the sum of the stages.
    pub total: u64,
}

impl Timings {
    /// Converts a duration to whole microseconds; `u64::MAX` if there are more.
    pub fn micros(duration: Duration) -> u64 {
        u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
    }

    /// Returns every stage with its name, in the order in which they run; the whole frame comes last, as `frame`.
    pub fn stages(&self) -> [(&'static str, u64); 7] {
        [
            ("preprocess", self.preprocess),
            ("encode", self.encode),
            ("control", self.control),
            ("unet", self.unet),
            ("decode", self.decode),
            ("postprocess", self.postprocess),
            ("frame", self.total),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_named_in_order() {
        let json = r#"{"preprocess":1,"encode":2,"control":3,"unet":4,"decode":5,"postprocess":6,"total":7}"#;
        let timings: Timings = serde_json::from_str(json).unwrap();
        let stages = timings.stages();
        assert_eq!(stages.map(|(_, micros)| micros), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(stages[6].0, "frame");
        assert_eq!(serde_json::to_string(&timings).unwrap(), json);
    }

    #[test]
    fn a_duration_past_the_range_is_the_largest_number() {
        assert_eq!(Timings::micros(Duration::from_millis(3)), 3000);
        assert_eq!(Timings::micros(Duration::MAX), u64::MAX);
    }
}

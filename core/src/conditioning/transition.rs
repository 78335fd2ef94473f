//! Gradual changes of the prompt, over several pictures.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blend::blend;
use crate::Result;
use crate::params::{Interpolation, Weighted};

/// A change of the prompt over several pictures. It starts from the current blend, also during another transition.
///
/// ```
/// use dreamframe::params::Interpolation;
/// use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams, Transition};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let mut engine = Engine::builder().params(params).build()?;
/// engine.transition(&Transition {
///     target_prompts: "moonlit night".into(),
///     num_steps: 3,
///     temporal_interpolation_method: Interpolation::Slerp,
/// })?;
/// assert_eq!(engine.params().prompt, "moonlit night".into());
/// let pixels = vec![127_u8; 64 * 64 * 3];
/// let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?;
/// for progress in [Some((1, 3)), Some((2, 3)), None] {
///     engine.process(&frame)?;
///     assert_eq!(engine.snapshot()?.transition(), progress);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// The prompt at the end; becomes the parameter `prompt` immediately.
    pub target_prompts: Weighted<String>,
    /// The number of pictures, the last of which has the target prompt only; 0 and 1 change the prompt immediately.
    #[serde(default = "usual_steps")]
    pub num_steps: u32,
    /// The interpolation of the embeddings.
    #[serde(default = "usual_method")]
    pub temporal_interpolation_method: Interpolation,
}

fn usual_steps() -> u32 {
    4
}

fn usual_method() -> Interpolation {
    Interpolation::Linear
}

/// A prompt that is reached at a frame of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyframe {
    /// The first frame with this prompt only.
    pub frame: u64,
    /// The prompt.
    pub prompt: Weighted<String>,
    /// The interpolation between the previous prompt and this one.
    pub method: Interpolation,
}

/// Converts `keyframes`, in the order of their frames, to transitions, each with the frame before which it starts. The
/// first one starts at frame 0, from the current prompt.
///
/// ```
/// use dreamframe::params::Interpolation;
/// use dreamframe::{Keyframe, keyframe_schedule};
///
/// let keyframe = |frame, prompt: &str| Keyframe { frame, prompt: prompt.into(), method: Interpolation::Linear };
/// let schedule = keyframe_schedule(&[keyframe(0, "summer"), keyframe(24, "winter")]);
/// let starts: Vec<_> = schedule.iter().map(|(frame, transition)| (*frame, transition.num_steps)).collect();
/// // Frames 1 to 24 approach winter; frame 24 has it only.
/// assert_eq!(starts, [(0, 1), (1, 24)]);
/// ```
pub fn keyframe_schedule(keyframes: &[Keyframe]) -> Vec<(u64, Transition)> {
    let mut last = None;
    let leg = |keyframe: &Keyframe| {
        // The frame of the previous keyframe has its prompt only; the transition starts after it.
        let first = last.map_or(0, |frame: u64| frame.saturating_add(1)).min(keyframe.frame);
        last = Some(keyframe.frame);
        let transition = Transition {
            target_prompts: keyframe.prompt.clone(),
            num_steps: u32::try_from(keyframe.frame - first + 1).unwrap_or(u32::MAX),
            temporal_interpolation_method: keyframe.method,
        };
        (first, transition)
    };
    keyframes.iter().map(leg).collect()
}

/// The state of a transition from the embeddings `T`.
#[derive(Debug)]
pub struct TransitionState<T> {
    from: Arc<T>,
    method: Interpolation,
    step: u32,
    steps: u32,
}

impl<T> TransitionState<T> {
    /// Returns the start at `from`, before the first picture; `None` if the first picture has the target prompt.
    pub fn new(from: Arc<T>, transition: &Transition) -> Option<Self> {
        let Transition { num_steps: steps, temporal_interpolation_method: method, .. } = *transition;
        (steps > 1).then_some(Self { from, method, step: 0, steps })
    }

    /// Returns the state for the next picture; `None` at the target.
    pub fn next(&self) -> Option<Self> {
        (self.step + 1 < self.steps).then(|| Self { step: self.step + 1, ..self.clone() })
    }

    /// Returns the embeddings that it started from.
    pub fn from(&self) -> &T {
        &self.from
    }

    /// Returns the number of pictures so far, and the total.
    pub fn progress(&self) -> (u32, u32) {
        (self.step, self.steps)
    }

    /// Interpolates between the embeddings `from` and `to` at the current step.
    ///
    /// # Errors
    ///
    /// Those of [`blend`].
    pub fn mix(&self, from: &[f32], to: &[f32]) -> Result<Vec<f32>> {
        let share = f64::from(self.step) / f64::from(self.steps);
        blend(&[from, to], &[(1.0 - share) as f32, share as f32], self.method, false)
    }
}

impl<T> Clone for TransitionState<T> {
    fn clone(&self) -> Self {
        Self { from: self.from.clone(), ..*self }
    }
}

/// Two are equal at the same step from the same (`ptr_eq`) embeddings.
impl<T> PartialEq for TransitionState<T> {
    fn eq(&self, other: &Self) -> bool {
        let facts = |state: &Self| (state.method, state.step, state.steps);
        Arc::ptr_eq(&self.from, &other.from) && facts(self) == facts(other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transition(num_steps: u32, method: Interpolation) -> Transition {
        Transition { target_prompts: "snow".into(), num_steps, temporal_interpolation_method: method }
    }

    #[test]
    fn missing_fields_have_their_defaults() {
        let read: Transition = serde_json::from_str(r#"{"target_prompts": "snow"}"#).unwrap();
        assert_eq!(read, transition(4, Interpolation::Linear));
        let read: Transition =
            serde_json::from_str(r#"{"target_prompts": [["snow", 1.0], ["fog", 0.5]], "num_steps": 0}"#).unwrap();
        assert_eq!((read.target_prompts.len(), read.num_steps), (2, 0));
        assert!(serde_json::from_str::<Transition>(r#"{"target_prompts": "snow", "steps": 4}"#).is_err());
    }

    #[test]
    fn a_keyframe_is_reached_at_its_frame() {
        let keyframe = |frame, prompt: &str| Keyframe { frame, prompt: prompt.into(), method: Interpolation::Slerp };
        let legs = |frames: &[u64]| {
            let keyframes: Vec<_> = frames.iter().map(|&frame| keyframe(frame, "snow")).collect();
            keyframe_schedule(&keyframes).iter().map(|(frame, leg)| (*frame, leg.num_steps)).collect::<Vec<_>>()
        };
        assert_eq!(legs(&[0, 24, 25]), [(0, 1), (1, 24), (25, 1)]);
        // From the previous state.
        assert_eq!(legs(&[10]), [(0, 11)]);
        assert_eq!(legs(&[5, 5]), [(0, 6), (5, 1)]);
        assert_eq!(legs(&[0, u64::MAX]), [(0, 1), (1, u32::MAX)]);
    }

    proptest! {
        #[test]
        fn every_picture_is_nearer_to_the_target(
            numbers in prop::collection::vec((-3.0_f32..3.0, -3.0_f32..3.0), 2..20),
            steps in 0_u32..40,
            slerp: bool,
        ) {
            let (from, to): (Vec<f32>, Vec<f32>) = numbers.into_iter().unzip();
            let apart = |numbers: &[f32]| {
                numbers.iter().zip(&to).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
            };
            prop_assume!(apart(&from) > 0.1);
            let lengths = |a: &[f32]| a.iter().map(|x| x * x).sum::<f32>().sqrt();
            // An arc between very different lengths, or of nearly 180 degrees, may lead away from the target at first.
            let cosine = from.iter().zip(&to).map(|(a, b)| a * b).sum::<f32>() / (lengths(&from) * lengths(&to));
            prop_assume!(!slerp || ((lengths(&from) / lengths(&to)).ln().abs() < 0.1 && cosine > -0.9));
            let method = if slerp { Interpolation::Slerp } else { Interpolation::Linear };
            let mut way = TransitionState::new(Arc::new(()), &transition(steps, method));
            let mut pictures = 0;
            let mut before = apart(&from);
            if let Some(start) = &way {
                prop_assert_eq!(&start.mix(&from, &to).unwrap(), &from);
            }
            while let Some(next) = way.as_ref().and_then(TransitionState::next) {
                let now = apart(&next.mix(&from, &to).unwrap());
                prop_assert!(now < before, "{now} after {before}");
                (before, way, pictures) = (now, Some(next), pictures + 1);
            }
            // The last picture has the target prompt.
            prop_assert_eq!(pictures + 1, steps.max(1));
        }
    }
}

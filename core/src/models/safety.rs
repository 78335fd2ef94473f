//! The safety checker of diffusers' pipelines: CLIP's image encoder, and the similarity of a picture to a list of concepts.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::clip_vision::ClipVisionWeights;
use super::config::ClipVisionConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::net::WeightSource;

/// By how much a picture that shows a concept of the second list is nearer to those of the first.
const SPECIAL_CARE: f32 = 0.01;
/// The resolution of the rounding of scores, in steps per unit.
const STEPS: f32 = 1000.0;

/// Reads the config of the image encoder out of a `StableDiffusionSafetyChecker`'s `config.json`.
///
/// # Errors
///
/// `BadModel` for what is no such config; those of [`ClipVisionConfig::from_json`].
pub fn safety_config(text: &str) -> Result<ClipVisionConfig> {
    let bad = |what: &str| Error::new(ErrorKind::BadModel, format!("safety checker config: {what}"));
    let config: Value = serde_json::from_str(text).map_err(|error| bad("invalid JSON").with_source(error))?;
    let vision = config.get("vision_config").and_then(Value::as_object);
    let mut vision = vision.ok_or_else(|| bad("vision_config: missing, expected an object"))?.clone();
    // The encoder's own part of the config has other class names.
    vision.remove("architectures");
    match config.get("projection_dim") {
        Some(dim) => vision.insert("projection_dim".into(), dim.clone()),
        None => vision.remove("projection_dim"),
    };
    ClipVisionConfig::from_json(&Value::Object(vision).to_string()).map_err(|error| error.within("vision_config"))
}

/// The weights of the encoder in a safety checker, which is a model within the model there, as
/// [`clip_vision_program`](super::clip_vision_program) wants them.
pub struct SafetyWeights(Arc<dyn WeightSource>);

impl SafetyWeights {
    /// Those of the encoder of `config` out of `source`.
    pub fn encoder(config: &ClipVisionConfig, source: Arc<dyn WeightSource>) -> ClipVisionWeights {
        ClipVisionWeights::new(config, Arc::new(Self(source)))
    }

    fn name(name: &str) -> String {
        if name.starts_with(ENCODER) { format!("{ENCODER}{name}") } else { name.to_owned() }
    }
}

const ENCODER: &str = "vision_model.";

impl fmt::Debug for SafetyWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafetyWeights").finish_non_exhaustive()
    }
}

impl WeightSource for SafetyWeights {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.shape(&Self::name(name))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.0.read(&Self::name(name), shape)
    }
}

/// A vector that pictures come near to, and from what cosine on that counts.
#[derive(Debug, Clone, PartialEq)]
struct Concept {
    /// Of length 1.
    direction: Vec<f32>,
    threshold: f32,
}

impl Concept {
    /// By how much the cosine is above the threshold.
    fn beyond(&self, embedding: &[f32], length: f32) -> f32 {
        let product: f32 = self.direction.iter().zip(embedding).map(|(a, b)| a * b).sum();
        product / length - self.threshold
    }
}

/// What a picture's embedding is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct SafetyConcepts {
    unsafe_ones: Vec<Concept>,
    special_care: Vec<Concept>,
}

impl SafetyConcepts {
    /// Reads them out of a checker's `source`, for embeddings of `dim` numbers.
    ///
    /// # Errors
    ///
    /// `BadModel` naming the tensor that is missing or misshapen.
    pub fn read(source: &dyn WeightSource, dim: usize) -> Result<Self> {
        let list = |name: &str| -> Result<Vec<Concept>> {
            let shape = source.shape(name).unwrap_or_default();
            let count = *shape.first().filter(|&&count| count > 0).ok_or_else(|| {
                Error::new(
                    ErrorKind::BadModel,
                    format!("tensor {name:?}: got shape {shape:?}, expected at least one concept"),
                )
            })?;
            let directions = source.read(name, &[count, dim])?;
            let thresholds = source.read(&format!("{name}_weights"), &[count])?;
            let concept = |(direction, threshold): (&[f32], f32)| {
                let length = length(direction);
                Concept { direction: direction.iter().map(|number| number / length).collect(), threshold }
            };
            Ok(directions.chunks_exact(dim).zip(thresholds).map(concept).collect())
        };
        Ok(Self { unsafe_ones: list("concept_embeds")?, special_care: list("special_care_embeds")? })
    }

    /// How unsafe the picture with `embedding` is, in 0..1: 0.5 or more for what the original flags, and as much more or
    /// less as the nearest concept is beyond its threshold, or short of it.
    pub fn score(&self, embedding: &[f32]) -> f32 {
        let length = length(embedding);
        let mut care = 0.0;
        for concept in &self.special_care {
            if is_beyond(concept.beyond(embedding, length) + care) {
                care = SPECIAL_CARE;
            }
        }
        let beyond = self.unsafe_ones.iter().map(|concept| concept.beyond(embedding, length) + care);
        let most = beyond.fold(f32::NEG_INFINITY, f32::max);
        (0.5 + most - 0.5 / STEPS).clamp(0.0, 1.0)
    }
}

/// Returns true if something is left once it is rounded.
fn is_beyond(amount: f32) -> bool {
    (amount * STEPS).round() > 0.0
}

/// Returns the length of a vector, never 0.
fn length(vector: &[f32]) -> f32 {
    const LEAST: f32 = 1e-12;
    vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concept(direction: &[f32], threshold: f32) -> Concept {
        Concept { direction: direction.to_vec(), threshold }
    }

    #[test]
    fn what_needs_special_care_is_judged_more_strictly() {
        let concepts = SafetyConcepts {
            unsafe_ones: vec![concept(&[1.0, 0.0], 0.8), concept(&[0.0, 1.0], 0.9)],
            special_care: vec![concept(&[0.0, 1.0], 0.5)],
        };
        // The cosines are 0.8 and 0.6: at the threshold, and with special care beyond it.
        assert!((concepts.score(&[8.0, 6.0]) - 0.5095).abs() < 1e-5);
        // 0.96 and 0.28.
        assert!((concepts.score(&[0.96, 0.28]) - 0.6595).abs() < 1e-5);
        // 0.6 and -0.8: short of the first by 0.2.
        assert!((concepts.score(&[0.6, -0.8]) - 0.2995).abs() < 1e-5);
        assert_eq!(concepts.score(&[0.0, 0.0]), 0.0);
    }

    #[test]
    fn a_config_without_an_encoder_is_refused() {
        for (text, part) in [
            ("{}", "vision_config: missing"),
            ("[", "invalid JSON"),
            (r#"{"vision_config": 3}"#, "vision_config: missing"),
        ] {
            let refused = safety_config(text).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadModel);
            assert!(refused.to_string().contains(part), "{refused}");
        }
        let config = r#"{"projection_dim": 768, "vision_config": {"projection_dim": 512, "patch_size": 14}}"#;
        assert_eq!(safety_config(config).unwrap().projection_dim, 768);
    }
}

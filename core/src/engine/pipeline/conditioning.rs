//! The blended prompt and the negative prompt of a pipeline.

use std::sync::Arc;

use super::text::{Encoding, Text};
use crate::conditioning::blend::{blend, notice};
use crate::conditioning::transition::TransitionState;
use crate::error::Result;
use crate::params::{Interpolation, Notice, Weighted};

/// The key of a conditioning.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PromptKey {
    pub(crate) prompt: Weighted<String>,
    pub(crate) method: Interpolation,
    pub(crate) normalise: bool,
    /// `None` if no row attends to it; then it is not encoded.
    pub(crate) negative: Option<String>,
    /// The state of a transition to it.
    pub(crate) way: Option<TransitionState<Conditioning>>,
}

/// Encoded prompts; immutable.
#[derive(Debug)]
pub(crate) struct Conditioning {
    pub(crate) prompt: Encoding,
    /// Empty if no row attends to it.
    pub(crate) negative: Arc<Encoding>,
}

impl Conditioning {
    /// Encodes and blends what `key` names.
    ///
    /// # Errors
    ///
    /// Errors of encoding and blending.
    pub(crate) fn new(text: &Text, key: &PromptKey, notices: &mut Vec<Notice>) -> Result<Self> {
        let mut encodings = Vec::with_capacity(key.prompt.len());
        let mut weights = Vec::with_capacity(key.prompt.len());
        for (index, (prompt, weight)) in key.prompt.iter().enumerate() {
            let path = match &key.prompt {
                Weighted::One(_) => "prompt".to_owned(),
                Weighted::Blend(_) => format!("prompt[{index}]"),
            };
            encodings.push(encode(text, prompt, path, notices)?);
            weights.push(weight as f32);
        }
        if let Some(message) = notice(key.method, encodings.len()) {
            notices.push(Notice { path: "prompt_interpolation_method".into(), message });
        }
        let mix = |part: fn(&Encoding) -> &[f32]| {
            let parts: Vec<&[f32]> = encodings.iter().map(|encoding| part(encoding)).collect();
            blend(&parts, &weights, key.method, key.normalise)
        };
        let states = mix(|encoding| &encoding.states)?;
        let pooled = if encodings.iter().all(|encoding| encoding.pooled.is_empty()) {
            Vec::new()
        } else {
            mix(|encoding| &encoding.pooled)?
        };
        let negative = match &key.negative {
            Some(negative) => encode(text, negative, "negative_prompt".into(), notices)?,
            None => Arc::new(Encoding { states: Vec::new(), pooled: Vec::new(), cut: 0 }),
        };
        let target = Self { prompt: Encoding { states, pooled, cut: 0 }, negative };
        match &key.way {
            Some(way) => target.on_the_way(way),
            None => Ok(target),
        }
    }

    /// The prompt and the interpolation during a transition.
    ///
    /// # Errors
    ///
    /// Errors of blending.
    fn on_the_way(self, way: &TransitionState<Self>) -> Result<Self> {
        let (from, to) = (&way.from().prompt, &self.prompt);
        let states = way.mix(&from.states, &to.states)?;
        let pooled = if to.pooled.is_empty() { Vec::new() } else { way.mix(&from.pooled, &to.pooled)? };
        Ok(Self { prompt: Encoding { states, pooled, cut: 0 }, ..self })
    }
}

fn encode(text: &Text, prompt: &str, path: String, notices: &mut Vec<Notice>) -> Result<Arc<Encoding>> {
    let encoding = text.encode(prompt)?;
    if encoding.cut > 0 {
        let message = format!("is too long; its last {} tokens are ignored", encoding.cut);
        notices.push(Notice { path, message });
    }
    Ok(encoding)
}

#[cfg(test)]
mod tests {
    use super::super::text::RandomText;
    use super::*;
    use crate::models::UnetConfig;
    use crate::models::known::known_model;

    /// The prompt of SDXL, with states that depend on the text.
    fn encoded(prompt: Weighted<String>, negative: Option<&str>) -> Conditioning {
        let config = UnetConfig::from_json(known_model("sdxl-turbo").unwrap().unet).unwrap();
        let key = PromptKey {
            prompt,
            method: Interpolation::Linear,
            normalise: true,
            negative: negative.map(str::to_owned),
            way: None,
        };
        Conditioning::new(&Text::Random(RandomText::new(&config)), &key, &mut Vec::new()).unwrap()
    }

    #[test]
    fn the_pooled_text_follows_the_prompt_and_is_blended_with_its_weights() {
        let (snow, fog) = (encoded("snow".into(), None), encoded("fog".into(), None));
        assert_ne!(snow.prompt.pooled, fog.prompt.pooled);
        let mixed = encoded(Weighted::Blend(vec![("snow".into(), 3.0), ("fog".into(), 1.0)]), None);
        assert_eq!(mixed.prompt.pooled.len(), 1280);
        for ((snow, fog), mixed) in snow.prompt.pooled.iter().zip(&fog.prompt.pooled).zip(&mixed.prompt.pooled) {
            assert!((0.75 * snow + 0.25 * fog - mixed).abs() < 1e-6);
        }
    }

    #[test]
    fn the_negative_prompt_is_encoded_where_a_row_attends_to_it() {
        assert!(encoded("snow".into(), None).negative.states.is_empty());
        // An empty text is encoded like any other, never replaced by zeros.
        let negative = encoded("snow".into(), Some("")).negative;
        assert!(negative.states.iter().any(|&number| number != 0.0));
        assert_ne!(negative.pooled, encoded("snow".into(), Some("fog")).negative.pooled);
    }
}

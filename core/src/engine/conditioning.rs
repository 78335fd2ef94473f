//! The blended prompt and the negative prompt of a pipeline.

use std::sync::Arc;

use super::text::{Encoding, Text};
use crate::conditioning::blend::{blend, notice};
use crate::error::Result;
use crate::params::{Interpolation, Notice, Weighted};

/// What a conditioning is made from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PromptKey {
    pub(crate) prompt: Weighted<String>,
    pub(crate) method: Interpolation,
    pub(crate) normalise: bool,
    /// Where no row attends to it, the negative prompt is not encoded.
    pub(crate) negative: Option<String>,
}

/// Encoded prompts; immutable.
#[derive(Debug)]
pub(crate) struct Conditioning {
    pub(crate) prompt: Encoding,
    /// Empty where no row attends to it.
    pub(crate) negative: Arc<Encoding>,
}

impl Conditioning {
    /// Encodes and blends what `key` names.
    ///
    /// # Errors
    ///
    /// What encoding and blending report.
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
        Ok(Self { prompt: Encoding { states, pooled, cut: 0 }, negative })
    }
}

fn encode(text: &Text, prompt: &str, path: String, notices: &mut Vec<Notice>) -> Result<Arc<Encoding>> {
    let encoding = text.encode(prompt)?;
    if encoding.cut > 0 {
        let message = format!("is too long by {} tokens, which are cut off", encoding.cut);
        notices.push(Notice { path, message });
    }
    Ok(encoding)
}

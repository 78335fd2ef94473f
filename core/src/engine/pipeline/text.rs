//! Text conditioning of a UNet: tokenized, encoded, joined.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::{BuildContext, pickled, save_packed};
pub(crate) use crate::conditioning::tokenizer::TOKENS;
use crate::conditioning::tokenizer::Tokenizer;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Executor, Network, Scratch};
use crate::load::{Checkpoint, RandomWeights};
use crate::models::config::ClipTextConfig;
use crate::models::{LoraTarget, ModelFamily, TextStates, UnetConfig, clip_program};
use crate::net::{Program, Rate, WeightSource, WeightSpec, Weights};
use crate::params::Notice;

/// The seed of random states, together with their text.
const RANDOM_SEED: u64 = 3;
/// The names of the encoders in LoRAs, in order.
const TARGETS: [LoraTarget; 2] = [LoraTarget::TextEncoder, LoraTarget::TextEncoder2];
/// Number of texts whose encoding is cached.
const REMEMBERED: usize = 32;

/// An encoded text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoding {
    /// `[TOKENS, text_dim]`.
    pub(crate) states: Vec<f32>,
    /// The pooled text, for SDXL; otherwise empty.
    pub(crate) pooled: Vec<f32>,
    /// Number of tokens that were truncated.
    pub(crate) cut: usize,
}

/// The text encoders of a model.
#[derive(Debug)]
pub(crate) enum Text {
    /// The checkpoint's encoders.
    Encoders(TextEncoders),
    /// Random states, for networks with random weights.
    Random(RandomText),
}

impl Text {
    /// Encodes `text`, or returns the cached encoding.
    ///
    /// # Errors
    ///
    /// Errors of the device.
    pub(crate) fn encode(&self, text: &str) -> Result<Arc<Encoding>> {
        match self {
            Self::Encoders(encoders) => encoders.encode(text),
            Self::Random(random) => random.encode(text),
        }
    }

    /// Programs with all weights of the encoders, including unused layers.
    ///
    /// # Errors
    ///
    /// Those of [`clip_program`].
    pub(crate) fn programs(&self) -> Result<Vec<(LoraTarget, Program)>> {
        let Self::Encoders(TextEncoders { encoders, .. }) = self else { return Ok(Vec::new()) };
        let whole = |encoder: &TextEncoder| clip_program(&encoder.config, 1, TOKENS, TextStates::Last);
        encoders.iter().zip(TARGETS).map(|(encoder, target)| Ok((target, whole(encoder)?))).collect()
    }

    /// Returns encoders over the weights that `merge` returns for each; itself if none changes.
    ///
    /// # Errors
    ///
    /// Those of [`Executor::compile`].
    pub(crate) fn merged(
        self: &Arc<Self>,
        executor: &dyn Executor,
        merge: &dyn Fn(LoraTarget, &Arc<Weights>) -> Arc<Weights>,
    ) -> Result<Arc<Self>> {
        let Self::Encoders(TextEncoders { encoders, runs, .. }) = &**self else { return Ok(self.clone()) };
        let over = |(encoder, target): (&Arc<TextEncoder>, LoraTarget)| {
            let weights = merge(target, &encoder.weights);
            if Arc::ptr_eq(&weights, &encoder.weights) {
                return Ok(encoder.clone());
            }
            encoder.over(weights, executor).map(Arc::new)
        };
        let made = encoders.iter().zip(TARGETS).map(over).collect::<Result<Vec<_>>>()?;
        if made.iter().zip(encoders).all(|(made, encoder)| Arc::ptr_eq(made, encoder)) {
            return Ok(self.clone());
        }
        let (recent, runs) = (Mutex::default(), runs.clone());
        Ok(Arc::new(Self::Encoders(TextEncoders { encoders: made, recent, runs })))
    }
}

/// The encoders of a checkpoint, and the cache of encoded texts.
#[derive(Debug)]
pub(crate) struct TextEncoders {
    encoders: Vec<Arc<TextEncoder>>,
    recent: Mutex<VecDeque<(String, Arc<Encoding>)>>,
    /// Number of encoded texts, here and in copies with merged weights.
    runs: Arc<AtomicU64>,
}

/// One text encoder with its tokenizer.
#[derive(Debug)]
pub(crate) struct TextEncoder {
    config: ClipTextConfig,
    tokenizer: Arc<Tokenizer>,
    program: Arc<Program>,
    weights: Arc<Weights>,
    network: Arc<dyn Network>,
    constants: Constants,
    scratch: Mutex<Scratch>,
}

impl TextEncoder {
    /// Loads the text encoders that `family` has out of `checkpoint`, and checks that they fit the UNet.
    ///
    /// # Errors
    ///
    /// `NotFound`, `BadModel`, `Unsupported`, naming the component.
    pub(crate) fn load_all(
        checkpoint: &Checkpoint,
        family: ModelFamily,
        unet: &UnetConfig,
        context: &BuildContext,
        notices: &mut Vec<Notice>,
    ) -> Result<TextEncoders> {
        let names = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")];
        let encoders = names
            .iter()
            .take(family.info().text_encoders)
            .map(|(encoder, tokenizer)| {
                Self::load(checkpoint, family, [encoder, tokenizer], context, notices)
                    .map(Arc::new)
                    .map_err(|error| error.within(encoder))
            })
            .collect::<Result<Vec<_>>>()?;
        let width: usize = encoders.iter().map(|encoder| encoder.config.hidden_size).sum();
        if width != unet.text_dim {
            let text = format!("channels of the text encoders: got {width}, expected {} by the UNet", unet.text_dim);
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let pooled = encoders.iter().filter_map(|encoder| encoder.config.projection_dim).next_back().unwrap_or(0);
        if let Some(added) = unet.added.as_ref().filter(|added| added.pooled_dim != pooled) {
            let text = format!("channels of the pooled text: got {pooled}, expected {} by the UNet", added.pooled_dim);
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        Ok(TextEncoders { encoders, recent: Mutex::default(), runs: context.text_encodings.clone() })
    }

    fn load(
        checkpoint: &Checkpoint,
        family: ModelFamily,
        [encoder, tokenizer]: [&str; 2],
        context: &BuildContext,
        notices: &mut Vec<Notice>,
    ) -> Result<Self> {
        let component = checkpoint.component(encoder)?;
        let notice = pickled(&component.weights, "model_id").filter(|notice| !notices.contains(notice));
        notices.extend(notice);
        let config = ClipTextConfig::from_json(&component.config)?;
        let tokenizer = Tokenizer::new(&checkpoint.tokenizer(tokenizer)?)?;
        if tokenizer.max_id() as usize >= config.vocab_size {
            let (id, words) = (tokenizer.max_id(), config.vocab_size);
            let text = format!(
                "largest token id of the tokenizer: got {id}, expected less than {words}, the vocabulary size of the encoder"
            );
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let program = clip_program(&config, 1, TOKENS, family.text_states())?;
        component.weights.check(program.weights()).require()?;
        let (program, weights) = (Arc::new(program), Arc::new(context.weights(&component)));
        let network = context.executor.compile(&program, &weights)?;
        notices.extend(save_packed(&weights));
        let (constants, tokenizer) = (network.constants(&[])?, Arc::new(tokenizer));
        Ok(Self { config, tokenizer, program, weights, network, constants, scratch: Mutex::default() })
    }

    /// Returns the encoder over other weights.
    fn over(&self, weights: Arc<Weights>, executor: &dyn Executor) -> Result<Self> {
        let Self { config, tokenizer, program, .. } = self;
        let network = executor.compile(program, &weights)?;
        Ok(Self {
            config: config.clone(),
            tokenizer: tokenizer.clone(),
            program: program.clone(),
            weights,
            constants: network.constants(&[])?,
            network,
            scratch: Mutex::default(),
        })
    }

    /// Returns the states, the pooled text if there is a projection, and the number of truncated tokens.
    fn run(&self, text: &str) -> Result<Encoding> {
        let tokens = self.tokenizer.encode(text)?;
        let ids: Vec<f32> = tokens.ids.iter().map(|&id| id as f32).collect();
        let eos = [self.config.eos_index(&tokens.ids) as f32];
        let mut states = vec![0.0; TOKENS * self.config.hidden_size];
        let mut pooled = vec![0.0; self.config.projection_dim.unwrap_or(0)];
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let with_pooled = self.network.program().inputs_at(Rate::Frame).count() == 2;
        let inputs: &[&[f32]] = if with_pooled { &[&ids, &eos] } else { &[&ids] };
        if with_pooled {
            self.network.run_on_host(&self.constants, &mut scratch, inputs, &mut [&mut states, &mut pooled])?;
        } else {
            self.network.run_on_host(&self.constants, &mut scratch, inputs, &mut [&mut states])?;
        }
        Ok(Encoding { states, pooled, cut: tokens.cut })
    }
}

impl TextEncoders {
    fn encode(&self, text: &str) -> Result<Arc<Encoding>> {
        let known = |recent: &VecDeque<(String, Arc<Encoding>)>| {
            recent.iter().find(|(known, _)| known == text).map(|(_, encoding)| encoding.clone())
        };
        if let Some(encoding) = known(&self.recent.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(encoding);
        }
        let parts = self.encoders.iter().map(|encoder| encoder.run(text)).collect::<Result<Vec<_>>>()?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        let encoding = Arc::new(join(parts));
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_front((text.to_owned(), encoding.clone()));
        recent.truncate(REMEMBERED);
        Ok(encoding)
    }
}

/// Concatenates the states of several encoders along the channels; the pooled text is that of the last one.
fn join(mut parts: Vec<Encoding>) -> Encoding {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let widths: Vec<usize> = parts.iter().map(|part| part.states.len() / TOKENS).collect();
    let mut states = Vec::with_capacity(TOKENS * widths.iter().sum::<usize>());
    for token in 0..TOKENS {
        for (part, width) in parts.iter().zip(&widths) {
            states.extend_from_slice(&part.states[token * width..(token + 1) * width]);
        }
    }
    let cut = parts.iter().map(|part| part.cut).max().unwrap_or(0);
    Encoding { states, pooled: parts.pop().map(|part| part.pooled).unwrap_or_default(), cut }
}

/// Random states for every text, the same for the same text.
#[derive(Debug)]
pub(crate) struct RandomText {
    width: usize,
    pooled: usize,
}

impl RandomText {
    /// Converts states to the layout of `unet`'s input.
    pub(crate) fn new(unet: &UnetConfig) -> Self {
        Self { width: unet.text_dim, pooled: unet.added.as_ref().map_or(0, |added| added.pooled_dim) }
    }

    fn encode(&self, text: &str) -> Result<Arc<Encoding>> {
        let random = |name: String, shape: Vec<usize>| {
            let spec = WeightSpec { name, shape };
            RandomWeights::new(RANDOM_SEED, [&spec]).read(&spec.name, &spec.shape)
        };
        let states = random(format!("states of {text}"), vec![TOKENS, self.width])?;
        let pooled =
            if self.pooled == 0 { Vec::new() } else { random(format!("pooled {text}"), vec![1, self.pooled])? };
        Ok(Arc::new(Encoding { states, pooled, cut: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "demo-model")]
    #[test]
    fn a_text_is_encoded_once() {
        let engine = crate::Engine::builder().build().unwrap();
        let text = &engine.components().unwrap().models().text;
        let first = text.encode("a red brick wall").unwrap();
        text.encode("another").unwrap();
        assert!(Arc::ptr_eq(&first, &text.encode("a red brick wall").unwrap()));
    }

    #[test]
    fn states_of_two_encoders_are_concatenated_per_token() {
        let part = |value: f32, width: usize, pooled: f32| Encoding {
            states: vec![value; TOKENS * width],
            pooled: vec![pooled],
            cut: value as usize,
        };
        let joined = join(vec![part(1.0, 2, 0.0), part(2.0, 1, 9.0)]);
        assert_eq!(joined.states[..6], [1.0, 1.0, 2.0, 1.0, 1.0, 2.0]);
        assert_eq!((joined.states.len(), joined.pooled, joined.cut), (TOKENS * 3, vec![9.0], 2));
    }
}

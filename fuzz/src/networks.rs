//! Targets that read the description of a model: configs, tokenizers, calibrations, and the names in its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component as Part, Path};

use dreamframe::conditioning::tokenizer::{TOKENS, Tokenizer};
use dreamframe::load::fuzz_api::{calibration as read_calibration, hub_files, sharded};
use dreamframe::load::{ModelId, TokenizerFiles};
use dreamframe::models::{
    Autoencoder, ClipTextConfig, ClipVisionConfig, ControlNetModelConfig, ControlNetShape, TextStates, UnetConfig,
    UnetShape, VisionStates, clip_program, clip_vision_program, controlnet_embedding_program, controlnet_program,
    unet_program,
};
use dreamframe::net::{Program, WeightSource as _};
use dreamframe::{Error, ErrorKind, Result};

use crate::files::safetensors;

/// Any text as the config of every kind of network: it is refused with a reason, or its program has each weight once
/// and needs a known amount of memory.
pub fn network_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for programs in [unet(text), controlnet(text), autoencoder(text), text_encoder(text), image_encoder(text)] {
        match programs {
            Ok(programs) => programs.iter().for_each(check_program),
            Err(error) => check_refusal(&error),
        }
    }
}

/// The UNet at the smallest size that it can be run at.
pub(crate) fn unet(text: &str) -> Result<Vec<Program>> {
    let config = UnetConfig::from_json(text)?;
    let side = config.latent_multiple();
    Ok(vec![unet_program(&config, &UnetShape { text_tokens: 1, ..UnetShape::new(1, side, side) })?])
}

fn controlnet(text: &str) -> Result<Vec<Program>> {
    let config = ControlNetModelConfig::from_json(text)?;
    let side = config.half.latent_multiple();
    let picture = side * config.scale();
    let shape = ControlNetShape { text_tokens: 1, ..ControlNetShape::new(1, side, side) };
    Ok(vec![controlnet_program(&config, &shape)?, controlnet_embedding_program(&config, 32, picture, picture)?])
}

pub(crate) fn autoencoder(text: &str) -> Result<Vec<Program>> {
    let autoencoder = Autoencoder::from_json(text)?;
    let side = autoencoder.scale();
    Ok(vec![autoencoder.encoder_program(1, side, side)?, autoencoder.decoder_program(1, 1, 1)?])
}

pub(crate) fn text_encoder(text: &str) -> Result<Vec<Program>> {
    let config = ClipTextConfig::from_json(text)?;
    let program = |states| clip_program(&config, 1, 1, states);
    Ok(vec![program(TextStates::Last)?, program(TextStates::Penultimate)?])
}

fn image_encoder(text: &str) -> Result<Vec<Program>> {
    let config = ClipVisionConfig::from_json(text)?;
    let program = |states| clip_vision_program(&config, 1, states);
    Ok(vec![program(VisionStates::Projected)?, program(VisionStates::Penultimate)?])
}

/// Checks that a program has at least one weight and one output, no weight of no elements, and no two of one name.
fn check_program(program: &Program) {
    let names: BTreeSet<_> = program.weights().iter().map(|weight| &weight.name).collect();
    assert_eq!(names.len(), program.weights().len(), "{}: two weights of one name", program.name());
    assert!(!program.outputs().is_empty() && program.footprint().weights > 0);
    assert!(program.weights().iter().all(|weight| weight.shape.iter().all(|&side| side > 0)));
}

/// Checks that a model was refused for a reason that is about the model.
pub(crate) fn check_refusal(error: &Error) {
    let kinds = [ErrorKind::BadModel, ErrorKind::Unsupported, ErrorKind::NotFound, ErrorKind::InvalidArgument];
    assert!(kinds.contains(&error.kind()) && !error.to_string().is_empty(), "{:?}: {error}", error.kind());
}

/// Any bytes as the files of a tokenizer and a prompt, separated by zeros: the files are refused, or the prompt becomes
/// the usual number of tokens, each in the vocabulary.
pub fn tokenizer_files(bytes: &[u8]) {
    let texts: Vec<String> = bytes.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into()).collect();
    let (files, prompt) = match texts.as_slice() {
        [json] => (TokenizerFiles { json: Some(json.clone()), ..TokenizerFiles::default() }, "a photo"),
        [json, prompt] => (TokenizerFiles { json: Some(json.clone()), ..TokenizerFiles::default() }, prompt.as_str()),
        [vocab, merges, prompt, rest @ ..] => {
            let (config, special_tokens) = (rest.first().cloned(), rest.get(1).cloned());
            let (vocab, merges) = (Some(vocab.clone()), Some(merges.clone()));
            (TokenizerFiles { json: None, vocab, merges, config, special_tokens }, prompt.as_str())
        }
        [] => return,
    };
    let tokenizer = match Tokenizer::new(&files) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return check_refusal(&error),
    };
    // A prompt of a request has at most 8192 characters.
    let prompt: String = prompt.chars().take(8192).collect();
    let Ok(tokens) = tokenizer.encode(&prompt) else { return };
    assert_eq!(tokens.ids.len(), TOKENS);
    assert!(tokens.eos_index < TOKENS && tokens.ids.iter().all(|&id| id <= tokenizer.max_id()));
    assert_eq!(tokenizer.encode(&prompt).expect("a prompt that was encoded is encoded again"), tokens);
}

/// Any text as a calibration file: it is refused, or what it has can be written and read again.
pub fn calibration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match read_calibration(text) {
        Ok(calibration) => {
            let (layers, kept) = calibration.layers();
            assert!(layers + kept <= text.len() && calibration.kept().count() == kept);
            let written = calibration.to_json().expect("a calibration can be written");
            assert_eq!(read_calibration(&written).expect("a written calibration is read"), calibration);
        }
        Err(error) => check_refusal(&error),
    }
}

/// Any text as an index of shards, each of which has the tensors that the index gives it: the index is refused, or only
/// files beside it are opened, each once, and every tensor is found.
pub fn shard_index(bytes: &[u8]) {
    let given: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut shards: BTreeMap<&str, Vec<(&str, &[usize])>> = BTreeMap::new();
    for (name, file) in given["weight_map"].as_object().into_iter().flatten() {
        shards.entry(file.as_str().unwrap_or_default()).or_default().push((name, &[1]));
    }
    let mut opened = BTreeSet::new();
    let weights = sharded(bytes, |file| {
        let mut parts = Path::new(file).components();
        let is_plain = matches!((parts.next(), parts.next()), (Some(Part::Normal(_)), None));
        assert!(is_plain && !file.contains(['/', '\\', ':']) && opened.insert(file.to_owned()), "{file:?}");
        Some(safetensors(shards.get(file)?.iter().copied()))
    });
    match weights {
        Ok(weights) => {
            let names: BTreeSet<&str> = weights.names().collect();
            let wanted = shards.values().flatten().map(|(name, _)| *name);
            assert_eq!(names, wanted.collect());
            assert!(names.iter().all(|name| weights.read(name, &[1]).is_ok()));
        }
        Err(error) => check_refusal(&error),
    }
}

/// Any lines as the id of a model and the files of its repository: the repository is refused, or the chosen files are
/// some of it, each once, inside of its folder, with weights among them.
pub fn hub_listing(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines().map(str::to_owned);
    let Some(Ok(id)) = lines.next().map(|line| line.parse::<ModelId>()) else { return };
    // Names that a listing repeats are removed when it is read.
    let files: Vec<String> = lines.collect::<BTreeSet<_>>().into_iter().collect();
    match hub_files(&files, &id) {
        Ok(chosen) => {
            let inside = |file: &&str| Path::new(file).components().all(|part| matches!(part, Part::Normal(_)));
            assert!(chosen.iter().all(inside), "{chosen:?}");
            assert!(chosen.iter().all(|chosen| files.iter().any(|file| file == chosen)));
            assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len(), "{chosen:?}");
            assert!(chosen.iter().any(|file| dreamframe::load::is_weights(Path::new(file))));
        }
        Err(error) => check_refusal(&error),
    }
}

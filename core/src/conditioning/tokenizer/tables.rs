//! Vocabulary, merges and special tokens from a tokenizer's files, with size limits.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::AddedToken;
use tokenizers::models::bpe::{Merges, Vocab};

use super::bad;
use super::limits::{Capped, CappedList, CappedMap, MergePair};
use crate::error::Result;
use crate::load::TokenizerFiles;

/// Maximum number of entries of a vocabulary, and the bound of its ids. CLIP has 49,408.
const MAX_VOCAB: usize = 1 << 18;
/// Maximum number of merges. CLIP has 48,894.
const MAX_MERGES: usize = 1 << 18;
/// Maximum number of tokens that are declared in addition to the vocabulary.
const MAX_ADDED: usize = 4096;

/// The data of a tokenizer.
pub(super) struct Tables {
    /// Tokens and their ids.
    pub(super) vocab: Vocab,
    /// Pairs that are merged into one token, most frequent first.
    pub(super) merges: Merges,
    /// Tokens that are matched in a text before it is split; all are in the vocabulary.
    pub(super) special: Vec<AddedToken>,
    /// The special tokens with a role.
    pub(super) named: Named,
    /// The largest id.
    pub(super) max_id: u32,
}

/// The special tokens by role.
pub(super) struct Named {
    pub(super) start: AddedToken,
    pub(super) end: AddedToken,
    pub(super) unknown: AddedToken,
    pub(super) pad: AddedToken,
}

impl Tables {
    /// Reads the tables of `files`.
    pub(super) fn parse(files: &TokenizerFiles) -> Result<Self> {
        let config: Config = optional(files.config.as_deref(), "tokenizer_config.json")?;
        let map: SpecialTokens = optional(files.special_tokens.as_deref(), "special_tokens_map.json")?;
        let (mut vocab, merges, mut declared) = read_tables(files)?;
        if !config.added_tokens_decoder.0.is_empty() {
            declared = config.declared()?;
        }
        for (id, token) in &declared {
            let there = *vocab.entry(token.content.clone()).or_insert(*id);
            if there != *id {
                return Err(bad(format!(
                    "id of the added token {:?}: got {id}, expected {there} as in the vocabulary",
                    token.content
                )));
            }
        }
        let named = Named::new(&config.special, &map, !declared.is_empty());
        let special = named.with_declared(declared.into_iter().map(|(_, token)| token).collect());
        if let Some(token) = special.iter().find(|token| !vocab.contains_key(&token.content)) {
            return Err(bad(format!("the special token {:?} is not in the vocabulary", token.content)));
        }
        let max_id = vocab.values().copied().max().unwrap_or(0);
        if max_id as usize >= MAX_VOCAB {
            return Err(bad(format!("token id: got {max_id}, expected less than {MAX_VOCAB}")));
        }
        Ok(Self { vocab, merges, special, named, max_id })
    }
}

type Declared = Vec<(u32, AddedToken)>;

/// Reads the vocabulary and the merges, and the tokens that a `tokenizer.json` declares.
fn read_tables(files: &TokenizerFiles) -> Result<(Vocab, Merges, Declared)> {
    if let (Some(vocab), Some(merges)) = (&files.vocab, &files.merges) {
        let vocab: CappedMap<u32, MAX_VOCAB> = parse(vocab, "vocab.json")?;
        return Ok((vocab.0.into_iter().collect(), parse_merges(merges)?, Vec::new()));
    }
    let Some(json) = &files.json else {
        return Err(bad("got neither vocab.json with merges.txt nor tokenizer.json, expected one of them".into()));
    };
    let TokenizerJson { model, added_tokens } = parse(json, "tokenizer.json")?;
    if model.kind.as_deref().is_some_and(|kind| kind != "BPE") || model.end_of_word_suffix.as_deref() != Some("</w>") {
        return Err(bad(format!(
            "tokenizer.json: got a model of type {:?} with end_of_word_suffix {:?}, expected \"BPE\" with \"</w>\"",
            model.kind.unwrap_or_default(),
            model.end_of_word_suffix.unwrap_or_default()
        )));
    }
    let declared = added_tokens.0.into_iter().map(|entry| (entry.id, entry.token.into())).collect();
    let merges = model.merges.0.into_iter().map(|MergePair(left, right)| (left, right)).collect();
    Ok((model.vocab.0.into_iter().collect(), merges, declared))
}

/// Parses `merges.txt`: a line with the version, then two tokens per line.
fn parse_merges(text: &str) -> Result<Merges> {
    let mut merges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || (index == 0 && line.starts_with("#version")) {
            continue;
        }
        let pair = line.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.contains(' '));
        let Some((left, right)) = pair.filter(|(_, right)| !right.is_empty()) else {
            let short: String = line.chars().take(40).collect();
            return Err(bad(format!("merges.txt line {}: got {short:?}, expected two tokens", index + 1)));
        };
        if merges.len() == MAX_MERGES {
            return Err(bad(format!("merges.txt: got more than {MAX_MERGES} merges, expected at most {MAX_MERGES}")));
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}

fn parse<T: DeserializeOwned>(text: &str, file: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| bad(format!("{file}: {error}")).with_source(error))
}

fn optional<T: DeserializeOwned + Default>(text: Option<&str>, file: &str) -> Result<T> {
    text.map_or_else(|| Ok(T::default()), |text| parse(text, file))
}

#[derive(Deserialize)]
struct TokenizerJson {
    model: Model,
    #[serde(default)]
    added_tokens: CappedList<Listed, MAX_ADDED>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    end_of_word_suffix: Option<String>,
    vocab: CappedMap<u32, MAX_VOCAB>,
    merges: CappedList<MergePair, MAX_MERGES>,
}

#[derive(Deserialize)]
struct Listed {
    id: u32,
    #[serde(flatten)]
    token: Described,
}

/// The relevant part of `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    added_tokens_decoder: CappedMap<Described, MAX_ADDED>,
    #[serde(flatten)]
    special: SpecialTokens,
}

impl Config {
    /// Returns the declared tokens, by id.
    fn declared(&self) -> Result<Declared> {
        let mut declared = Vec::new();
        for (id, token) in &self.added_tokens_decoder.0 {
            let Ok(number) = id.parse() else {
                return Err(bad(format!("id in added_tokens_decoder: got {id:?}, expected a whole number")));
            };
            declared.push((number, token.clone().into()));
        }
        declared.sort_by_key(|(id, _): &(u32, AddedToken)| *id);
        Ok(declared)
    }
}

/// `special_tokens_map.json`, and the same fields of `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct SpecialTokens {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    pad_token: Option<Token>,
}

/// A token: its text, or an object with its properties.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Token {
    Plain(String),
    Described(Described),
}

#[derive(Deserialize, Clone)]
struct Described {
    content: Capped,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    normalized: bool,
}

impl From<Described> for AddedToken {
    fn from(token: Described) -> Self {
        let Described { content: Capped(content), lstrip, rstrip, single_word, normalized } = token;
        Self { content, single_word, lstrip, rstrip, normalized, special: true }
    }
}

impl Named {
    /// Returns the special tokens of a folder, by default CLIP's. The map takes precedence over the config, unless the
    /// tokens are `declared`, as in newer files.
    fn new(config: &SpecialTokens, map: &SpecialTokens, declared: bool) -> Self {
        let (first, second) = if declared { (config, map) } else { (map, config) };
        let pick = |part: fn(&SpecialTokens) -> &Option<Token>, default: &str| match part(first)
            .as_ref()
            .or(part(second).as_ref())
        {
            Some(Token::Described(token)) => token.clone().into(),
            Some(Token::Plain(content)) => AddedToken::from(content.clone(), true),
            None => AddedToken::from(default.to_owned(), true),
        };
        const END: &str = "<|endoftext|>";
        Self {
            start: pick(|tokens| &tokens.bos_token, "<|startoftext|>"),
            end: pick(|tokens| &tokens.eos_token, END),
            unknown: pick(|tokens| &tokens.unk_token, END),
            pad: pick(|tokens| &tokens.pad_token, END),
        }
    }

    /// Returns all special tokens: the declared ones if there are any, otherwise the named ones; of tokens with the
    /// same text, the last.
    fn with_declared(&self, declared: Vec<AddedToken>) -> Vec<AddedToken> {
        let fixed = declared.len();
        let mut special = declared;
        for token in [&self.start, &self.end, &self.unknown, &self.pad] {
            match special.iter().position(|known| known.content == token.content) {
                Some(place) if place < fixed => {}
                Some(place) => special[place] = token.clone(),
                None => special.push(token.clone()),
            }
        }
        special
    }
}

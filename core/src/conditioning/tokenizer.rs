//! The tokenizer of CLIP's text encoders.
//!
//! The pipeline is CLIP's for every checkpoint: NFC, collapsed white space, lower case, splitting into words by a
//! regular expression, byte-pair encoding. Vocabulary, merges and special tokens are those of the folder. Of a
//! `tokenizer.json`, only the tables are used, not the expressions.

mod limits;
mod tables;

use std::fmt;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, NormalizedString, Normalizer, PreTokenizedString, PreTokenizer, TokenizerImpl};

use self::tables::Tables;
use crate::error::{Error, ErrorKind, Result};
use crate::load::TokenizerFiles;

pub use crate::models::TEXT_TOKENS as TOKENS;
/// The regular expression of CLIP's words.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// The suffix of the last token of a word.
const WORD_END: &str = "</w>";

/// The library's tokenizer with CLIP's components only: the generic `Tokenizer` would link the code of all components.
type Clip = TokenizerImpl<BPE, Cleaning, Splitting, ByteLevel, ByteLevel>;

/// A tokenizer of a checkpoint.
pub struct Tokenizer {
    inner: Clip,
    start: u32,
    end: u32,
    pad: u32,
    max_id: u32,
}

/// The input of a text encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Start token, text, end token and padding: always [`TOKENS`] ids.
    pub ids: Vec<u32>,
    /// The index of the first end token.
    pub eos_index: usize,
    /// Number of truncated tokens.
    pub cut: usize,
}

impl Tokenizer {
    /// Creates the tokenizer from a folder's files.
    ///
    /// # Errors
    ///
    /// `BadModel` with the entry and the bound.
    pub fn new(files: &TokenizerFiles) -> Result<Self> {
        let Tables { vocab, merges, special, named, max_id } = Tables::parse(files)?;
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .end_of_word_suffix(WORD_END.to_owned())
            .unk_token(named.unknown.content)
            // The library would cache the words of dropped tokenizers for the lifetime of each thread.
            .cache_capacity(0)
            .build()
            .map_err(|error| bad(format!("vocabulary and merges do not match: {error}")))?;
        let mut inner = Clip::new(model);
        let misfit = |error: tokenizers::Error| bad(format!("the special tokens do not match the vocabulary: {error}"));
        inner.with_normalizer(Some(Cleaning::new()?)).map_err(misfit)?;
        inner.with_pre_tokenizer(Some(Splitting::new()?));
        inner.add_special_tokens(special).map_err(misfit)?;
        let id = |token: &AddedToken| {
            let text = &token.content;
            inner.token_to_id(text).ok_or_else(|| bad(format!("the special token {text:?} is not in the vocabulary")))
        };
        let (start, end, pad) = (id(&named.start)?, id(&named.end)?, id(&named.pad)?);
        Ok(Self { inner, start, end, pad, max_id })
    }

    /// Converts `text` to ids; truncated tokens are counted.
    ///
    /// # Errors
    ///
    /// `Internal` if the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| Error::new(ErrorKind::Internal, "failed to tokenize the prompt").with_source(error))?;
        let words = encoding.get_ids();
        let kept = words.len().min(TOKENS - 2);
        let mut ids = Vec::with_capacity(TOKENS);
        ids.push(self.start);
        ids.extend(words.iter().take(kept));
        ids.push(self.end);
        ids.resize(TOKENS, self.pad);
        let eos_index = ids.iter().position(|&id| id == self.end).unwrap_or(TOKENS - 1);
        Ok(Tokens { ids, eos_index, cut: words.len() - kept })
    }

    /// Returns the largest id: a text encoder must have more entries.
    pub fn max_id(&self) -> u32 {
        self.max_id
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("max_id", &self.max_id).field("pad", &self.pad).finish_non_exhaustive()
    }
}

/// The normalization of a text.
struct Cleaning {
    blanks: Replace,
}

impl Cleaning {
    fn new() -> Result<Self> {
        Ok(Self { blanks: Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(internal)? })
    }
}

impl Normalizer for Cleaning {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        NFC.normalize(text)?;
        self.blanks.normalize(text)?;
        Lowercase.normalize(text)
    }
}

/// The splitting into words.
struct Splitting {
    words: Split,
    bytes: ByteLevel,
}

impl Splitting {
    fn new() -> Result<Self> {
        let words = SplitPattern::Regex(WORDS.to_owned());
        let words = Split::new(words, SplitDelimiterBehavior::Removed, true).map_err(internal)?;
        Ok(Self { words, bytes: ByteLevel::new(false, true, true) })
    }
}

impl PreTokenizer for Splitting {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        self.words.pre_tokenize(text)?;
        self.bytes.pre_tokenize(text)
    }
}

fn internal(error: tokenizers::Error) -> Error {
    Error::new(ErrorKind::Internal, "failed to compile the tokenizer's regular expression").with_source(error)
}

fn bad(text: String) -> Error {
    Error::new(ErrorKind::BadModel, text).within("tokenizer")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        demo: Vec<Case>,
        pad_is_exclamation_mark: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        text: String,
        ids: Vec<u32>,
        cut: usize,
    }

    fn demo_files() -> TokenizerFiles {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/dreamframe-tiny/tokenizer/");
        let read = |name: &str| std::fs::read_to_string(format!("{folder}{name}")).ok();
        TokenizerFiles {
            json: None,
            vocab: read("vocab.json"),
            merges: read("merges.txt"),
            config: read("tokenizer_config.json"),
            special_tokens: read("special_tokens_map.json"),
        }
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../../tests/golden/tokenizer.json")).unwrap()
    }

    fn check(tokenizer: &Tokenizer, cases: &[Case]) {
        assert!(cases.len() >= 30);
        for case in cases {
            let tokens = tokenizer.encode(&case.text).unwrap();
            let mut expected = case.ids.clone();
            expected.resize(TOKENS, tokenizer.pad);
            assert_eq!(tokens.ids, expected, "{:?}", case.text);
            assert_eq!(tokens.cut, case.cut, "{:?}", case.text);
            assert_eq!(tokens.ids[tokens.eos_index], tokenizer.end);
            assert!(!tokens.ids[..tokens.eos_index].contains(&tokenizer.end));
        }
    }

    #[test]
    fn ids_match_transformers() {
        check(&Tokenizer::new(&demo_files()).unwrap(), &golden().demo);
    }

    #[test]
    fn a_pad_token_in_a_text_is_a_single_token() {
        let mut files = demo_files();
        files.special_tokens = files.special_tokens.map(|map| {
            let mut map: serde_json::Value = serde_json::from_str(&map).unwrap();
            map["pad_token"] = "!".into();
            map.to_string()
        });
        let tokenizer = Tokenizer::new(&files).unwrap();
        assert_eq!(tokenizer.pad, 0);
        check(&tokenizer, &golden().pad_is_exclamation_mark);
    }

    #[test]
    fn ids_from_a_tokenizer_json_are_the_same() {
        let files = demo_files();
        let vocab: serde_json::Value = serde_json::from_str(files.vocab.as_deref().unwrap()).unwrap();
        let merges: Vec<&str> = files.merges.as_deref().unwrap().lines().skip(1).collect();
        let pairs: Vec<Vec<&str>> = merges.iter().map(|merge| merge.split(' ').collect()).collect();
        for merges in [serde_json::json!(merges), serde_json::json!(pairs)] {
            let model =
                serde_json::json!({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": vocab, "merges": merges});
            let added = serde_json::json!([
                {"id": 3512, "content": "<|startoftext|>", "normalized": true, "special": true},
                {"id": 3513, "content": "<|endoftext|>", "normalized": false, "special": true},
            ]);
            let json = serde_json::json!({"model": model, "added_tokens": added}).to_string();
            let tokenizer = Tokenizer::new(&TokenizerFiles { json: Some(json), ..Default::default() }).unwrap();
            check(&tokenizer, &golden().demo);
        }
    }

    #[test]
    fn declared_tokens_keep_their_ids() {
        let mut files = demo_files();
        files.config = Some(r#"{"added_tokens_decoder": {"3514": {"content": "<style>"}}, "pad_token": "!"}"#.into());
        files.special_tokens = None;
        let tokens = Tokenizer::new(&files).unwrap().encode("a <style>").unwrap();
        assert_eq!(tokens.ids[..5], [3512, 320, 3514, 3513, 0]);
    }

    #[test]
    fn too_many_merges_are_rejected() {
        let mut files = demo_files();
        files.merges = Some("a b\n".repeat(1_000_000));
        let error = Tokenizer::new(&files).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadModel);
        assert_eq!(error.to_string(), "tokenizer: merges.txt: got more than 262144 merges, expected at most 262144");
        let merges = vec!["a b"; 1_000_000];
        let model =
            serde_json::json!({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 0}, "merges": merges});
        let json = Some(serde_json::json!({ "model": model }).to_string());
        let error = Tokenizer::new(&TokenizerFiles { json, ..Default::default() }).unwrap_err();
        assert!(error.to_string().contains("an array with more than 262144 elements"), "{error}");
    }

    #[test]
    fn too_large_a_vocabulary_is_rejected() {
        let mut files = demo_files();
        let entries: Vec<String> = (0..300_000).map(|id| format!("\"t{id}\":{id}")).collect();
        files.vocab = Some(format!("{{{}}}", entries.join(",")));
        let error = Tokenizer::new(&files).unwrap_err();
        assert!(error.to_string().contains("an object with more than 262144 entries"), "{error}");
    }

    #[test]
    fn invalid_files_are_rejected_with_the_reason() {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../tests/bad/tokenizer"].iter().collect();
        let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: BTreeMap<String, String> = serde_json::from_str(&expected).unwrap();
        assert_eq!(folder.read_dir().unwrap().count(), expected.len() + 1);
        for (name, words) in expected {
            let read = |file: &str| std::fs::read_to_string(folder.join(&name).join(file)).ok();
            let files = TokenizerFiles {
                json: read("tokenizer.json"),
                vocab: read("vocab.json"),
                merges: read("merges.txt"),
                config: read("tokenizer_config.json"),
                special_tokens: read("special_tokens_map.json"),
            };
            let Err(error) = Tokenizer::new(&files) else { panic!("{name} is not refused") };
            assert_eq!(error.kind(), ErrorKind::BadModel, "{name}");
            assert!(error.to_string().contains(&words), "{name}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_77_ids_of_the_vocabulary(text in "\\PC{0,200}") {
            let tokenizer = shared();
            let tokens = tokenizer.encode(&text).unwrap();
            assert_eq!(tokens.ids.len(), TOKENS);
            assert_eq!(tokens.ids[0], tokenizer.start);
            assert!(tokens.ids.iter().all(|&id| id <= tokenizer.max_id()));
        }
    }

    fn shared() -> &'static Tokenizer {
        static SHARED: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
        SHARED.get_or_init(|| Tokenizer::new(&demo_files()).unwrap())
    }
}

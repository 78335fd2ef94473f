//! CLIP's tokenizer, which weight files do not contain: built in with the feature `clip-tokenizer`.

use super::super::component::TokenizerFiles;
use crate::error::Result;

/// The end token.
const END: &str = "<|endoftext|>";
/// Padding of CLIP, and of OpenCLIP, which pads with the token of id 0.
pub(super) const CLIP_PAD: &str = END;
pub(super) const OPEN_CLIP_PAD: &str = "!";

#[cfg(feature = "clip-tokenizer")]
pub(super) use built_in::clip;

#[cfg(not(feature = "clip-tokenizer"))]
pub(super) fn clip(_pad: &str) -> Result<TokenizerFiles> {
    let text = "a checkpoint in one file has no tokenizer, and CLIP's is not built in: build with the feature \
                `clip-tokenizer`, or use the model as a diffusers folder";
    Err(crate::error::Error::new(crate::error::ErrorKind::Unsupported, text))
}

#[cfg(feature = "clip-tokenizer")]
mod built_in {
    use serde_json::json;

    use super::{END, Result, TokenizerFiles};
    use crate::error::{Error, ErrorKind};
    use crate::load::embedded;

    /// The start token.
    const START: &str = "<|startoftext|>";

    /// Returns the tokenizer that every encoder of these families was trained with; `pad` is its padding.
    pub(in super::super) fn clip(pad: &str) -> Result<TokenizerFiles> {
        let bytes = embedded::read("clip-tokenizer/merges.txt")?;
        let merges = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let merges = merges
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the built-in merges of CLIP are missing or not UTF-8"))?;
        Ok(TokenizerFiles {
            json: None,
            vocab: Some(vocabulary(&merges)),
            merges: Some(merges),
            config: Some(pretty(&json!({
                "add_prefix_space": false,
                "bos_token": START,
                "do_lower_case": true,
                "eos_token": END,
                "model_max_length": 77,
                "pad_token": pad,
                "tokenizer_class": "CLIPTokenizer",
                "unk_token": END,
            }))),
            special_tokens: Some(pretty(&json!({
                "bos_token": special(START),
                "eos_token": special(END),
                "pad_token": pad,
                "unk_token": special(END),
            }))),
        })
    }

    fn special(text: &str) -> serde_json::Value {
        json!({"content": text, "lstrip": false, "normalized": true, "rstrip": false, "single_word": false})
    }

    fn pretty(value: &serde_json::Value) -> String {
        format!("{value:#}\n")
    }

    /// Returns the vocabulary of `merges`: a letter for every byte, the same at the end of a word, the result of each
    /// merge, and the start and end tokens.
    fn vocabulary(merges: &str) -> String {
        // Printable bytes represent themselves; the others are mapped to unused letters.
        let printable = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let plain = (0..256).filter(printable);
        let hidden = 256..256 + (0..256).filter(|byte| !printable(byte)).count() as u32;
        let letters: Vec<String> = plain.chain(hidden).filter_map(char::from_u32).map(String::from).collect();
        let ends = letters.iter().map(|letter| format!("{letter}</w>"));
        let merged = merges.lines().skip(1).map(|pair| pair.replace(' ', ""));
        let marks = [START, END].map(str::to_owned);
        let tokens = letters.iter().cloned().chain(ends).chain(merged).chain(marks);
        let entries: Vec<String> =
            tokens.enumerate().map(|(id, token)| format!("{}:{id}", serde_json::Value::from(token))).collect();
        format!("{{{}}}", entries.join(","))
    }
}

#[cfg(all(test, feature = "clip-tokenizer"))]
mod tests {
    use super::*;
    use crate::conditioning::tokenizer::Tokenizer;

    #[test]
    fn ids_are_those_that_clip_is_known_by() {
        let ids = |pad: &str, text: &str| Tokenizer::new(&clip(pad).unwrap()).unwrap().encode(text).unwrap().ids;
        let cat = ids(CLIP_PAD, "a photo of a cat");
        assert_eq!(cat[..8], [49406, 320, 1125, 539, 320, 2368, 49407, 49407]);
        assert_eq!(ids(OPEN_CLIP_PAD, "a photo of a cat")[5..8], [2368, 49407, 0]);
        assert_eq!(Tokenizer::new(&clip(CLIP_PAD).unwrap()).unwrap().max_id(), 49407);
    }
}

//! The alpha of a LoRA's layers where it is not a tensor: in PEFT's config, or in the metadata that diffusers writes.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// The metadata key with PEFT's configs of the networks.
const METADATA: &str = "lora_adapter_metadata";

/// The relevant part of PEFT's config of an adapter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Config {
    peft_type: Option<String>,
    lora_alpha: Option<f64>,
    #[serde(default)]
    alpha_pattern: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    use_dora: Option<bool>,
}

/// The strengths in a file's configs.
#[derive(Debug, Default)]
pub(super) struct Alphas {
    /// The prefix of the layers' names: a network's name, or nothing.
    configs: Vec<(String, Config)>,
}

impl Alphas {
    /// Reads the metadata of a file's header.
    ///
    /// # Errors
    ///
    /// `BadModel` for an invalid config, `Unsupported` for an unsupported option.
    pub(super) fn of_header(texts: &HashMap<String, String>) -> Result<Self> {
        let Some(text) = texts.get(METADATA) else { return Ok(Self::default()) };
        let values: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|error| broken(METADATA, &error))?;
        let mut networks: BTreeMap<String, serde_json::Map<String, Value>> = BTreeMap::new();
        for (key, value) in values {
            if let Some((network, field)) = key.split_once('.') {
                networks.entry(network.to_owned()).or_default().insert(field.to_owned(), value);
            }
        }
        let configs = networks.into_iter().map(|(network, fields)| {
            let config = serde_json::from_value(fields.into()).map_err(|error| broken(METADATA, &error))?;
            Ok((format!("{network}."), checked(config)?))
        });
        Ok(Self { configs: configs.collect::<Result<_>>()? })
    }

    /// Reads the text of `adapter_config.json`.
    ///
    /// # Errors
    ///
    /// Like [`of_header`](Self::of_header).
    pub(super) fn of_config(text: &str) -> Result<Self> {
        let config = serde_json::from_str(text).map_err(|error| broken("adapter_config.json", &error))?;
        Ok(Self { configs: vec![(String::new(), checked(config)?)] })
    }

    /// Returns the strength of a layer of `rank` without its own alpha.
    pub(super) fn strength(&self, layer: &str, rank: usize) -> f64 {
        let config = self.configs.iter().find(|(network, _)| layer.starts_with(network));
        let Some((_, config)) = config else { return 1.0 };
        let patterns = config.alpha_pattern.iter().flatten();
        let own = patterns.filter(|(end, _)| names_end(layer, end)).map(|(_, &alpha)| alpha).next();
        let rank = rank as f64;
        own.or(config.lora_alpha)
            .map_or(1.0, |alpha| alpha / if config.use_rslora == Some(true) { rank.sqrt() } else { rank })
    }
}

/// Returns true if `layer` is `end`, or ends with it after a dot.
fn names_end(layer: &str, end: &str) -> bool {
    layer.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn checked(config: Config) -> Result<Config> {
    let refuse = |text: String| Err(Error::new(ErrorKind::Unsupported, text));
    if let Some(other) = config.peft_type.as_deref().filter(|&kind| kind != "LORA") {
        return refuse(format!("peft_type of its config: got {other:?}, expected \"LORA\""));
    }
    if config.use_dora == Some(true) {
        return refuse("method: got DoRA (use_dora of its config), expected LoRA or LoCon".into());
    }
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
    if let Some(pattern) = config.alpha_pattern.iter().flatten().map(|(pattern, _)| pattern).find(|text| !is_name(text))
    {
        return refuse(format!("alpha_pattern of its config: got {pattern:?}, expected the end of a name"));
    }
    let alphas = config.alpha_pattern.iter().flatten().map(|(_, &alpha)| alpha).chain(config.lora_alpha);
    match alphas.into_iter().find(|alpha| !(*alpha as f32).is_finite()) {
        None => Ok(config),
        Some(alpha) => {
            Err(Error::new(ErrorKind::BadModel, format!("alpha of its config: got {alpha:e}, expected a finite f32")))
        }
    }
}

fn broken(what: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::BadModel, format!("{what}: invalid LoRA config: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_s_alpha_is_divided_by_the_rank_or_its_root() {
        let text = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 2}}"#;
        let alphas = Alphas::of_config(text).unwrap();
        assert_eq!(alphas.strength("base_model.model.down.attn2.to_q", 4), 2.0);
        assert_eq!(alphas.strength("base_model.model.down.attn1.to_q", 4), 0.5);
        assert_eq!(alphas.strength("base_model.model.down.xattn1.to_q", 4), 2.0);
        let rooted = Alphas::of_config(r#"{"lora_alpha": 8, "use_rslora": true}"#).unwrap();
        assert_eq!(rooted.strength("a", 16), 2.0);
        assert_eq!(Alphas::default().strength("a", 16), 1.0);
    }

    #[test]
    fn a_header_has_a_config_for_each_network() {
        let text = r#"{"unet.lora_alpha": 8, "unet.r": 4, "text_encoder.lora_alpha": 1, "unet.alpha_pattern": {}}"#;
        let texts = [(METADATA.to_owned(), text.to_owned()), ("format".to_owned(), "pt".to_owned())];
        let alphas = Alphas::of_header(&texts.into()).unwrap();
        assert_eq!(alphas.strength("unet.a", 4), 2.0);
        assert_eq!(alphas.strength("text_encoder.a", 4), 0.25);
        assert_eq!(alphas.strength("text_encoder_2.a", 4), 1.0);
    }

    #[test]
    fn configs_that_are_broken_or_ask_for_more_are_refused() {
        for (text, part) in [
            ("[]", "invalid LoRA config"),
            (r#"{"lora_alpha": "much"}"#, "invalid LoRA config"),
            (r#"{"lora_alpha": 1e300}"#, "got 1e300"),
            (r#"{"peft_type": "LOHA"}"#, "\"LOHA\""),
            (r#"{"use_dora": true}"#, "DoRA"),
            (r#"{"alpha_pattern": {".*to_q": 1}}"#, ".*to_q"),
        ] {
            let error = Alphas::of_config(text).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        let texts = HashMap::from([(METADATA.to_owned(), "{".to_owned())]);
        assert_eq!(Alphas::of_header(&texts).unwrap_err().kind(), ErrorKind::BadModel);
    }
}

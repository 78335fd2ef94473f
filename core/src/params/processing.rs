//! The four processing chains: image and latent, before and after the network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::processor::ProcessorName;

/// A chain of processors, which run in the order of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessingConfig {
    /// Whether the chain runs.
    pub enabled: bool,
    /// The processors, in the order in which they run.
    pub processors: Vec<SingleProcessorConfig>,
}

impl ProcessingConfig {
    /// Returns the enabled processors, with their indices in the list.
    ///
    /// ```
    /// use dreamframe::StreamDiffusionParams;
    /// use dreamframe::params::ProcessorName;
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let json = r#"{"image_preprocessing": {"processors": [
    ///     {"type": "sharpen", "enabled": false},
    ///     {"type": "blur", "params": {"blur_intensity": 1.5}}
    /// ]}}"#;
    /// let (params, _) = StreamDiffusionParams::demo().patched(json)?;
    /// let active: Vec<_> = params.image_preprocessing.active().map(|(index, item)| (index, item.kind)).collect();
    /// assert_eq!(active, [(1, ProcessorName::Blur)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn active(&self) -> impl Iterator<Item = (usize, &SingleProcessorConfig)> {
        self.processors.iter().enumerate().filter(|(_, processor)| self.enabled && processor.enabled)
    }
}

impl Default for ProcessingConfig {
    fn default() -> Self {
        Self { enabled: true, processors: Vec::new() }
    }
}

/// A processor of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SingleProcessorConfig {
    /// The name of the processor.
    #[serde(rename = "type")]
    pub kind: ProcessorName,
    /// Whether the processor runs; a disabled one is only kept in the list.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The processor's own parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
}

fn yes() -> bool {
    true
}

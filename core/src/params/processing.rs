//! The four processing chains: image and latent, before and after the network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::processor::ProcessorName;

/// Describes one chain of processors, run in the order of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessingConfig {
    /// Switches the whole chain; an empty one does nothing either way.
    pub enabled: bool,
    /// Lists the processors, first to last.
    pub processors: Vec<SingleProcessorConfig>,
}

impl ProcessingConfig {
    /// Lists the processors that run, with their places in the list.
    pub fn active(&self) -> impl Iterator<Item = (usize, &SingleProcessorConfig)> {
        self.processors.iter().enumerate().filter(|(_, processor)| self.enabled && processor.enabled)
    }
}

impl Default for ProcessingConfig {
    fn default() -> Self {
        Self { enabled: true, processors: Vec::new() }
    }
}

/// Describes one processor of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SingleProcessorConfig {
    /// Names the processor.
    #[serde(rename = "type")]
    pub kind: ProcessorName,
    /// Runs the processor; a disabled one is kept in the list only.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Gives the processor's own parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
}

fn yes() -> bool {
    true
}

//! Processors that are a network and nothing else.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Annotator, Context, Factory, Image, Preprocessor};
use crate::error::Result;

/// Starts processors that run a network and remember nothing; whatever their settings say went into the network.
#[derive(Debug, Clone)]
pub struct Annotated {
    annotator: Arc<dyn Annotator>,
    evaluations: u64,
}

impl Annotated {
    /// Makes processors of `annotator`.
    pub fn new(annotator: Arc<dyn Annotator>) -> Self {
        Self { annotator, evaluations: 0 }
    }
}

impl Factory for Annotated {
    fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(self.clone())
    }
}

impl Preprocessor for Annotated {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        self.evaluations += 1;
        self.annotator.run(input, output)
    }

    fn configure(&mut self, _: &Map<String, Value>) {}

    fn evaluations(&self) -> u64 {
        self.evaluations
    }
}

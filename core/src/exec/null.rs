//! An executor whose networks do nothing, for measuring everything else.

use std::sync::Arc;

use super::{Constants, Executor, Network, RunArgs};
use crate::error::Result;
use crate::net::{Program, Weights};

/// Runs nothing: outputs are unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullExecutor;

#[derive(Debug)]
struct NullNetwork {
    program: Arc<Program>,
}

impl Executor for NullExecutor {
    fn name(&self) -> &'static str {
        "null"
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, program: &Arc<Program>, _weights: &Weights) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(NullNetwork { program: program.clone() }))
    }
}

impl Network for NullNetwork {
    fn program(&self) -> &Program {
        &self.program
    }

    fn constants(&self, _inputs: &[&[f32]]) -> Result<Constants> {
        Ok(Constants::new(()))
    }

    fn run(&self, _: RunArgs<'_, '_>) -> Result<()> {
        Ok(())
    }
}

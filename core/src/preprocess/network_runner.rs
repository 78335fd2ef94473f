//! Compiled networks of processors, and their memory.

use std::array;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Executor, Network, Queue, Scratch};
use crate::net::{Program, WeightSource, Weights, elements};

/// Maximum number of outputs of a program.
const MOST_OUTPUTS: usize = 4;

/// A compiled program, which processors share.
#[derive(Debug)]
pub(crate) struct Loaded {
    queue: Arc<dyn Queue>,
    network: Arc<dyn Network>,
    constants: Constants,
}

impl Loaded {
    /// Compiles `program`, which has at most four outputs and no constant inputs.
    ///
    /// # Errors
    ///
    /// Those of [`Executor::compile`], and `OutOfMemory` if a frame would need more memory than there is.
    pub(crate) fn new(executor: &dyn Executor, program: Program, weights: Arc<dyn WeightSource>) -> Result<Self> {
        if program.outputs().len() > MOST_OUTPUTS {
            let text =
                format!("outputs of {}: got more than {MOST_OUTPUTS}, expected at most {MOST_OUTPUTS}", program.name());
            return Err(Error::new(ErrorKind::Internal, text));
        }
        let queue = executor.queue();
        queue.require(executor.least_scratch_bytes(&program), program.name())?;
        let network = executor.compile(&Arc::new(program), &Weights::new(weights))?;
        Ok(Self { queue, constants: network.constants(&[])?, network })
    }
}

/// A compiled program with the memory of one processor.
#[derive(Debug)]
pub(crate) struct Running {
    loaded: Arc<Loaded>,
    scratch: Scratch,
    outputs: Vec<Vec<f32>>,
    evaluations: u64,
}

impl Running {
    /// Creates a runner for `loaded`; memory is allocated with the first frame.
    pub(crate) fn new(loaded: Arc<Loaded>) -> Self {
        Self { loaded, scratch: Scratch::new(), outputs: Vec::new(), evaluations: 0 }
    }

    /// Returns the number of runs.
    pub(crate) fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// Creates a runner for `loaded`; memory is allocated immediately.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    #[cfg(feature = "safety")]
    pub(in crate::preprocess) fn ready(loaded: Arc<Loaded>) -> Result<Self> {
        let mut running = Self::new(loaded);
        running.reserve()?;
        Ok(running)
    }

    fn reserve(&mut self) -> Result<()> {
        let Loaded { queue, network, .. } = &*self.loaded;
        let program = network.program();
        if self.outputs.is_empty() {
            self.scratch = queue.scratch(network.scratch_bytes())?;
            let outputs = program.outputs().iter().map(|out| elements::zeros(program.shape(out.value).len()));
            self.outputs = outputs.collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// Runs on one input, and returns the outputs in order.
    ///
    /// # Errors
    ///
    /// Errors of the executor.
    pub(crate) fn run(&mut self, input: &[f32]) -> Result<&[Vec<f32>]> {
        self.run_on(&[input])
    }

    /// Runs on `inputs`, in order, and returns the outputs in order.
    ///
    /// # Errors
    ///
    /// Errors of the executor.
    pub(crate) fn run_on(&mut self, inputs: &[&[f32]]) -> Result<&[Vec<f32>]> {
        self.reserve()?;
        let Loaded { network, constants, .. } = &*self.loaded;
        let count = self.outputs.len();
        let mut outputs = self.outputs.iter_mut();
        let mut rooms: [&mut [f32]; MOST_OUTPUTS] =
            array::from_fn(|_| outputs.next().map_or_else(Default::default, Vec::as_mut_slice));
        network.run_on_host(constants, &mut self.scratch, inputs, &mut rooms[..count])?;
        self.evaluations += 1;
        Ok(&self.outputs)
    }
}

#[cfg(test)]
pub(in crate::preprocess) mod tests {
    use super::*;
    use crate::exec::reference::ReferenceExecutor;
    use crate::load::RandomWeights;

    /// Returns a program with random weights.
    pub(in crate::preprocess) fn random(program: Program) -> Arc<Loaded> {
        let weights = Arc::new(RandomWeights::new(1, program.weights()));
        Arc::new(Loaded::new(&ReferenceExecutor, program, weights).unwrap())
    }
}

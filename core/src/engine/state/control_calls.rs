//! Evaluation of the ControlNets during one step of the stream.

use std::time::{Duration, Instant};

use super::control::ControlState;
use crate::engine::pipeline::controlnet::ControlNets;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Arena;
use crate::telemetry::Work;

/// The ControlNets during one step of the stream.
#[derive(Debug)]
pub(crate) struct ControlCalls<'a> {
    pub(crate) controls: &'a ControlNets,
    pub(crate) state: &'a mut ControlState,
    /// Time spent in them so far.
    pub(crate) spent: Duration,
}

impl<'a> ControlCalls<'a> {
    /// Runs those with a nonzero weight in `call`, on its `rows` rows `x`, and returns the weighted sums of their
    /// residuals, one for each tensor; none without ControlNets.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(crate) fn residuals<'s>(
        &'s mut self,
        call: usize,
        rows: usize,
        x: &[f32],
        arena: &mut Arena,
        work: &mut Work,
    ) -> Result<impl Iterator<Item = &'s [f32]> + use<'s, 'a>> {
        let before = Instant::now();
        let ControlState { nets, residuals, gathered, .. } = &mut *self.state;
        residuals.begin();
        for (control, state) in self.controls.nets.iter().zip(nets) {
            let Some(weights) = control.weights.get(call).filter(|weights| !weights.is_empty()) else { continue };
            let networks = control.networks.get();
            let (Some(network), Some(constants)) = (networks.call(call), control.constants.get().get(call)) else {
                return Err(Error::new(ErrorKind::Internal, format!("a ControlNet has no call {call}")));
            };
            let embedding = if self.controls.kept_images == 1 {
                state.history.at(0)
            } else {
                let gathered = &mut gathered[..rows * networks.embedding_len];
                let stages = networks.call_rows.get(call).into_iter().flatten().map(|row| row.stage);
                for (to, stage) in gathered.chunks_exact_mut(networks.embedding_len).zip(stages) {
                    to.copy_from_slice(state.history.at(stage));
                }
                &*gathered
            };
            residuals.add(weights, |tensors| network.run(constants, arena, &[x, embedding], tensors))?;
            work.control_evaluations += 1;
            work.control_rows += rows as u64;
            state.work.evaluations += 1;
            state.work.rows += rows as u64;
        }
        let sum = residuals.finish(rows);
        self.spent += before.elapsed();
        Ok(sum)
    }
}

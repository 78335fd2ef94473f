//! Evaluation of the ControlNets during one step of the stream.

use super::control::ControlState;
use super::timer::{FrameTimer, Stage};
use crate::engine::pipeline::controlnet::ControlNets;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Queue, RunArgs, Scratch, View};
use crate::telemetry::Work;

/// The ControlNets during one step of the stream.
#[derive(Debug)]
pub(crate) struct ControlCalls<'a> {
    pub(crate) queue: &'a dyn Queue,
    pub(crate) controls: &'a ControlNets,
    pub(crate) state: &'a mut ControlState,
    pub(crate) timer: &'a mut FrameTimer,
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
        x: View<'_>,
        scratch: &mut Scratch,
        work: &mut Work,
    ) -> Result<impl Iterator<Item = View<'s>> + use<'s, 'a>> {
        let (queue, from) = (self.queue, self.queue.mark());
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
                let len = networks.embedding_len;
                let stages = networks.call_rows.get(call).into_iter().flatten().map(|row| row.stage);
                for (row, stage) in stages.enumerate() {
                    queue.copy(state.history.at(stage), gathered.range_mut(row * len..(row + 1) * len))?;
                }
                gathered.range(0..rows * len)
            };
            residuals.add(queue, weights, |tensors| {
                network.run(RunArgs::new(constants, scratch, &[x, embedding], tensors))
            })?;
            work.control_evaluations += 1;
            work.control_rows += rows as u64;
            state.work.evaluations += 1;
            state.work.rows += rows as u64;
        }
        let sum = residuals.finish(queue, rows)?;
        self.timer.end(queue, Stage::ControlInUnet, from);
        Ok(sum)
    }
}

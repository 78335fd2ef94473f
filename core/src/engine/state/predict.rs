//! Runs the UNet for the stream, after the ControlNets if there are any.

use super::cached_attention::{AttentionCache, CacheSettings};
use super::control_calls::ControlCalls;
use crate::engine::pipeline::unet::UnetNetworks;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Inputs, RunArgs, Scratch, View, ViewMut};
use crate::stream::{Call, Predict};
use crate::telemetry::Work;

/// The UNet and the ControlNets during one step of the stream.
#[derive(Debug)]
pub(crate) struct UnetPredictor<'a> {
    pub(crate) unet: &'a UnetNetworks,
    pub(crate) constants: &'a [Constants],
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) attention: &'a mut AttentionCache,
    pub(crate) cache: CacheSettings,
    pub(crate) control: ControlCalls<'a>,
    pub(crate) work: &'a mut Work,
}

impl Predict for UnetPredictor<'_> {
    fn predict(&mut self, call: Call, x: View<'_>, eps: ViewMut<'_>) -> Result<()> {
        let index = match call {
            Call::Batch => 0,
            Call::Stage(stage) => stage,
        };
        let (Some(network), Some(constants)) = (self.unet.networks().get(index), self.constants.get(index)) else {
            let text = format!("call of the UNet: got {call:?}, expected one of {}", self.unet.networks().len());
            return Err(Error::new(ErrorKind::Internal, text));
        };
        let rows = self.unet.rows(index);
        let mut inputs = Inputs::new();
        inputs.push(x)?;
        for residual in self.control.residuals(index, rows, x, self.scratch, self.work)? {
            inputs.push(residual)?;
        }
        let (scratch, outputs) = (&mut *self.scratch, &mut [eps]);
        self.attention.run(index, self.cache, |past| {
            let args = RunArgs::new(constants, scratch, inputs.get(), outputs);
            network.run(RunArgs { past: Some(past), ..args })
        })?;
        self.work.unet_evaluations += 1;
        self.work.unet_rows += rows as u64;
        Ok(())
    }
}

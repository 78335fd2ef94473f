//! Runs the UNet for the stream, after the ControlNets if there are any.

use std::sync::Arc;

use super::cached_attention::{AttentionCache, CacheSettings};
use super::control_calls::ControlCalls;
use super::deep_features::DeepFeatures;
use crate::engine::pipeline::unet::{CallConstants, UnetNetworks};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Constants, Inputs, Network, RunArgs, Scratch, View, ViewMut};
use crate::params::FeatureReuseConfig;
use crate::stream::{Call, Predict};
use crate::telemetry::Work;

/// The UNet and the ControlNets during one step of the stream.
#[derive(Debug)]
pub(crate) struct UnetPredictor<'a> {
    pub(crate) unet: &'a UnetNetworks,
    pub(crate) constants: &'a [CallConstants],
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) attention: &'a mut AttentionCache,
    pub(crate) cache: CacheSettings,
    pub(crate) features: &'a mut DeepFeatures,
    pub(crate) reuse: &'a FeatureReuseConfig,
    pub(crate) control: ControlCalls<'a>,
    pub(crate) work: &'a mut Work,
}

impl Predict for UnetPredictor<'_> {
    fn predict(&mut self, call: Call, x: View<'_>, eps: ViewMut<'_>) -> Result<()> {
        let index = match call {
            Call::Batch => 0,
            Call::Stage(stage) => stage,
        };
        let (Some(networks), Some(constants)) = (self.unet.call(index), self.constants.get(index)) else {
            let text = format!("call of the UNet: got {call:?}, expected one of {}", self.constants.len());
            return Err(Error::new(ErrorKind::Internal, text));
        };
        if let (Some(network), Some(constants)) = (networks.shallow, &constants.shallow)
            && let Some(kept) = self.features.call(index)
            && kept.advance(self.control.queue, x, self.reuse)?
        {
            let mut inputs = Inputs::new();
            inputs.push(x)?;
            kept.inputs().try_for_each(|input| inputs.push(input))?;
            network.run(RunArgs::new(constants, self.scratch, inputs.get(), &mut [eps]))?;
            self.work.shallow_evaluations += 1;
            return Ok(());
        }
        self.full(index, networks.full, &constants.full, x, eps)
    }
}

impl UnetPredictor<'_> {
    /// Runs the whole UNet, and keeps the features of its deep layers if they are used again.
    fn full(
        &mut self,
        index: usize,
        network: &Arc<dyn Network>,
        constants: &Constants,
        x: View<'_>,
        eps: ViewMut<'_>,
    ) -> Result<()> {
        let (queue, rows) = (self.control.queue, self.unet.rows(index));
        let mut kept = self.features.call(index);
        let mut inputs = Inputs::new();
        inputs.push(x)?;
        for (i, residual) in self.control.residuals(index, rows, x, self.scratch, self.work)?.enumerate() {
            inputs.push(residual)?;
            if let Some(kept) = &mut kept {
                kept.keep_residual(queue, i, residual)?;
            }
        }
        let count = if kept.is_some() { 2 } else { 1 };
        let deep = kept.as_mut().map_or_else(ViewMut::default, |kept| kept.deep());
        let (scratch, outputs) = (&mut *self.scratch, &mut [eps, deep][..count]);
        self.attention.run(index, self.cache, |past| {
            let args = RunArgs::new(constants, scratch, inputs.get(), outputs);
            network.run(RunArgs { past: Some(past), ..args })
        })?;
        if let Some(kept) = kept {
            kept.finish();
        }
        self.work.unet_evaluations += 1;
        self.work.unet_rows += rows as u64;
        Ok(())
    }
}

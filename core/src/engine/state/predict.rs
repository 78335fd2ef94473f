//! Runs the UNet for the stream, after the ControlNets if there are any.

use super::cached_attention::{AttentionCache, CacheSettings};
use super::control_calls::ControlCalls;
use super::deep_features::DeepFeatures;
use crate::engine::pipeline::unet::{CallConstants, CallNetworks, UnetNetworks};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::shared_pass::Pass;
use crate::exec::{Inputs, RunArgs, Scratch, View, ViewMut};
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
        self.full(index, networks, constants, x, eps)
    }
}

impl UnetPredictor<'_> {
    /// Runs the whole UNet, and keeps the features of its deep layers if they are used again.
    fn full(
        &mut self,
        index: usize,
        CallNetworks { full: network, member, .. }: CallNetworks<'_>,
        constants: &CallConstants,
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
        let (scratch, attention, cache) = (&mut *self.scratch, &mut *self.attention, self.cache);
        let alone = |eps: ViewMut<'_>| {
            let outputs = &mut [eps, deep][..count];
            attention.run(index, cache, |past| {
                let args = RunArgs::new(&constants.full, scratch, inputs.get(), outputs);
                network.run(RunArgs { past: Some(past), ..args })
            })
        };
        let pass = match (member, &constants.inputs) {
            (Some(member), Some(inputs)) => member.run(inputs, x, eps, alone)?,
            (None, _) | (_, None) => alone(eps).map(|()| Pass::Alone)?,
        };
        if let Some(kept) = kept {
            kept.finish();
        }
        self.work.unet_evaluations += 1;
        self.work.shared_unet_evaluations += u64::from(pass == Pass::Shared);
        self.work.unet_rows += rows as u64;
        Ok(())
    }
}

//! The rates of a machine, and the time of a program at these rates.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Serialize;

use crate::error::Result;
use crate::exec::cost::{CostKind, ProgramCost, StepCost};
use crate::exec::cpu::{CpuExecutor, CpuOptions};
use crate::exec::{Dtype, Executor as _};

/// Seconds for a unit of work, by the scale of a step: linear between measured scales, constant beyond them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// Adds a measurement; of several at one scale, the shortest counts.
    pub(super) fn add(&mut self, scale: f64, seconds: f64) {
        let at = self.0.partition_point(|point| point.0 < scale);
        match self.0.get_mut(at).filter(|point| point.0 == scale) {
            Some(point) => point.1 = point.1.min(seconds),
            None => self.0.insert(at, (scale, seconds)),
        }
    }

    pub(super) fn at(&self, scale: f64) -> f64 {
        let after = self.0.partition_point(|point| point.0 < scale);
        match (after.checked_sub(1).and_then(|before| self.0.get(before)), self.0.get(after)) {
            (Some(&(from, low)), Some(&(to, high))) => low + (high - low) * (scale - from) / (to - from),
            (Some(&(_, only)), None) | (None, Some(&(_, only))) => only,
            (None, None) => 0.0,
        }
    }

    /// The shortest time for a unit of work.
    fn least(&self) -> Option<f64> {
        self.0.iter().map(|point| point.1).min_by(f64::total_cmp)
    }

    #[cfg(any(test, feature = "internals"))]
    fn scaled(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|&(scale, seconds)| (scale, seconds * factor)).collect())
    }
}

/// How fast this machine's processor runs the kinds of steps that networks consist of, as
/// [`measure`](MachineSpeed::measure) found.
#[derive(Debug)]
pub struct MachineSpeed {
    /// Plans programs as the measured executor does.
    pub(super) executor: CpuExecutor,
    pub(super) curves: BTreeMap<CostKind, Curve>,
    /// Seconds that a step takes beyond its work.
    pub(super) step_seconds: f64,
    /// Bytes that are read from memory in a second.
    pub(super) bandwidth: f64,
    /// Bytes of a number in the memory of a device that the rates were computed for.
    pub(super) number_bytes: Option<usize>,
}

/// The rates of a [`MachineSpeed`] in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rates {
    /// Threads of the executor.
    pub threads: usize,
    /// The number format of values and weights, such as `bf16`.
    pub dtype: String,
    /// The instruction set of the kernels, such as `avx512`.
    pub instructions: String,
    /// The highest rate of 3x3 convolutions, in billions of operations per second; multiplications and additions count,
    /// as for direct sums, so that it may exceed the processor's peak.
    pub convolution_gflops: f64,
    /// The same of matrix products.
    pub linear_gflops: f64,
    /// The same of attention.
    pub attention_gflops: f64,
    /// Billions of bytes per second that weights are read with.
    pub bandwidth_gb: f64,
}

impl MachineSpeed {
    pub(super) fn new(executor: CpuExecutor) -> Self {
        Self { executor, curves: BTreeMap::new(), step_seconds: 0.0, bandwidth: f64::INFINITY, number_bytes: None }
    }

    /// Starts an executor with `threads` threads (`None` for all), in the number format that is fastest on this machine.
    pub(super) fn start(threads: Option<usize>) -> Result<CpuExecutor> {
        let threads = threads.and_then(NonZeroUsize::new);
        CpuExecutor::new(CpuOptions { threads, dtype: Dtype::Auto, ..CpuOptions::default() })
    }

    /// Returns the rates in figures.
    pub fn rates(&self) -> Rates {
        let rate = |fits: fn(CostKind) -> bool| {
            let curves = self.curves.iter().filter(|(kind, _)| fits(**kind));
            curves.filter_map(|(_, curve)| curve.least()).fold(0.0, |rate: f64, least| rate.max(1e-9 / least))
        };
        Rates {
            threads: self.executor.threads(),
            dtype: self.executor.dtype().to_string(),
            instructions: self.executor.isa().name().to_owned(),
            convolution_gflops: rate(|kind| matches!(kind, CostKind::Direct | CostKind::Winograd { .. })),
            linear_gflops: rate(|kind| kind == CostKind::Linear),
            attention_gflops: rate(|kind| kind == CostKind::Attention),
            bandwidth_gb: self.bandwidth / 1e9,
        }
    }

    /// The seconds of a frame of a program.
    pub(super) fn seconds(&self, cost: &ProgramCost) -> f64 {
        cost.steps.iter().map(|step| self.step(step)).sum()
    }

    /// The seconds of a step: those of its work with weights in a cache, and those of reading the weights, which are not in
    /// one since the last frame, and for which its work waits.
    pub(super) fn step(&self, step: &StepCost) -> f64 {
        if step.work == 0.0 {
            return 0.0;
        }
        self.step_seconds + self.work(step) + step.bytes / self.bandwidth
    }

    /// The seconds of the work of a step.
    pub(super) fn work(&self, step: &StepCost) -> f64 {
        step.work * self.curve(step.kind).map_or(0.0, |curve| curve.at(step.scale))
    }

    /// The curve of a kind, or of the most similar one that was measured.
    fn curve(&self, kind: CostKind) -> Option<&Curve> {
        let winograd = self.curves.keys().find(|known| matches!(known, CostKind::Winograd { .. }));
        let similar = match kind {
            CostKind::Winograd { side, shared } => {
                let other = CostKind::Winograd { side, shared: !shared };
                vec![kind, other, winograd.copied().unwrap_or(kind), CostKind::Direct, CostKind::Linear]
            }
            CostKind::Gated | CostKind::Direct => vec![kind, CostKind::Linear],
            CostKind::TextAttention => vec![kind, CostKind::Attention],
            CostKind::GroupNorm | CostKind::LayerNorm => vec![kind, CostKind::Elements],
            CostKind::Linear | CostKind::Attention | CostKind::Elements => vec![kind],
        };
        similar.iter().find_map(|kind| self.curves.get(kind))
    }

    /// Returns the speed of a machine whose cores are like this one's, with `cores` times their number and `memory` times
    /// the bandwidth.
    ///
    /// # Errors
    ///
    /// Those of starting an executor.
    #[cfg(any(test, feature = "internals"))]
    pub fn scaled(&self, cores: f64, memory: f64) -> Result<Self> {
        let threads = NonZeroUsize::new(self.executor.threads());
        let executor = CpuExecutor::new(CpuOptions { threads, dtype: self.executor.dtype(), ..CpuOptions::default() })?;
        let factor = |kind: CostKind| 1.0 / if kind.multiplies() { cores } else { memory };
        Ok(Self {
            executor,
            curves: self.curves.iter().map(|(&kind, curve)| (kind, curve.scaled(factor(kind)))).collect(),
            step_seconds: self.step_seconds,
            bandwidth: self.bandwidth * memory,
            number_bytes: None,
        })
    }

    /// Returns the speed of a GPU in half precision that takes `share` of `peak` operations per second in all products, and
    /// of `bandwidth` bytes per second in all other steps; each step takes `step_seconds` more.
    ///
    /// # Errors
    ///
    /// Those of starting an executor, which plans the programs.
    #[cfg(any(test, feature = "internals"))]
    pub fn of_gpu(peak: f64, bandwidth: f64, share: f64, step_seconds: f64) -> Result<Self> {
        let threads = NonZeroUsize::new(1);
        // Plans of the format f32, whose steps are those of graphs: no conversions between formats.
        let executor =
            CpuExecutor::new(CpuOptions { threads, dtype: Dtype::F32, winograd: false, ..CpuOptions::default() })?;
        let half = 2.0 / Dtype::F32.bytes() as f64;
        let mut speed = Self { step_seconds, number_bytes: Some(2), ..Self::new(executor) };
        for kind in [CostKind::Linear, CostKind::Attention] {
            speed.curves.entry(kind).or_default().add(0.0, 1.0 / (peak * share));
        }
        speed.bandwidth = bandwidth * share / half;
        speed.curves.entry(CostKind::Elements).or_default().add(0.0, 1.0 / speed.bandwidth);
        Ok(speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_linear_between_its_points_and_constant_beyond_them() {
        let mut curve = Curve::default();
        assert_eq!(curve.at(1.0), 0.0);
        curve.add(2.0, 10.0);
        curve.add(1.0, 4.0);
        assert_eq!([0.0, 1.0, 1.5, 2.0, 9.0].map(|scale| curve.at(scale)), [4.0, 4.0, 7.0, 10.0, 10.0]);
        assert_eq!(curve.least(), Some(4.0));
        curve.add(2.0, 8.0);
        curve.add(2.0, 9.0);
        assert_eq!([1.5, 2.0].map(|scale| curve.at(scale)), [6.0, 8.0]);
    }

    fn step(kind: CostKind, work: f64, bytes: f64) -> StepCost {
        StepCost { kind, operations: work, work, scale: 0.1, bytes }
    }

    #[test]
    fn a_step_takes_the_time_of_its_work_of_reading_weights_and_of_its_start() {
        let speed = MachineSpeed::of_gpu(1e12, 1e11, 0.5, 1e-6).unwrap();
        let linear = |work, bytes| speed.step(&step(CostKind::Linear, work, bytes));
        assert!((linear(1e9, 0.0) - 2.001e-3).abs() < 1e-9);
        // 4e8 bytes in f32 are 2e8 in half precision, at half of the bandwidth.
        assert!((linear(1e9, 4e8) - 6.001e-3).abs() < 1e-9);
        // Kinds that were not measured have the rate of a similar one.
        let winograd = CostKind::Winograd { side: 2, shared: true };
        assert_eq!(speed.step(&step(winograd, 1e9, 1.0)), linear(1e9, 1.0));
    }

    #[test]
    fn more_cores_compute_faster_and_more_bandwidth_reads_faster() {
        let one = MachineSpeed::of_gpu(1e12, 1e11, 0.5, 0.0).unwrap();
        let four = one.scaled(4.0, 2.0).unwrap();
        let ratio = |step: StepCost| one.step(&step) / four.step(&step);
        assert!((ratio(step(CostKind::Linear, 1e9, 0.0)) - 4.0).abs() < 1e-9);
        assert!((ratio(step(CostKind::Linear, 1e-9, 1e9)) - 2.0).abs() < 1e-9);
        assert!((ratio(step(CostKind::Elements, 1e9, 0.0)) - 2.0).abs() < 1e-9);
        assert_eq!(four.rates().linear_gflops, 4.0 * one.rates().linear_gflops);
    }
}

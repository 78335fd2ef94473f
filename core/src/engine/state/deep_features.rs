//! Features of the UNet's deep layers that are used again for later frames.

use crate::engine::pipeline::Pipeline;
use crate::engine::pipeline::unet::KeptLengths;
use crate::error::Result;
use crate::exec::{Buffer, Queue, View};
use crate::models::SHALLOW_LAYERS;
use crate::params::FeatureReuseConfig;

/// The name in error messages.
const WHAT: &str = "features of the UNet for later frames";

/// The features of each call of the UNet; empty without `feature_reuse`.
#[derive(Debug, Default)]
pub(crate) struct DeepFeatures {
    calls: Vec<CallFeatures>,
}

/// What one call keeps of its last whole run. Each row keeps its own, since it is at another timestep.
#[derive(Debug)]
pub(super) struct CallFeatures {
    /// The output of the deep layers.
    pub(super) deep: Buffer,
    /// What ControlNets added to the inputs of the other layers; empty without them.
    residuals: Vec<Buffer>,
    /// The UNet's input.
    input: Vec<f32>,
    /// Memory of the host for an input of the device.
    staging: Vec<f32>,
    rows: usize,
    /// Number of runs since then; `None` if no features are kept.
    age: Option<u32>,
}

impl DeepFeatures {
    /// Allocates what `pipeline` needs to replace `base`; `None` if the memory of `base` serves it.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed, before any of them is allocated.
    pub(super) fn replacing(queue: &dyn Queue, base: Option<&Pipeline>, pipeline: &Pipeline) -> Result<Option<Self>> {
        if base.is_some_and(|base| pipeline.shares_unet(base)) {
            return Ok(None);
        }
        let lengths = pipeline.components.unet().kept_lengths();
        let elements = lengths.iter().fold(0_usize, |sum, call| sum.saturating_add(call.elements()));
        queue.require(elements.saturating_mul(size_of::<f32>()), WHAT)?;
        let calls = lengths.iter().map(|call| CallFeatures::new(queue, call)).collect::<Result<_>>()?;
        Ok(Some(Self { calls }))
    }

    /// Makes the next run of each call a whole one.
    pub(super) fn forget(&mut self) {
        for call in &mut self.calls {
            call.age = None;
        }
    }

    /// Returns what the call number `call` keeps; `None` without `feature_reuse`.
    pub(super) fn call(&mut self, call: usize) -> Option<&mut CallFeatures> {
        self.calls.get_mut(call)
    }
}

impl CallFeatures {
    fn new(queue: &dyn Queue, lengths: &KeptLengths) -> Result<Self> {
        let KeptLengths { rows, input, deep, ref residuals } = *lengths;
        Ok(Self {
            deep: queue.buffer(deep)?,
            residuals: residuals.iter().map(|&len| queue.buffer(len)).collect::<Result<_>>()?,
            input: vec![0.0; input],
            staging: vec![0.0; input],
            rows,
            age: None,
        })
    }

    /// Returns whether the features may stand for those of the input `x`: they are younger than `interval` frames, and the
    /// estimated error is at most `max_error`. Counts the run.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn advance(&mut self, queue: &dyn Queue, x: View<'_>, settings: &FeatureReuseConfig) -> Result<bool> {
        let Some(age) = self.age.filter(|&age| age + 1 < settings.interval) else { return Ok(false) };
        let x = queue.read(x, &mut self.staging)?;
        if estimated_error(x, &self.input, self.rows) > settings.max_error {
            return Ok(false);
        }
        self.age = Some(age + 1);
        Ok(true)
    }

    /// Starts a whole run with the input `x`, which writes the features anew.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn begin(&mut self, queue: &dyn Queue, x: View<'_>) -> Result<()> {
        self.age = None;
        let x = queue.read(x, &mut self.staging)?;
        self.input.iter_mut().zip(x).for_each(|(kept, x)| *kept = *x);
        Ok(())
    }

    /// Keeps residual `i` of a whole run, if the other layers read it.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn keep_residual(&mut self, queue: &dyn Queue, i: usize, residual: View<'_>) -> Result<()> {
        match self.residuals.get_mut(i) {
            Some(kept) => queue.copy(residual, kept.view_mut()),
            None => Ok(()),
        }
    }

    /// Ends a whole run that has succeeded.
    pub(super) fn finish(&mut self) {
        self.age = Some(0);
    }

    /// Returns the inputs of the other layers besides the UNet's own, in order.
    pub(super) fn inputs(&self) -> impl Iterator<Item = View<'_>> {
        debug_assert!(self.residuals.is_empty() || self.residuals.len() == SHALLOW_LAYERS);
        [&self.deep].into_iter().chain(&self.residuals).map(Buffer::view)
    }
}

/// Estimates the error of features that were computed for the input `kept` in place of `x`: the change of the input relative
/// to its size, of the row where that is largest.
fn estimated_error(x: &[f32], kept: &[f32], rows: usize) -> f64 {
    let len = (x.len() / rows.max(1)).max(1);
    let of_row = |(x, kept): (&[f32], &[f32])| {
        let (mut change, mut size) = (0.0_f64, 0.0_f64);
        for (&x, &kept) in x.iter().zip(kept) {
            let gap = f64::from(x - kept);
            change += gap * gap;
            size += f64::from(kept) * f64::from(kept);
        }
        // Not a number, of an input that is not: then nothing is used again.
        if size > 0.0 { (change / size).sqrt() } else { f64::INFINITY }
    };
    let worst = |worst: f64, error: f64| if error.is_nan() { f64::INFINITY } else { worst.max(error) };
    x.chunks(len).zip(kept.chunks(len)).map(of_row).fold(0.0, worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::HostQueue;

    const LENGTHS: KeptLengths = KeptLengths { rows: 2, input: 8, deep: 4, residuals: Vec::new() };

    fn settings(interval: u32, max_error: f64) -> FeatureReuseConfig {
        FeatureReuseConfig { interval, max_error }
    }

    fn whole(kept: &mut CallFeatures, x: &[f32]) {
        kept.begin(&HostQueue, x.into()).unwrap();
        kept.finish();
    }

    #[test]
    fn features_are_kept_for_fewer_frames_than_the_interval() {
        let mut kept = CallFeatures::new(&HostQueue, &LENGTHS).unwrap();
        let x = [1.0; 8];
        let mut runs = Vec::new();
        for _ in 0..7 {
            let again = kept.advance(&HostQueue, (&x[..]).into(), &settings(3, 0.0)).unwrap();
            if !again {
                whole(&mut kept, &x);
            }
            runs.push(again);
        }
        assert_eq!(runs, [false, true, true, false, true, true, false]);
        assert!(!kept.advance(&HostQueue, (&x[..]).into(), &settings(1, 1.0)).unwrap());
    }

    #[test]
    fn the_row_that_changed_most_decides() {
        let mut kept = CallFeatures::new(&HostQueue, &LENGTHS).unwrap();
        whole(&mut kept, &[2.0; 8]);
        let mut x = [2.0; 8];
        x[4..].fill(2.5);
        assert!((estimated_error(&x, &kept.input, 2) - 0.25).abs() < 1e-9);
        assert!(!kept.advance(&HostQueue, (&x[..]).into(), &settings(9, 0.24)).unwrap());
        assert!(kept.advance(&HostQueue, (&x[..]).into(), &settings(9, 0.26)).unwrap());
    }

    #[test]
    fn nothing_is_used_again_after_a_failed_run_or_for_inputs_that_are_not_numbers() {
        let mut kept = CallFeatures::new(&HostQueue, &LENGTHS).unwrap();
        let x = [1.0; 8];
        whole(&mut kept, &x);
        kept.begin(&HostQueue, (&x[..]).into()).unwrap();
        assert!(!kept.advance(&HostQueue, (&x[..]).into(), &settings(9, 1.0)).unwrap());
        for bad in [[f32::NAN; 8], [f32::INFINITY; 8]] {
            whole(&mut kept, &x);
            assert!(!kept.advance(&HostQueue, (&bad[..]).into(), &settings(9, 1.0)).unwrap());
            whole(&mut kept, &bad);
            assert!(!kept.advance(&HostQueue, (&x[..]).into(), &settings(9, 1.0)).unwrap());
        }
        whole(&mut kept, &[0.0; 8]);
        assert!(!kept.advance(&HostQueue, (&x[..]).into(), &settings(9, 1.0)).unwrap());
    }
}

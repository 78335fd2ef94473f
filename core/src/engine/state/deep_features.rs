//! Features of the UNet's deep layers that are used again for later frames.

use crate::engine::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Buffer, Queue, View, ViewMut};
use crate::net::{Program, Rate, Shape, elements};
use crate::params::FeatureReuseConfig;

/// The name in error messages.
const WHAT: &str = "features of the UNet for later frames";

/// The features of each call of the UNet; empty without `feature_reuse`.
#[derive(Debug, Default)]
pub(crate) struct DeepFeatures {
    calls: Vec<CallFeatures>,
}

/// What one call keeps of its last full run. Each row has features of its own, since it is at its own timestep.
#[derive(Debug)]
pub(super) struct CallFeatures {
    /// The inputs of the last layers after the sample: the output of the deep layers, then what ControlNets add.
    kept: Vec<Buffer>,
    /// The sample.
    sample: Vec<f32>,
    /// Memory of the host for the sample of a device.
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
        let calls: Vec<Vec<Shape>> =
            pipeline.components.unet().shallow().iter().map(|network| frame_inputs(network.program())).collect();
        let elements = calls.iter().flatten().fold(0_usize, |sum, shape| sum.saturating_add(shape.len()));
        queue.require(elements.saturating_mul(size_of::<f32>()), WHAT)?;
        let calls = calls.iter().map(|inputs| CallFeatures::new(queue, inputs)).collect::<Result<_>>()?;
        Ok(Some(Self { calls }))
    }

    /// Makes the next run of each call a full one.
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

/// Returns the shapes of the frame inputs of a program.
fn frame_inputs(program: &Program) -> Vec<Shape> {
    program.inputs_at(Rate::Frame).map(|input| program.shape(input.value)).collect()
}

impl CallFeatures {
    /// Allocates what a program of the last layers with these frame inputs reads.
    fn new(queue: &dyn Queue, inputs: &[Shape]) -> Result<Self> {
        let no_sample = || Error::new(ErrorKind::Internal, "the last layers have no sample");
        let (sample, others) = inputs.split_first().ok_or_else(no_sample)?;
        Ok(Self {
            kept: others.iter().map(|shape| queue.buffer(shape.len())).collect::<Result<_>>()?,
            sample: elements::zeros(sample.len())?,
            staging: elements::zeros(sample.len())?,
            rows: sample.n,
            age: None,
        })
    }

    /// Returns whether the features may be used for the sample `x`: they are younger than `interval` frames, and the
    /// estimated error is at most `max_error`. Otherwise, a full run must follow.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn advance(&mut self, queue: &dyn Queue, x: View<'_>, settings: &FeatureReuseConfig) -> Result<bool> {
        let age = self.age.take().filter(|&age| age + 1 < settings.interval);
        let x = queue.read(x, &mut self.staging)?;
        let age = age.filter(|_| estimated_error(x, &self.sample, self.rows) <= settings.max_error);
        self.age = age.map(|age| age + 1);
        if self.age.is_none() {
            self.sample.iter_mut().zip(x).for_each(|(kept, x)| *kept = *x);
        }
        Ok(self.age.is_some())
    }

    /// Keeps residual `i` of a full run, if the last layers read it.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub(super) fn keep_residual(&mut self, queue: &dyn Queue, i: usize, residual: View<'_>) -> Result<()> {
        match self.kept.get_mut(i + 1) {
            Some(kept) => queue.copy(residual, kept.view_mut()),
            None => Ok(()),
        }
    }

    /// Returns the memory for the output of the deep layers.
    pub(super) fn deep(&mut self) -> ViewMut<'_> {
        self.kept.first_mut().map_or_else(ViewMut::default, Buffer::view_mut)
    }

    /// Ends a full run that has succeeded.
    pub(super) fn finish(&mut self) {
        self.age = Some(0);
    }

    /// Returns the inputs of the last layers after the sample, in order.
    pub(super) fn inputs(&self) -> impl Iterator<Item = View<'_>> {
        self.kept.iter().map(Buffer::view)
    }
}

/// Estimates the error of features that were computed for the sample `kept` in place of `x`: the change of the sample
/// relative to its size, of the row where that is largest.
fn estimated_error(x: &[f32], kept: &[f32], rows: usize) -> f64 {
    let len = (x.len() / rows.max(1)).max(1);
    let of_row = |(x, kept): (&[f32], &[f32])| {
        let (mut change, mut size) = (0.0_f64, 0.0_f64);
        for (&x, &kept) in x.iter().zip(kept) {
            let gap = f64::from(x - kept);
            change += gap * gap;
            size += f64::from(kept) * f64::from(kept);
        }
        // NaN for a sample with values that are not finite.
        if size > 0.0 { (change / size).sqrt() } else { f64::INFINITY }
    };
    let worst = |worst: f64, error: f64| if error.is_nan() { f64::INFINITY } else { worst.max(error) };
    x.chunks(len).zip(kept.chunks(len)).map(of_row).fold(0.0, worst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::HostQueue;

    /// Two rows of four elements.
    fn call() -> CallFeatures {
        CallFeatures::new(&HostQueue, &[Shape::new(2, 1, 1, 4), Shape::new(2, 1, 1, 2)]).unwrap()
    }

    fn advance(kept: &mut CallFeatures, x: [f32; 8], (interval, max_error): (u32, f64)) -> bool {
        kept.advance(&HostQueue, (&x[..]).into(), &FeatureReuseConfig { interval, max_error }).unwrap()
    }

    /// A full run.
    fn run(kept: &mut CallFeatures, x: [f32; 8]) {
        assert!(!advance(kept, x, (1, 2.0)));
        kept.finish();
    }

    #[test]
    fn features_are_kept_for_fewer_frames_than_the_interval() {
        let mut kept = call();
        let runs = [(); 7].map(|()| {
            let again = advance(&mut kept, [1.0; 8], (3, 0.0));
            if !again {
                kept.finish();
            }
            again
        });
        assert_eq!(runs, [false, true, true, false, true, true, false]);
    }

    #[test]
    fn the_row_that_changed_most_decides() {
        let x = [2.0, 2.0, 2.0, 2.0, 2.5, 2.5, 2.5, 2.5];
        for (bound, is_enough) in [(0.24, false), (0.26, true)] {
            let mut kept = call();
            run(&mut kept, [2.0; 8]);
            assert_eq!(advance(&mut kept, x, (9, bound)), is_enough);
        }
        assert!((estimated_error(&x, &[2.0; 8], 2) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn features_are_not_used_after_a_failed_run_or_for_samples_that_are_not_finite() {
        let mut kept = call();
        run(&mut kept, [1.0; 8]);
        assert!(!advance(&mut kept, [9.0; 8], (9, 0.1)));
        // The run fails.
        assert!(!advance(&mut kept, [9.0; 8], (9, 2.0)));
        for bad in [[f32::NAN; 8], [f32::INFINITY; 8]] {
            run(&mut kept, [1.0; 8]);
            assert!(!advance(&mut kept, bad, (9, 2.0)));
            run(&mut kept, bad);
            assert!(!advance(&mut kept, [1.0; 8], (9, 2.0)));
        }
        run(&mut kept, [0.0; 8]);
        assert!(!advance(&mut kept, [1.0; 8], (9, 2.0)));
    }
}

//! Calibration: records the ranges of activations for int8 quantization.
//!
//! An [`Observing`] executor compiles programs that also output the inputs of all candidate layers, and passes these to
//! an [`Observer`] after each run. The wrapped executor is unaffected. It is for calibration only: a run needs memory
//! for all values simultaneously, and allocates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Constants, Dtype, Executor, FrameKeys, Network, Queue, RunArgs, Scratch, ViewMut};
use crate::error::{Error, ErrorKind, Result};
use crate::net::bytes::{ByteScale, ByteScales, Candidate, candidates, weight_bytes};
use crate::net::{Branches, Program, Shape, ValueId, WeightSource, Weights};

/// Sampled elements of a layer's input per run, evenly spaced.
const SAMPLE: usize = 1 << 14;
/// Maximum total number of samples; then new ones replace old ones.
const MAX_SAMPLE: usize = 1 << 18;
/// Output pixels per run whose inputs are sampled, for estimating the error; and of all runs.
const PATCHES: usize = 2;
const MAX_PATCHES: usize = 24;
/// Maximum number of output channels for that estimate, evenly spaced.
const CHANNELS: usize = 256;

/// Observations of the layers of one network.
#[derive(Debug, Default)]
pub struct Observer {
    // By the name of the weight.
    layers: Mutex<BTreeMap<String, Seen>>,
}

/// The quantization of a layer, and its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// The quantization of its input.
    pub scale: ByteScale,
    /// The error of the output due to quantized input and weights: its root mean square, relative to that of the
    /// output.
    pub error: f64,
}

/// Observations of a layer's input.
#[derive(Debug, Default)]
struct Seen {
    runs: usize,
    /// Number of elements.
    count: usize,
    least: f32,
    largest: f32,
    sample: Vec<f32>,
    /// The index of the next sample to replace.
    next: usize,
    /// Inputs of sampled output pixels, each in the order of a weight's row.
    patches: Vec<Vec<f32>>,
}

impl Observer {
    /// Returns an observer without observations.
    pub fn new() -> Self {
        Self::default()
    }

    fn layers(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the quantization of each layer, by the name of its weight. Slow: reads the weights from `source`.
    ///
    /// # Errors
    ///
    /// `BadModel` for a layer whose input had NaN, and errors of reading.
    pub fn layers_seen(&self, source: &dyn WeightSource) -> Result<BTreeMap<String, Observed>> {
        let one = |(name, seen): (&String, &Seen)| Ok((name.clone(), seen.observed(name, source)?));
        self.layers().iter().map(one).collect()
    }

    fn see(&self, program: &Program, candidate: &Candidate, elements: &[f32]) {
        let name = &program.weight(candidate.weight).name;
        let mut layers = self.layers();
        let seen = layers.entry(name.clone()).or_default();
        seen.add(elements);
        let (x, out) = (program.shape(candidate.input), program.shape(candidate.output));
        for i in 0..PATCHES {
            if seen.patches.len() < MAX_PATCHES {
                // Steps of the golden ratio, which sample pixels evenly without repetition.
                let place = ((seen.runs * PATCHES + i) as f64 * 0.618_033_988_749_895).fract();
                let pixels = out.n * out.pixels();
                let pixel = ((place * pixels as f64) as usize).min(pixels.saturating_sub(1));
                seen.patches.push(patch(candidate, [x, out], pixel, elements));
            }
        }
        seen.runs += 1;
    }
}

impl Seen {
    fn add(&mut self, elements: &[f32]) {
        // `min` and `max` ignore NaN; the sum does not.
        let (mut least, mut largest, mut sum) = (self.least, self.largest, 0.0);
        for &x in elements {
            least = least.min(x);
            largest = largest.max(x);
            sum += x * 0.0;
        }
        (self.least, self.largest) = (least + sum, largest + sum);
        self.count += elements.len();
        let step = elements.len().div_ceil(SAMPLE).max(1);
        // A stride that is a multiple of the channels would sample some channels only.
        let step = if step > 1 { step | 1 } else { step };
        for &x in elements.iter().skip(self.runs % step).step_by(step) {
            if self.sample.len() < MAX_SAMPLE {
                self.sample.push(x);
            } else {
                self.sample[self.next] = x;
                self.next = (self.next + 1) % MAX_SAMPLE;
            }
        }
    }

    fn observed(&self, name: &str, source: &dyn WeightSource) -> Result<Observed> {
        if !self.least.is_finite() || !self.largest.is_finite() {
            let text =
                format!("input of {name}: got values that are not finite, expected finite ones to choose a scale");
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let scale = ByteScale::fit(self.least, self.largest, &self.sample, self.count);
        let shape = source.shape(name).unwrap_or_default();
        let weight = source.read(name, &shape)?;
        Ok(Observed { scale, error: self.error(scale, &weight, shape.first().copied().unwrap_or(0)) })
    }

    /// See [`Observed::error`]; 0 without output.
    fn error(&self, scale: ByteScale, weight: &[f32], c_out: usize) -> f64 {
        let Some(len) = self.patches.first().map(Vec::len).filter(|&len| len > 0) else { return 0.0 };
        let patch_bytes: Vec<Vec<i32>> = (self.patches.iter())
            .map(|patch| patch.iter().map(|&x| i32::from(scale.byte(x)) - i32::from(scale.zero())).collect())
            .collect();
        let mut bytes = vec![0; len];
        let (mut signal, mut noise) = (0.0, 0.0);
        for row in weight.chunks_exact(len).step_by(c_out.div_ceil(CHANNELS).max(1)) {
            let step = f64::from(weight_bytes(row, &mut bytes)) * f64::from(scale.scale());
            for (patch, rounded) in self.patches.iter().zip(&patch_bytes) {
                let exact = dot(row, patch);
                let sum: i32 = rounded.iter().zip(&bytes).map(|(&x, &w)| x * i32::from(w)).sum();
                signal += exact * exact;
                noise += (step * f64::from(sum) - exact).powi(2);
            }
        }
        if signal > 0.0 { (noise / signal).sqrt() } else { 0.0 }
    }
}

/// Computes in short blocks of `f32`, which the compiler vectorizes.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sum = 0.0;
    for (a, b) in a.chunks(512).zip(b.chunks(512)) {
        let mut lanes = [0.0_f32; LANES];
        for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
            lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
        }
        sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
    sum
}

/// The inputs of an output pixel, in the order of a weight's row: by input channel, then tap.
fn patch(candidate: &Candidate, [x, out]: [Shape; 2], pixel: usize, elements: &[f32]) -> Vec<f32> {
    let Candidate { kernel, stride, padding, upsample, .. } = *candidate;
    let enlarged = usize::from(upsample);
    let (row, rest) = (pixel / out.pixels(), pixel % out.pixels());
    let (top, left) = (rest / out.w * stride, rest % out.w * stride);
    let at = |c: usize, tap: usize| {
        let (y, x_at) = (top + tap / kernel, left + tap % kernel);
        let (Some(y), Some(x_at)) = (y.checked_sub(padding.top), x_at.checked_sub(padding.left)) else { return 0.0 };
        let (y, x_at) = (y >> enlarged, x_at >> enlarged);
        let place = ((row * x.h + y) * x.w + x_at) * x.c + c;
        if y < x.h && x_at < x.w { elements.get(place).copied().unwrap_or(0.0) } else { 0.0 }
    };
    (0..x.c).flat_map(|c| (0..kernel * kernel).map(move |tap| (c, tap))).map(|(c, tap)| at(c, tap)).collect()
}

/// Returns the quantization of all candidate layers of `program` after a single run on these inputs: for benchmarks,
/// regardless of the error.
///
/// # Errors
///
/// Those of compiling and running, and of [`Observer::layers_seen`].
pub fn byte_scales(
    executor: &Arc<dyn Executor>,
    program: &Arc<Program>,
    source: &Arc<dyn WeightSource>,
    constant: &[&[f32]],
    frame: &[&[f32]],
) -> Result<ByteScales> {
    let observer = Arc::new(Observer::new());
    let network = Observing::new(executor.clone(), observer.clone()).compile(program, &Weights::new(source.clone()))?;
    let constants = network.constants(constant)?;
    let lens = program.outputs().iter().map(|output| program.shape(output.value).len());
    let mut outputs: Vec<Vec<f32>> = lens.map(|len| vec![0.0; len]).collect();
    let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    network.run_on_host(&constants, &mut Scratch::new(), frame, &mut outputs)?;
    Ok(observer.layers_seen(&**source)?.into_iter().map(|(name, seen)| (name, seen.scale)).collect())
}

/// An executor that observes its networks.
#[derive(Debug)]
pub struct Observing {
    inner: Arc<dyn Executor>,
    observer: Arc<Observer>,
}

impl Observing {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Executor>, observer: Arc<Observer>) -> Self {
        Self { inner, observer }
    }
}

impl Executor for Observing {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn dtype(&self) -> Dtype {
        self.inner.dtype()
    }

    fn is_faster_in_batches(&self) -> bool {
        self.inner.is_faster_in_batches()
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn branch_cost(&self, program: &Program, weights: &Weights, branches: &Branches) -> Result<f64> {
        self.inner.branch_cost(program, weights, branches)
    }

    fn least_scratch_bytes(&self, program: &Program) -> usize {
        self.inner.least_scratch_bytes(program)
    }

    fn queue(&self) -> Arc<dyn Queue> {
        self.inner.queue()
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        let candidates = candidates(program);
        let mut watched: Vec<ValueId> = candidates.iter().map(|candidate| candidate.input).collect();
        watched.sort_unstable();
        watched.dedup();
        let inner = self.inner.compile(&Arc::new(program.with_outputs(&watched)), weights)?;
        Ok(Arc::new(ObservedNetwork {
            inner,
            program: program.clone(),
            candidates,
            watched,
            observer: self.observer.clone(),
        }))
    }
}

#[derive(Debug)]
struct ObservedNetwork {
    inner: Arc<dyn Network>,
    program: Arc<Program>,
    candidates: Vec<Candidate>,
    /// The additional outputs of the inner network.
    watched: Vec<ValueId>,
    observer: Arc<Observer>,
}

impl Network for ObservedNetwork {
    fn program(&self) -> &Program {
        &self.program
    }

    fn scratch_bytes(&self) -> usize {
        self.inner.scratch_bytes()
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        self.inner.constants(inputs)
    }

    fn frame_keys_bytes(&self) -> usize {
        self.inner.frame_keys_bytes()
    }

    fn frame_keys(&self) -> Result<FrameKeys> {
        self.inner.frame_keys()
    }

    fn run(&self, args: RunArgs<'_, '_>) -> Result<()> {
        let len = |&value: &ValueId| self.program.shape(value).len();
        let mut values: Vec<Vec<f32>> = self.watched.iter().map(|value| vec![0.0; len(value)]).collect();
        let RunArgs { constants, scratch, inputs, outputs, past, changed, times } = args;
        let watched = values.iter_mut().map(|value| ViewMut::Host(value));
        let mut outputs: Vec<ViewMut<'_>> = outputs.iter_mut().map(ViewMut::reborrow).chain(watched).collect();
        self.inner.run(RunArgs { constants, scratch, inputs, outputs: &mut outputs, past, changed, times })?;
        drop(outputs);
        for candidate in &self.candidates {
            let place = self.watched.binary_search(&candidate.input);
            if let Some(elements) = place.ok().and_then(|place| values.get(place)) {
                self.observer.see(&self.program, candidate, elements);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::reference::ReferenceExecutor;
    use crate::load::RandomWeights;
    use crate::net::{ProgramBuilder, Rate};

    fn program() -> Arc<Program> {
        let mut builder = ProgramBuilder::new("test");
        let x = builder.input("x", Shape::new(1, 6, 5, 32), Rate::Frame);
        let y = builder.conv3x3("conv", x, 32);
        let y = builder.silu(y);
        let z = builder.linear("linear", y, 64, true);
        builder.output("z", z);
        Arc::new(builder.finish().unwrap())
    }

    fn observe(elements: &[f32]) -> (Vec<f32>, Result<BTreeMap<String, Observed>>) {
        let program = program();
        let source = Arc::new(RandomWeights::new(1, program.weights()));
        let observer = Arc::new(Observer::new());
        let executor = Observing::new(Arc::new(ReferenceExecutor), observer.clone());
        let network = executor.compile(&program, &Weights::new(source.clone())).unwrap();
        let constants = network.constants(&[]).unwrap();
        let mut output = vec![0.0; 6 * 5 * 64];
        network.run_on_host(&constants, &mut Scratch::new(), &[elements], &mut [&mut output]).unwrap();
        (output, observer.layers_seen(&*source))
    }

    #[test]
    fn observed_network_gives_equal_results_and_records_ranges() {
        let elements: Vec<f32> = (0..6 * 5 * 32).map(|i| (i as f32 * 0.71).sin() * 3.0).collect();
        let (output, layers) = observe(&elements);
        let program = program();
        let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights())));
        let network = ReferenceExecutor.compile(&program, &weights).unwrap();
        let mut plain = vec![0.0; output.len()];
        let constants = network.constants(&[]).unwrap();
        network.run_on_host(&constants, &mut Scratch::new(), &[&elements], &mut [&mut plain]).unwrap();
        assert_eq!(output, plain);
        let layers = layers.unwrap();
        assert_eq!(layers.keys().collect::<Vec<_>>(), ["conv.weight", "linear.weight"]);
        let conv = layers["conv.weight"];
        assert!((5.5 / 255.0..6.01 / 255.0).contains(&conv.scale.scale()) && conv.scale.zero().abs_diff(127) < 3);
        // SiLU goes no lower than -0.28.
        assert!(layers["linear.weight"].scale.number(0) > -0.3);
        for seen in layers.values() {
            assert!((1e-4..0.02).contains(&seen.error), "{seen:?}");
        }
    }

    #[test]
    fn nan_is_reported_with_its_layer() {
        let mut elements = vec![0.5; 6 * 5 * 32];
        elements[100] = f32::NAN;
        let refused = observe(&elements).1.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadModel);
        assert!(refused.to_string().contains(".weight"), "{refused}");
    }
}

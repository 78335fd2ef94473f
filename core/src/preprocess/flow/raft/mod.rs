//! Optical flow by RAFT-small.

mod correlation;

use std::sync::Arc;

use self::correlation::CorrelationVolume;
use super::{FlowSource, dense};
use crate::error::Result;
use crate::exec::{Executor, memory};
use crate::models::annotators::{
    RAFT_LIKENESS, RAFT_STEP, RaftConfig, raft_candidate_program, raft_context_program, raft_features_program,
    raft_head_program, raft_motion_program, raft_weights,
};
use crate::net::{WeightSource, bilinear};
use crate::preprocess::Image;
use crate::preprocess::network_runner::{Loaded, Running};
use crate::preprocess::resize::{Interpolation, Resizer};

/// Number of iterations of a flow.
const ROUNDS: usize = 12;
/// Minimum side of pictures, so that the coarsest level of the pyramid is not empty.
const SHORTEST: usize = 128;

/// RAFT's programs at one size, shared.
#[derive(Debug)]
pub(in crate::preprocess) struct Raft {
    features: Arc<Loaded>,
    context: Arc<Loaded>,
    motion: Arc<Loaded>,
    candidate: Arc<Loaded>,
    head: Arc<Loaded>,
    /// Width and height in pixels.
    size: (usize, usize),
    config: RaftConfig,
}

impl Raft {
    /// Returns the width and height at which the flow is computed for `size`.
    pub(in crate::preprocess) fn size(size: (usize, usize)) -> (usize, usize) {
        let side = |side: usize| (side.max(SHORTEST) + RAFT_STEP / 2) / RAFT_STEP * RAFT_STEP;
        (side(size.0), side(size.1))
    }

    /// Compiles the programs for pictures of `size`, a result of [`size`](Self::size).
    ///
    /// # Errors
    ///
    /// `BadModel` for weights of another network, and those of the executor.
    pub(in crate::preprocess) fn new(
        executor: &dyn Executor,
        weights: Arc<dyn WeightSource>,
        size: (usize, usize),
    ) -> Result<Self> {
        let config = RaftConfig::of(&*weights)?;
        let (width, height) = size;
        let (w, h) = (width / RAFT_STEP, height / RAFT_STEP);
        memory::require(CorrelationVolume::bytes((w, h), config.features[4]), "optical flow")?;
        let weights: Arc<dyn WeightSource> = Arc::new(raft_weights(weights, &config)?);
        let load = |program| Ok::<_, crate::Error>(Arc::new(Loaded::new(executor, program, weights.clone())?));
        Ok(Self {
            features: load(raft_features_program(&config, height, width)?)?,
            context: load(raft_context_program(&config, height, width)?)?,
            motion: load(raft_motion_program(&config, h, w)?)?,
            candidate: load(raft_candidate_program(&config, h, w)?)?,
            head: load(raft_head_program(&config, h, w)?)?,
            size,
            config,
        })
    }
}

/// The state of RAFT for one processor.
#[derive(Debug)]
pub(super) struct RaftFlow {
    features: Running,
    context: Running,
    motion: Running,
    candidate: Running,
    head: Running,
    size: (usize, usize),
    /// The hidden state of a position.
    channels: usize,
    resizer: Resizer,
    /// Both pictures at this size, in -1..1.
    pictures: [Image; 2],
    /// The previous newer picture, and its features.
    last: Image,
    last_features: Vec<f32>,
    correlation: CorrelationVolume,
    numbers: Vec<f32>,
    hidden: Vec<f32>,
    /// The gated part of `hidden`.
    passed: Vec<f32>,
    surroundings: Vec<f32>,
    /// The flow of each position, in positions.
    coarse: Vec<f32>,
    fine: Image,
}

impl RaftFlow {
    pub(super) fn new(raft: &Raft) -> Self {
        let run = |loaded: &Arc<Loaded>| Running::new(loaded.clone());
        let places = (raft.size.0 / RAFT_STEP, raft.size.1 / RAFT_STEP);
        Self {
            features: run(&raft.features),
            context: run(&raft.context),
            motion: run(&raft.motion),
            candidate: run(&raft.candidate),
            head: run(&raft.head),
            size: raft.size,
            channels: raft.config.hidden,
            resizer: Resizer::default(),
            pictures: [Image::new(), Image::new()],
            last: Image::new(),
            last_features: Vec::new(),
            correlation: CorrelationVolume::new(places, raft.config.features[4]),
            numbers: vec![0.0; places.0 * places.1 * RAFT_LIKENESS],
            hidden: Vec::new(),
            passed: Vec::new(),
            surroundings: Vec::new(),
            coarse: vec![0.0; places.0 * places.1 * 2],
            fine: Image::new(),
        }
    }

    /// Computes the features of both pictures and the context.
    fn encode(&mut self) -> Result<()> {
        let [previous, current] = &self.pictures;
        if self.last != *previous {
            set(&mut self.last_features, first(self.features.run(previous.pixels())?));
        }
        // If this fails, the cached features are invalid.
        self.last.resize(0, 0, 0);
        let new = first(self.features.run(current.pixels())?);
        self.correlation.compare(&self.last_features, new);
        set(&mut self.last_features, new);
        self.last.copy_from(current);
        if let [hidden, surroundings, ..] = self.context.run(previous.pixels())? {
            set(&mut self.hidden, hidden);
            set(&mut self.surroundings, surroundings);
        }
        Ok(())
    }

    /// Runs one iteration of the flow.
    fn round(&mut self) -> Result<()> {
        self.correlation.look_up(&self.coarse, &mut self.numbers);
        let inputs = [&*self.hidden, &self.surroundings, &self.numbers, &self.coarse];
        let [gates, given, ..] = self.motion.run_on(&inputs)? else { return Ok(()) };
        let channels = self.channels;
        // For each position the update gates, then the reset gates.
        self.passed.resize(self.hidden.len(), 0.0);
        let places = self.passed.chunks_exact_mut(channels).zip(self.hidden.chunks_exact(channels));
        for ((passed, hidden), gates) in places.zip(gates.chunks_exact(2 * channels)) {
            for ((passed, hidden), gate) in passed.iter_mut().zip(hidden).zip(gates.iter().skip(channels)) {
                *passed = sigmoid(*gate) * hidden;
            }
        }
        let candidate = first(self.candidate.run_on(&[&self.passed, given])?);
        let places = self.hidden.chunks_exact_mut(channels).zip(candidate.chunks_exact(channels));
        for ((hidden, candidate), gates) in places.zip(gates.chunks_exact(2 * channels)) {
            for ((hidden, new), gate) in hidden.iter_mut().zip(candidate).zip(gates) {
                let share = sigmoid(*gate);
                *hidden = (1.0 - share) * *hidden + share * new;
            }
        }
        for (flow, change) in self.coarse.iter_mut().zip(first(self.head.run(&self.hidden)?)) {
            *flow += change;
        }
        Ok(())
    }

    /// Computes the flow of pixels, in pixels, from that of positions.
    fn enlarge(&mut self) {
        let (width, height) = self.size;
        let (w, h) = (width / RAFT_STEP, height / RAFT_STEP);
        self.fine.resize(width, height, 2);
        let places = self.coarse.as_chunks::<2>().0;
        let at = |x: usize, y: usize| places.get(y * w + x).copied().unwrap_or([0.0; 2]);
        let lines = self.fine.pixels_mut().chunks_exact_mut(2 * width).enumerate();
        for (y, line) in lines {
            let (top, lower) = bilinear(y, h, height, true);
            let bottom = (top + 1).min(h - 1);
            for (x, to) in line.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let (left, more) = bilinear(x, w, width, true);
                let right = (left + 1).min(w - 1);
                let corners = [at(left, top), at(right, top), at(left, bottom), at(right, bottom)];
                for (i, to) in to.iter_mut().enumerate() {
                    let [a, b, c, d] = corners.map(|corner| corner[i]);
                    let (upper, below) = (a + (b - a) * more, c + (d - c) * more);
                    *to = RAFT_STEP as f32 * (upper + (below - upper) * lower);
                }
            }
        }
    }
}

impl FlowSource for RaftFlow {
    fn flow(&mut self, previous: &Image, current: &Image, flow: &mut Image) -> Result<()> {
        for (to, from) in self.pictures.iter_mut().zip([previous, current]) {
            self.resizer.resize(Interpolation::Bilinear, from, self.size, to);
            to.pixels_mut().iter_mut().for_each(|x| *x = *x * 2.0 - 1.0);
        }
        self.encode()?;
        self.coarse.fill(0.0);
        for _ in 0..ROUNDS {
            self.round()?;
        }
        self.enlarge();
        dense::scaled(&mut self.resizer, &self.fine, (previous.width(), previous.height()), flow);
        Ok(())
    }

    fn evaluations(&self) -> u64 {
        [&self.features, &self.context, &self.motion, &self.candidate, &self.head]
            .map(Running::evaluations)
            .iter()
            .sum()
    }
}

/// Returns the first output of a program.
fn first(outputs: &[Vec<f32>]) -> &[f32] {
    outputs.first().map_or(&[], Vec::as_slice)
}

/// Copies `from` to `to`.
fn set(to: &mut Vec<f32>, from: &[f32]) {
    to.clear();
    to.extend_from_slice(from);
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::reference::ReferenceExecutor;
    use crate::load::ModelSource;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/flow");

    /// Returns the network of the reference data, at its size.
    fn raft() -> RaftFlow {
        let source = ModelSource::folder(format!("{FOLDER}/models"));
        let id = "torchvision/raft_small".parse().unwrap();
        let weights = source.weights(&id, "raft_small_C_T_V2-01064c6d.safetensors").unwrap();
        RaftFlow::new(&Raft::new(&ReferenceExecutor, Arc::new(weights), (136, 128)).unwrap())
    }

    /// Returns two frames of the reference data, and the flow of every fourth pixel.
    fn golden() -> ([Image; 2], Vec<f32>) {
        let bytes = std::fs::read(format!("{FOLDER}/golden.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |name| -> Vec<f32> {
            tensors.tensor(name).unwrap().data().as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
        };
        let frame = |name| {
            let (small, mut large) = (Image::from_pixels(17, 16, 3, numbers(name)).unwrap(), Image::new());
            Resizer::default().resize(Interpolation::Bilinear, &small, (136, 128), &mut large);
            large
        };
        (["previous", "current"].map(frame), numbers("flow"))
    }

    #[test]
    fn flow_matches_torchvision() {
        let (mut raft, ([previous, current], expected), mut flow) = (raft(), golden(), Image::new());
        raft.flow(&previous, &current, &mut flow).unwrap();
        assert_eq!((flow.width(), flow.height(), flow.channels()), (136, 128, 2));
        let found = (0..32).flat_map(|y| (0..34).map(move |x| (y * 4 * 136 + x * 4) * 2));
        let found: Vec<f32> = found.flat_map(|at| [flow.pixels()[at], flow.pixels()[at + 1]]).collect();
        assert_eq!(found.len(), expected.len());
        let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
        assert!(largest > 5.0 && apart <= 1e-3 * largest, "{apart} of {largest}");
    }

    #[test]
    fn the_features_of_the_previous_frame_are_reused() {
        let (mut known, ([a, b], _)) = (raft(), golden());
        let [mut first, mut second, mut new] = [Image::new(), Image::new(), Image::new()];
        known.flow(&a, &b, &mut first).unwrap();
        known.flow(&b, &a, &mut second).unwrap();
        raft().flow(&b, &a, &mut new).unwrap();
        assert!(second == new && second != first);
        // A frame other than the previous one is encoded.
        known.flow(&b, &a, &mut second).unwrap();
        assert!(second == new);
        assert_eq!(known.evaluations(), (3 + 2 + 3) + 3 * 36);
    }

    #[test]
    fn sides_are_multiples_of_eight_and_at_least_the_minimum() {
        assert_eq!(Raft::size((512, 512)), (512, 512));
        assert_eq!(Raft::size((16, 131)), (128, 128));
        assert_eq!(Raft::size((4095, 132)), (4096, 136));
    }
}

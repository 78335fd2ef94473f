//! A picture between two others, by RIFE's network.
//!
//! The programs of the network are compiled for one size ([`Rife`]). Between them, pictures and features are warped by
//! the flows here ([`RifeRun`]).

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::exec::Dtype;
use crate::exec::cpu::CpuExecutor;
use crate::models::annotators::{RIFE_FLOWS, RifeConfig, rife_block_program, rife_encoder_program, rife_weights};
use crate::net::{Footprint, WeightSource};
use crate::preprocess::{Image, Loaded, Running, sample};

/// Channels of a picture.
const COLOURS: usize = 3;

/// RIFE's programs for pictures of one size, shared.
///
/// They run in `f32` on the thread of the caller alone, whatever the networks of frames run on: in bf16 flows are too
/// inaccurate, and frames need the executor's threads.
#[derive(Debug)]
pub(crate) struct Rife {
    encoder: Option<Arc<Loaded>>,
    blocks: Vec<Arc<Loaded>>,
    config: RifeConfig,
    /// Width and height of pictures.
    size: (usize, usize),
}

impl Rife {
    /// Compiles the programs for pictures of the width and height `size`.
    ///
    /// # Errors
    ///
    /// `BadModel` for weights of another network, and `OutOfMemory`.
    pub(crate) fn new(weights: Arc<dyn WeightSource>, size: (usize, usize)) -> Result<Self> {
        let executor = CpuExecutor::alone(Dtype::F32)?;
        let (weights, config) = rife_weights(weights)?;
        let weights: Arc<dyn WeightSource> = Arc::new(weights);
        let (w, h) = padded(&config, size);
        let load = |program| Loaded::new(&executor, program, weights.clone()).map(Arc::new);
        let encoder = rife_encoder_program(&config, h, w)?.map(load).transpose()?;
        let blocks = (0..config.blocks()).map(|block| load(rife_block_program(&config, block, h, w)?));
        Ok(Self { encoder, blocks: blocks.collect::<Result<_>>()?, config, size })
    }

    /// Returns the memory that the network of `weights` needs for pictures of the width and height `size`; reads no
    /// weights.
    ///
    /// # Errors
    ///
    /// `BadModel` for weights of another network.
    pub(crate) fn footprint(weights: Arc<dyn WeightSource>, size: (usize, usize)) -> Result<Footprint> {
        let (_, config) = rife_weights(weights)?;
        let (w, h) = padded(&config, size);
        let encoder = rife_encoder_program(&config, h, w)?.map(|program| program.footprint());
        let blocks = (0..config.blocks()).map(|block| Ok(rife_block_program(&config, block, h, w)?.footprint()));
        blocks.chain(encoder.map(Ok)).try_fold(Footprint::default(), |sum, one: Result<_>| Ok(sum.plus(one?)))
    }
}

/// Returns the width and height to which pictures are padded.
fn padded(config: &RifeConfig, size: (usize, usize)) -> (usize, usize) {
    let side = |side: usize| side.max(1).next_multiple_of(config.step());
    (side(size.0), side(size.1))
}

/// The network with the memory for two pictures and one between them. Allocates nothing after the first.
#[derive(Debug)]
pub(super) struct RifeRun {
    rife: Arc<Rife>,
    encoder: Option<Running>,
    blocks: Vec<Running>,
    /// The older and the newer picture, padded, each pixel with its features; and whether they are up to date.
    sides: [(Image, bool); 2],
    /// A padded picture.
    picture: Image,
    /// Both pictures and the features of both, warped.
    warped: Image,
    /// The time, for each pixel of a block.
    times: Vec<f32>,
}

impl RifeRun {
    /// Returns one without pictures.
    pub(super) fn new(rife: Arc<Rife>) -> Self {
        Self {
            encoder: rife.encoder.clone().map(Running::new),
            blocks: rife.blocks.iter().cloned().map(Running::new).collect(),
            sides: [(Image::new(), false), (Image::new(), false)],
            picture: Image::new(),
            warped: Image::new(),
            times: Vec::new(),
            rife,
        }
    }

    /// Returns whether it runs the programs of `rife`.
    pub(super) fn runs(&self, rife: &Arc<Rife>) -> bool {
        Arc::ptr_eq(&self.rife, rife)
    }

    /// Returns whether it is for pictures of the size of `picture`.
    pub(super) fn fits(&self, picture: &Image) -> bool {
        self.rife.size == (picture.width(), picture.height())
    }

    /// The newer picture becomes the older one.
    pub(super) fn advance(&mut self) {
        self.sides.swap(0, 1);
        self.sides[1].1 = false;
    }

    /// Writes the picture at `time` (0..1) between two pictures, `[height, width, 3]` of the network's size, in 0..1.
    ///
    /// # Errors
    ///
    /// Errors of the executor.
    pub(super) fn picture(&mut self, pictures: [&Image; 2], time: f32, output: &mut Image) -> Result<()> {
        match self.rife.config.features() {
            0 => self.between::<3>(pictures, time, output),
            4 => self.between::<7>(pictures, time, output),
            8 => self.between::<11>(pictures, time, output),
            16 => self.between::<19>(pictures, time, output),
            other => {
                let text = format!("channels of a picture's features: got {other}, expected 0, 4, 8 or 16");
                Err(Error::new(ErrorKind::Internal, text))
            }
        }
    }

    /// Like [`picture`](Self::picture), for sides of `N` channels.
    fn between<const N: usize>(&mut self, pictures: [&Image; 2], time: f32, output: &mut Image) -> Result<()> {
        let (width, height) = padded(&self.rife.config, self.rife.size);
        for (index, picture) in pictures.into_iter().enumerate() {
            if !self.sides[index].1 {
                self.observe::<N>(index, picture)?;
            }
        }
        let Self { rife, blocks, sides: [(older, _), (newer, _)], warped, times, .. } = self;
        let sides = [&*older, &*newer];
        warped.resize(width, height, 2 * N);
        join::<N>(sides, warped);
        times.clear();
        times.resize(width * height, time);
        let mut state: &[Vec<f32>] = &[];
        for (block, running) in blocks.iter_mut().enumerate() {
            let scale = rife.config.scale(block);
            let times = &times[..(width / scale) * (height / scale)];
            state = match state {
                [] => running.run_on(&[warped.pixels(), times])?,
                [flows, mask] => running.run_on(&[warped.pixels(), mask, flows, times])?,
                [flows, mask, carried, ..] => running.run_on(&[warped.pixels(), mask, carried, flows, times])?,
                [_] => return Err(Error::new(ErrorKind::Internal, "a block of the network has no mask")),
            };
            if let [flows, ..] = state
                && block + 1 < rife.config.blocks()
            {
                warp::<N>(sides, flows, warped);
            }
        }
        if let [flows, mask, ..] = state {
            blend::<N>(sides, (flows, mask), rife.size, output);
        }
        Ok(())
    }

    /// Pads a picture, and computes its features.
    fn observe<const N: usize>(&mut self, index: usize, picture: &Image) -> Result<()> {
        let (width, height) = padded(&self.rife.config, self.rife.size);
        pad(picture, (width, height), &mut self.picture);
        let features = match &mut self.encoder {
            Some(encoder) => encoder.run(self.picture.pixels())?.first().map_or(&[][..], Vec::as_slice),
            None => &[],
        };
        let (side, is_known) = &mut self.sides[index];
        side.resize(width, height, N);
        let pixels = self.picture.pixels().as_chunks::<COLOURS>().0.iter();
        let mut features = features.chunks_exact((N - COLOURS).max(1));
        for (to, from) in side.pixels_mut().as_chunks_mut::<N>().0.iter_mut().zip(pixels) {
            to[..COLOURS].copy_from_slice(from);
            to[COLOURS..].copy_from_slice(features.next().unwrap_or(&[]));
        }
        *is_known = true;
        Ok(())
    }
}

/// Copies a picture, clamped to 0..1, with zeros to the right and below up to the width and height `size`.
fn pad(picture: &Image, size: (usize, usize), padded: &mut Image) {
    padded.resize(size.0, size.1, COLOURS);
    let own = picture.width() * COLOURS;
    let mut lines = picture.pixels().chunks_exact(own.max(1));
    for to in padded.pixels_mut().chunks_exact_mut(size.0 * COLOURS) {
        let from = lines.next().unwrap_or(&[]);
        let (inside, outside) = to.split_at_mut(from.len());
        for (to, from) in inside.iter_mut().zip(from) {
            *to = from.clamp(0.0, 1.0);
        }
        outside.fill(0.0);
    }
}

/// Writes a pixel of both sides as the network reads them: both pictures, then the features of both.
fn put<const N: usize>(to: &mut [f32], [older, newer]: [&[f32; N]; 2]) {
    let (pictures, features) = to.split_at_mut(2 * COLOURS);
    for (index, side) in [older, newer].into_iter().enumerate() {
        pictures[index * COLOURS..][..COLOURS].copy_from_slice(&side[..COLOURS]);
        features[index * (N - COLOURS)..][..N - COLOURS].copy_from_slice(&side[COLOURS..]);
    }
}

/// Writes both sides as they are.
fn join<const N: usize>([older, newer]: [&Image; 2], joined: &mut Image) {
    let sides = older.pixels().as_chunks::<N>().0.iter().zip(newer.pixels().as_chunks::<N>().0);
    for (to, (older, newer)) in joined.pixels_mut().chunks_exact_mut(2 * N).zip(sides) {
        put(to, [older, newer]);
    }
}

/// Returns the pixels of both sides at a place, each moved by its flow.
fn moved<const N: usize>(sides: [&Image; 2], place: usize, &[u0, v0, u1, v1]: &[f32; RIFE_FLOWS]) -> [[f32; N]; 2] {
    let width = sides[0].width().max(1);
    let (x, y) = ((place % width) as f32, (place / width) as f32);
    [sample(sides[0], x + u0, y + v0), sample(sides[1], x + u1, y + v1)]
}

/// Writes both sides, each warped by its flow.
fn warp<const N: usize>(sides: [&Image; 2], flows: &[f32], warped: &mut Image) {
    let flows = flows.as_chunks::<RIFE_FLOWS>().0.iter().enumerate();
    for (to, (place, flows)) in warped.pixels_mut().chunks_exact_mut(2 * N).zip(flows) {
        let [older, newer] = moved::<N>(sides, place, flows);
        put(to, [&older, &newer]);
    }
}

/// Warps both pictures, and blends them by the mask, which is the logit of the older one's share; the result has the
/// width and height `size`.
fn blend<const N: usize>(
    sides: [&Image; 2],
    (flows, mask): (&[f32], &[f32]),
    size: (usize, usize),
    output: &mut Image,
) {
    let width = sides[0].width();
    output.resize(size.0, size.1, COLOURS);
    let flows = flows.as_chunks::<RIFE_FLOWS>().0;
    let lines = output.pixels_mut().chunks_exact_mut(COLOURS * size.0.max(1)).enumerate();
    for (y, line) in lines {
        let places = (y * width..).zip(flows[y * width..].iter().zip(&mask[y * width..]));
        for (to, (place, (flows, logit))) in line.as_chunks_mut::<COLOURS>().0.iter_mut().zip(places) {
            let [older, newer] = moved::<N>(sides, place, flows);
            let share = 1.0 / (1.0 + (-logit).exp());
            *to = std::array::from_fn(|i| older[i] * share + newer[i] * (1.0 - share));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;

//! Warps both pictures to a time between them.
//!
//! The flow of each picture is carried along itself to that time: where several land, the one that explains the pictures
//! best stays. Each pixel is then fetched from both pictures. The content of one of them counts by how well its own flow
//! agrees, so that what is hidden in one picture is taken from the other. Where neither agrees, the pictures are
//! cross-faded in place.

use super::motion::Motion;
use crate::preprocess::{Image, sample};

/// The disagreement of flows, in pixels of the reduced size, at which content counts half.
const AGREES: f32 = 1.0;
/// The least weight of content relative to that of a cross-fade.
const LEAST: f32 = 0.02;
/// The difference of flows in pixels, up to which they are interpolated.
const SMOOTH: f32 = 1.0;
/// The motion in pixels of the reduced size, and the difference of both pictures, below which a pixel stays where it is.
const STILL: f32 = 0.25;
const UNCHANGED: f32 = 1.5 / 255.0;
/// How much a disagreement of one pixel counts as a difference of values, where several flows land at a pixel.
const DISAGREEMENT: f32 = 0.05;
/// The error of a pixel at which no flow has landed.
const EMPTY: f32 = f32::INFINITY;

/// A warp, with its scratch memory.
#[derive(Debug, Default)]
pub(super) struct Warp {
    /// The motion from the older to the newer picture at the time: `[height, width, 2]`, at the reduced size.
    field: Image,
    /// The same, and how much the content of the older and of the newer picture counts: `[height, width, 4]`.
    weighed: Image,
    /// The error of the flow that landed at each pixel.
    errors: Vec<f32>,
}

impl Warp {
    /// Writes the picture at `time` (0..1) between two pictures of the same size, `[height, width, 3]`.
    pub(super) fn run(&mut self, pictures: [&Image; 2], motion: &Motion, time: f32, output: &mut Image) {
        self.project(motion, time);
        self.fill();
        self.weigh(motion, time);
        self.blend(pictures, time, output);
    }

    /// Carries both flows to `time`.
    fn project(&mut self, motion: &Motion, time: f32) {
        let [older, _] = motion.flows();
        let (width, height) = (older.width(), older.height());
        self.field.resize(width, height, 2);
        self.errors.clear();
        self.errors.resize(width * height, EMPTY);
        let field = self.field.pixels_mut().as_chunks_mut::<2>().0;
        // The way from each picture to the time, as a share of its flow, and the direction of its flow.
        for (way, (share, sign)) in [(time, 1.0), (1.0 - time, -1.0)].into_iter().enumerate() {
            let (flow, back) = (&motion.flows()[way], &motion.flows()[1 - way]);
            let flows = flow.pixels().as_chunks::<2>().0.iter().zip(motion.errors()[way].pixels());
            for (place, (&[u, v], &error)) in flows.enumerate() {
                let (x, y) = ((place % width) as f32, (place / width) as f32);
                let error = error + DISAGREEMENT * disagreement(back, [x + u, y + v], [-u, -v]);
                let (x, y) = (x + share * u, y + share * v);
                if !(x > -1.0 && y > -1.0 && x < width as f32 && y < height as f32) {
                    continue;
                }
                let (left, top) = (x.floor(), y.floor());
                // On all pixels that it touches by half, so that an expansion leaves few holes.
                for (x, y) in [(left, top), (left + 1.0, top), (left, top + 1.0), (left + 1.0, top + 1.0)]
                    .into_iter()
                    .filter(|(to_x, to_y)| (to_x - x).abs() <= 0.75 && (to_y - y).abs() <= 0.75)
                    .filter(|(x, y)| *x >= 0.0 && *y >= 0.0 && *x < width as f32 && *y < height as f32)
                {
                    let to = y as usize * width + x as usize;
                    if let (Some(best), Some(field)) = (self.errors.get_mut(to), field.get_mut(to))
                        && error < *best
                    {
                        (*best, *field) = (error, [sign * u, sign * v]);
                    }
                }
            }
        }
    }

    /// Gives pixels at which no flow has landed that of the neighbour on the left, or else on the right.
    fn fill(&mut self) {
        let width = self.field.width().max(1);
        let field = self.field.pixels_mut().as_chunks_mut::<2>().0;
        for (line, errors) in field.chunks_exact_mut(width).zip(self.errors.chunks_exact(width)) {
            let Some(first) = errors.iter().position(|&error| error < EMPTY) else {
                line.fill([0.0; 2]);
                continue;
            };
            let mut last = line[first];
            for (flow, &error) in line.iter_mut().zip(errors) {
                if error < EMPTY {
                    last = *flow;
                } else {
                    *flow = last;
                }
            }
        }
    }

    /// Adds how much the content of both pictures counts at each pixel.
    fn weigh(&mut self, motion: &Motion, time: f32) {
        let (width, height) = (self.field.width(), self.field.height());
        let [forwards, backwards] = motion.flows();
        self.weighed.resize(width, height, 4);
        let places = self.weighed.pixels_mut().as_chunks_mut::<4>().0.iter_mut().enumerate();
        for ((place, to), &[u, v]) in places.zip(self.field.pixels().as_chunks::<2>().0) {
            let (x, y) = ((place % width) as f32, (place / width) as f32);
            let (back, on) = (-time, 1.0 - time);
            let older = agreement(disagreement(forwards, [x + back * u, y + back * v], [u, v]));
            let newer = agreement(disagreement(backwards, [x + on * u, y + on * v], [-u, -v]));
            *to = [u, v, older, newer];
        }
    }

    /// Fetches each pixel from both pictures.
    fn blend(&self, [older, newer]: [&Image; 2], time: f32, output: &mut Image) {
        let (width, height) = (older.width(), older.height());
        output.resize(width, height, 3);
        let scale = [self.field.width() as f32 / width as f32, self.field.height() as f32 / height as f32];
        let shares = [1.0 - time, time];
        let lines = output.pixels_mut().chunks_exact_mut(3 * width);
        let lines = lines.zip(older.pixels().chunks_exact(3 * width)).zip(newer.pixels().chunks_exact(3 * width));
        for (y, ((to, before), after)) in lines.enumerate() {
            let y = y as f32;
            let pixels = before.as_chunks::<3>().0.iter().zip(after.as_chunks::<3>().0);
            for (x, (to, (before, after))) in to.as_chunks_mut::<3>().0.iter_mut().zip(pixels).enumerate() {
                let x = x as f32;
                // The centre of the pixel, at the reduced size.
                let [u, v, seen_before, seen_after] = self.at([(x + 0.5) * scale[0] - 0.5, (y + 0.5) * scale[1] - 0.5]);
                let faded: [f32; 3] = std::array::from_fn(|i| shares[0] * before[i] + shares[1] * after[i]);
                let change = (0..3).fold(0.0_f32, |change, i| change.max((before[i] - after[i]).abs()));
                if u.abs().max(v.abs()) < STILL && change < UNCHANGED {
                    *to = faded;
                    continue;
                }
                let (u, v) = (u / scale[0], v / scale[1]);
                let before = sample::<3>(older, x - time * u, y - time * v);
                let after = sample::<3>(newer, x + (1.0 - time) * u, y + (1.0 - time) * v);
                let weights = [shares[0] * seen_before, shares[1] * seen_after, LEAST * shares[0].max(shares[1])];
                let scale = 1.0 / (weights[0] + weights[1] + weights[2]);
                let weights = weights.map(|weight| weight * scale);
                *to = std::array::from_fn(|i| weights[0] * before[i] + weights[1] * after[i] + weights[2] * faded[i]);
            }
        }
    }

    /// Returns the motion and the weights at a position of the reduced size: interpolated, or the nearest at an edge.
    fn at(&self, [x, y]: [f32; 2]) -> [f32; 4] {
        let nearest = nearest::<4>(&self.weighed, [x, y]);
        let smooth = sample::<4>(&self.weighed, x, y);
        let is_near = (smooth[0] - nearest[0]).abs().max((smooth[1] - nearest[1]).abs()) <= SMOOTH / 2.0;
        if is_near { smooth } else { nearest }
    }
}

/// Returns the pixel nearest to a position, which is clamped.
fn nearest<const N: usize>(image: &Image, [x, y]: [f32; 2]) -> [f32; N] {
    // Rounded, as positions are not negative; NaN becomes 0.
    let place = |x: f32, size: usize| ((x + 0.5).max(0.0) as usize).min(size.saturating_sub(1));
    let place = place(y, image.height()) * image.width() + place(x, image.width());
    image.pixels().as_chunks::<N>().0.get(place).copied().unwrap_or([0.0; N])
}

/// Returns the distance in pixels between the flow at a position and `expected`; large outside the picture.
fn disagreement(flow: &Image, [x, y]: [f32; 2], [u, v]: [f32; 2]) -> f32 {
    let outside = |x: f32, size: usize| (-0.5 - x).max(x - (size as f32 - 0.5)).max(0.0);
    let [own_u, own_v] = nearest::<2>(flow, [x, y]);
    (own_u - u).hypot(own_v - v) + 4.0 * outside(x, flow.width()).max(outside(y, flow.height()))
}

/// Returns the weight of content whose flow is off by some pixels: 1 for none, half for [`AGREES`].
fn agreement(disagreement: f32) -> f32 {
    let ratio = disagreement / AGREES;
    1.0 / (1.0 + ratio * ratio * ratio * ratio)
}

//! The correlation of the features of two pictures, around the positions that a flow leads to.
//!
//! The correlation of two places is the product of their features; a table of all pairs would have the
//! square of their number, so products are computed when they are read, and kept until the flow leads elsewhere.

use crate::models::annotators::{RAFT_LEVELS, RAFT_LIKENESS, RAFT_RADIUS, RAFT_WINDOW};

/// Whole places of a line that are needed for a window between them.
const WHOLE: usize = RAFT_WINDOW + 1;
/// Numbers of a window.
const AREA: usize = RAFT_WINDOW * RAFT_WINDOW;
/// Numbers that are multiplied at a time.
const LANES: usize = 16;

/// Compares places, and keeps its memory.
#[derive(Debug)]
pub(super) struct CorrelationVolume {
    /// Features of a place.
    channels: usize,
    /// Places in a line of the older picture.
    width: usize,
    older: Vec<f32>,
    /// The newer picture, each level half the one before.
    levels: Vec<Level>,
    /// For each position of the older picture, the window at each level.
    windows: Vec<[Window; RAFT_LEVELS]>,
}

#[derive(Debug)]
struct Level {
    width: usize,
    height: usize,
    features: Vec<f32>,
}

/// The correlation of whole places around a corner, line by line.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// The place left and above of the middle, if anything was looked at.
    corner: Option<[i32; 2]>,
    products: [[f32; WHOLE]; WHOLE],
}

const NOTHING: Window = Window { corner: None, products: [[0.0; WHOLE]; WHOLE] };

impl CorrelationVolume {
    /// Returns one for pictures of this width and height in positions, with this number of features each.
    pub(super) fn new((width, height): (usize, usize), channels: usize) -> Self {
        let level = |level: usize| {
            let (width, height) = (width >> level, height >> level);
            Level { width, height, features: vec![0.0; width * height * channels] }
        };
        Self {
            channels,
            width,
            older: Vec::with_capacity(width * height * channels),
            levels: (0..RAFT_LEVELS).map(level).collect(),
            windows: vec![[NOTHING; RAFT_LEVELS]; width * height],
        }
    }

    /// About how many bytes that takes.
    pub(super) fn bytes((width, height): (usize, usize), channels: usize) -> usize {
        let place = size_of::<[Window; RAFT_LEVELS]>() + size_of::<f32>() * (3 * channels + RAFT_LIKENESS);
        width.saturating_mul(height).saturating_mul(place)
    }

    /// Takes the features of both pictures, `[height, width, channels]`.
    pub(super) fn compare(&mut self, older: &[f32], newer: &[f32]) {
        self.older.clear();
        self.older.extend_from_slice(older);
        self.windows.fill([NOTHING; RAFT_LEVELS]);
        for level in 0..self.levels.len() {
            let (finer, coarser) = self.levels.split_at_mut(level);
            match (finer.last(), coarser.first_mut()) {
                (Some(finer), Some(level)) => halve(finer, level, self.channels),
                (None, Some(level)) => level.features.iter_mut().zip(newer).for_each(|(to, from)| *to = *from),
                (_, None) => {}
            }
        }
    }

    /// Fills `numbers`, for each place of the older picture those of all levels: from the left of where `flow` leads to
    /// the right, and in each step from above to below. Outside the image, the correlation is 0.
    pub(super) fn look_up(&mut self, flow: &[f32], numbers: &mut [f32]) {
        let scale = 1.0 / (self.channels as f32).sqrt();
        let places = self.older.chunks_exact(self.channels).zip(&mut self.windows);
        let leads = flow.as_chunks::<2>().0.iter().zip(numbers.as_chunks_mut::<RAFT_LIKENESS>().0);
        for (place, ((features, windows), ([u, v], numbers))) in places.zip(leads).enumerate() {
            let (x, y) = ((place % self.width) as f32 + u, (place / self.width) as f32 + v);
            let each = self.levels.iter().zip(windows).zip(numbers.as_chunks_mut::<AREA>().0);
            for (i, ((level, window), numbers)) in each.enumerate() {
                let smaller = 1.0 / (1 << i) as f32;
                let (x, y) = (x * smaller, y * smaller);
                window.look(level, features, [x.floor(), y.floor()], scale);
                window.between([x - x.floor(), y - y.floor()], numbers);
            }
        }
    }
}

impl Window {
    /// Looks around the place `[x, y]`, unless it did already.
    fn look(&mut self, level: &Level, features: &[f32], [x, y]: [f32; 2], scale: f32) {
        /// Clamps to beyond any picture's width; NaN becomes 0.
        const FAR: f32 = 1e6;
        let corner = [x, y].map(|x| x.clamp(-FAR, FAR) as i32);
        if self.corner == Some(corner) {
            return;
        }
        self.corner = Some(corner);
        let side = |corner: i32, i: usize, len: usize| {
            usize::try_from(corner + i as i32 - RAFT_RADIUS as i32).ok().filter(|&at| at < len)
        };
        for (i, line) in self.products.iter_mut().enumerate() {
            let y = side(corner[1], i, level.height);
            for (j, product) in line.iter_mut().enumerate() {
                let place = y.zip(side(corner[0], j, level.width)).map(|(y, x)| y * level.width + x);
                let other = place.and_then(|place| level.features.chunks_exact(features.len()).nth(place));
                *product = other.map_or(0.0, |other| dot(features, other) * scale);
            }
        }
    }

    /// Fills `numbers` with the correlation of the places that lie so far right of and below the whole ones.
    fn between(&self, [right, below]: [f32; 2], numbers: &mut [f32; AREA]) {
        for (i, numbers) in numbers.as_chunks_mut::<RAFT_WINDOW>().0.iter_mut().enumerate() {
            let mut at = self.products.iter().map(|line| line[i] + (line[i + 1] - line[i]) * right);
            let mut upper = at.next().unwrap_or(0.0);
            for (to, lower) in numbers.iter_mut().zip(at) {
                *to = upper + (lower - upper) * below;
                upper = lower;
            }
        }
    }
}

/// Halves the resolution: the mean of each 2x2 positions becomes one.
fn halve(finer: &Level, coarser: &mut Level, channels: usize) {
    let line = finer.width * channels;
    for (to, from) in coarser
        .features
        .chunks_exact_mut((coarser.width * channels).max(1))
        .zip(finer.features.chunks_exact((2 * line).max(1)))
    {
        let (upper, lower) = from.split_at(line);
        let pairs = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
        for (to, (upper, lower)) in to.chunks_exact_mut(channels).zip(pairs) {
            let (upper, lower) = (upper.split_at(channels), lower.split_at(channels));
            let sides = upper.0.iter().zip(upper.1).zip(lower.0.iter().zip(lower.1));
            for (to, ((a, b), (c, d))) in to.iter_mut().zip(sides) {
                *to = (a + b + c + d) * 0.25;
            }
        }
    }
}

/// Returns the sum of products.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.0.iter().zip(b.0) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a.1.iter().zip(b.1).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Features of `width` x `height` places, no two alike.
    fn features(width: usize, height: usize, channels: usize, seed: f32) -> Vec<f32> {
        (0..width * height * channels).map(|i| ((i as f32 + seed) * 12.9898).sin()).collect()
    }

    /// As torchvision has it: all pairs, then their means, then those in between.
    fn by_table(
        older: &[f32],
        newer: &[f32],
        (w, h): (usize, usize),
        channels: usize,
        at: usize,
        flow: [f32; 2],
    ) -> Vec<f32> {
        let older = &older[at * channels..][..channels];
        let product =
            |other: &[f32]| older.iter().zip(other).map(|(a, b)| a * b).sum::<f32>() / (channels as f32).sqrt();
        let mut table: Vec<f32> = newer.chunks_exact(channels).map(product).collect();
        let (mut w_, mut h_) = (w, h);
        let mut numbers = Vec::new();
        for level in 0..RAFT_LEVELS {
            let whole = |x: f32, y: f32| {
                let inside = x >= 0.0 && y >= 0.0 && x < w_ as f32 && y < h_ as f32;
                if inside { table[y as usize * w_ + x as usize] } else { 0.0 }
            };
            let scale = 0.5_f32.powi(level as i32);
            let (x, y) = (((at % w) as f32 + flow[0]) * scale, ((at / w) as f32 + flow[1]) * scale);
            for i in -3..=3 {
                for j in -3..=3 {
                    let (x, y) = (x + i as f32, y + j as f32);
                    let (left, top, right, below) = (x.floor(), y.floor(), x - x.floor(), y - y.floor());
                    let upper = whole(left, top) * (1.0 - right) + whole(left + 1.0, top) * right;
                    let lower = whole(left, top + 1.0) * (1.0 - right) + whole(left + 1.0, top + 1.0) * right;
                    numbers.push(upper * (1.0 - below) + lower * below);
                }
            }
            let (w2, h2) = (w_ / 2, h_ / 2);
            let mean = |i: usize| {
                let (x, y) = (i % w2 * 2, i / w2 * 2);
                (table[y * w_ + x] + table[y * w_ + x + 1] + table[(y + 1) * w_ + x] + table[(y + 1) * w_ + x + 1])
                    / 4.0
            };
            table = (0..w2 * h2).map(mean).collect();
            (w_, h_) = (w2, h2);
        }
        numbers
    }

    #[test]
    fn likeness_is_that_of_a_table_of_all_pairs_however_the_flow_moves_on() {
        let (size, channels) = ((19, 16), 20);
        let (older, newer) = (features(19, 16, channels, 0.0), features(19, 16, channels, 1e5));
        let mut correlation = CorrelationVolume::new(size, channels);
        correlation.compare(&older, &newer);
        let mut numbers = vec![f32::NAN; 19 * 16 * RAFT_LIKENESS];
        // Less than a place apart, so that some windows are looked at again and some are not; the last is far outside.
        for [u, v] in [[0.0, 0.0], [0.3, -0.2], [0.9, -0.4], [-5.25, 7.5], [-1000.0, 2.0]] {
            let flow: Vec<f32> = (0..19 * 16).flat_map(|i| [u + 0.01 * i as f32, v]).collect();
            correlation.look_up(&flow, &mut numbers);
            for at in [0, 7, 100, 19 * 16 - 1] {
                let expected = by_table(&older, &newer, size, channels, at, [flow[2 * at], flow[2 * at + 1]]);
                for (found, expected) in numbers[at * RAFT_LIKENESS..].iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-4, "{at} at {u}, {v}: {found}, but {expected}");
                }
            }
        }
    }

    #[test]
    fn a_flow_that_is_no_number_leads_somewhere() {
        let mut correlation = CorrelationVolume::new((16, 16), 4);
        correlation.compare(&features(16, 16, 4, 0.0), &features(16, 16, 4, 1.0));
        let mut numbers = vec![0.0; 256 * RAFT_LIKENESS];
        for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            correlation.look_up(&[strange; 512], &mut numbers);
        }
        correlation.look_up(&[0.0; 512], &mut numbers);
        assert!(numbers.iter().all(|x| x.is_finite()));
    }
}

//! The correlation of the features of two pictures, around the target positions of a flow.
//!
//! The correlation of two positions is the dot product of their features. A table of all pairs would be too large, so
//! products are computed when they are read, and cached until the target position changes.

use crate::models::annotators::{RAFT_LEVELS, RAFT_LIKENESS, RAFT_RADIUS, RAFT_WINDOW};

/// The side of the integer positions from which a window is interpolated.
const WHOLE: usize = RAFT_WINDOW + 1;
/// The number of values of a window.
const AREA: usize = RAFT_WINDOW * RAFT_WINDOW;
/// The number of elements that are multiplied at a time.
const LANES: usize = 16;

/// The correlation of all positions of two pictures, computed on demand.
#[derive(Debug)]
pub(super) struct CorrelationVolume {
    /// The number of features of a position.
    channels: usize,
    /// The width of the older picture, in positions.
    width: usize,
    older: Vec<f32>,
    /// The pyramid of the newer picture; each level has half the size of the previous one.
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

/// The correlation at integer positions around a corner, line by line.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// The integer position at the upper left of the target; `None` if nothing is cached.
    corner: Option<[i32; 2]>,
    products: [[f32; WHOLE]; WHOLE],
}

const EMPTY: Window = Window { corner: None, products: [[0.0; WHOLE]; WHOLE] };

impl CorrelationVolume {
    /// Creates a volume for pictures of `width` x `height` positions with `channels` features each.
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
            windows: vec![[EMPTY; RAFT_LEVELS]; width * height],
        }
    }

    /// Returns the approximate size in bytes.
    pub(super) fn bytes((width, height): (usize, usize), channels: usize) -> usize {
        let position = size_of::<[Window; RAFT_LEVELS]>() + size_of::<f32>() * (3 * channels + RAFT_LIKENESS);
        width.saturating_mul(height).saturating_mul(position)
    }

    /// Sets the features of both pictures, `[height, width, channels]`.
    pub(super) fn compare(&mut self, older: &[f32], newer: &[f32]) {
        self.older.clear();
        self.older.extend_from_slice(older);
        self.windows.fill([EMPTY; RAFT_LEVELS]);
        for level in 0..self.levels.len() {
            let (finer, coarser) = self.levels.split_at_mut(level);
            match (finer.last(), coarser.first_mut()) {
                (Some(finer), Some(level)) => halve(finer, level, self.channels),
                (None, Some(level)) => level.features.iter_mut().zip(newer).for_each(|(to, from)| *to = *from),
                (_, None) => {}
            }
        }
    }

    /// Fills `values` with the windows of all levels for each position of the older picture, column by column around
    /// the target position of `flow`. Outside the image, the correlation is 0.
    pub(super) fn look_up(&mut self, flow: &[f32], values: &mut [f32]) {
        let scale = 1.0 / (self.channels as f32).sqrt();
        let positions = self.older.chunks_exact(self.channels).zip(&mut self.windows);
        let targets = flow.as_chunks::<2>().0.iter().zip(values.as_chunks_mut::<RAFT_LIKENESS>().0);
        for (position, ((features, windows), ([u, v], values))) in positions.zip(targets).enumerate() {
            let (x, y) = ((position % self.width) as f32 + u, (position / self.width) as f32 + v);
            let each = self.levels.iter().zip(windows).zip(values.as_chunks_mut::<AREA>().0);
            for (i, ((level, window), values)) in each.enumerate() {
                let smaller = 1.0 / (1 << i) as f32;
                let (x, y) = (x * smaller, y * smaller);
                window.update(level, features, [x.floor(), y.floor()], scale);
                window.interpolate([x - x.floor(), y - y.floor()], values);
            }
        }
    }
}

impl Window {
    /// Computes the correlation around the integer position `[x, y]`, unless it is cached.
    fn update(&mut self, level: &Level, features: &[f32], [x, y]: [f32; 2], scale: f32) {
        /// Exceeds any picture's width; NaN becomes 0.
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
                let position = y.zip(side(corner[0], j, level.width)).map(|(y, x)| y * level.width + x);
                let other = position.and_then(|position| level.features.chunks_exact(features.len()).nth(position));
                *product = other.map_or(0.0, |other| dot(features, other) * scale);
            }
        }
    }

    /// Fills `values` with the correlation, interpolated at offsets `right` and `below` from the integer positions.
    fn interpolate(&self, [right, below]: [f32; 2], values: &mut [f32; AREA]) {
        for (i, values) in values.as_chunks_mut::<RAFT_WINDOW>().0.iter_mut().enumerate() {
            let mut at = self.products.iter().map(|line| line[i] + (line[i + 1] - line[i]) * right);
            let mut upper = at.next().unwrap_or(0.0);
            for (to, lower) in values.iter_mut().zip(at) {
                *to = upper + (lower - upper) * below;
                upper = lower;
            }
        }
    }
}

/// Halves the resolution by averaging 2x2 positions.
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

/// Returns the dot product.
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

    /// Returns distinct features of `width` x `height` positions.
    fn features(width: usize, height: usize, channels: usize, seed: f32) -> Vec<f32> {
        (0..width * height * channels).map(|i| ((i as f32 + seed) * 12.9898).sin()).collect()
    }

    /// Computes the correlation as torchvision does: all pairs, then their means, then the interpolation.
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
        let mut values = Vec::new();
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
                    values.push(upper * (1.0 - below) + lower * below);
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
        values
    }

    #[test]
    fn correlation_matches_a_table_of_all_pairs_as_the_flow_changes() {
        let (size, channels) = ((19, 16), 20);
        let (older, newer) = (features(19, 16, channels, 0.0), features(19, 16, channels, 1e5));
        let mut correlation = CorrelationVolume::new(size, channels);
        correlation.compare(&older, &newer);
        let mut values = vec![f32::NAN; 19 * 16 * RAFT_LIKENESS];
        // Less than a position apart, so that some windows are cached and some are not; the last is far outside.
        for [u, v] in [[0.0, 0.0], [0.3, -0.2], [0.9, -0.4], [-5.25, 7.5], [-1000.0, 2.0]] {
            let flow: Vec<f32> = (0..19 * 16).flat_map(|i| [u + 0.01 * i as f32, v]).collect();
            correlation.look_up(&flow, &mut values);
            for at in [0, 7, 100, 19 * 16 - 1] {
                let expected = by_table(&older, &newer, size, channels, at, [flow[2 * at], flow[2 * at + 1]]);
                for (found, expected) in values[at * RAFT_LIKENESS..].iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-4, "{at} at {u}, {v}: {found}, but {expected}");
                }
            }
        }
    }

    #[test]
    fn nan_in_the_flow_is_no_panic() {
        let mut correlation = CorrelationVolume::new((16, 16), 4);
        correlation.compare(&features(16, 16, 4, 0.0), &features(16, 16, 4, 1.0));
        let mut values = vec![0.0; 256 * RAFT_LIKENESS];
        for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            correlation.look_up(&[strange; 512], &mut values);
        }
        correlation.look_up(&[0.0; 512], &mut values);
        assert!(values.iter().all(|x| x.is_finite()));
    }
}

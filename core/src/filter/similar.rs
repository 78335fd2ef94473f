//! The stochastic similar-image filter: the more alike two frames are, the likelier the second is skipped.

use crate::simd;
use crate::stream::noise::NoiseSource;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Work on it.
    Compute,
    /// Show the last picture again.
    Skip,
}

/// Compares each frame with the last one computed, and determines which ones to skip.
///
/// The decisions depend on the frames and the seed alone.
#[derive(Debug, Clone)]
pub struct SimilarFilter {
    threshold: f32,
    max_skip: u32,
    random: NoiseSource,
    /// The last frame computed, and the sum of its squares; none before the first.
    last: Option<f64>,
    kept: Vec<f32>,
    /// The sum of the squares of the image that was asked about last.
    asked: f64,
    skipped: u32,
}

impl SimilarFilter {
    /// Creates a filter that skips frames whose cosine with the last one computed is above `threshold`, 0 to 1 (at 1,
    /// none), at most `max_skip` in succession.
    pub fn new(threshold: f32, max_skip: u32, seed: u64) -> Self {
        Self {
            threshold,
            max_skip,
            random: NoiseSource::new(seed),
            last: None,
            kept: Vec::new(),
            asked: 0.0,
            skipped: 0,
        }
    }

    /// Changes both bounds from the next frame on, and keeps the frame to compare with.
    pub fn configure(&mut self, threshold: f32, max_skip: u32) {
        (self.threshold, self.max_skip) = (threshold, max_skip);
    }

    /// Forgets the last frame, so that the next one is computed: after a change of parameters, or a failed frame.
    pub fn reset(&mut self) {
        self.last = None;
        self.skipped = 0;
    }

    /// Decides about an image, elements in -1..1. After [`Decision::Compute`], [`keep`](Self::keep) must follow, once the
    /// image is no longer read.
    pub fn check(&mut self, image: &[f32]) -> Decision {
        let last = self.last.filter(|_| self.kept.len() == image.len());
        let (dot, squares) = match last {
            Some(_) => simd::widest(|| dot_and_squares(&self.kept, image)),
            None => simd::widest(|| dot_and_squares(image, image)),
        };
        self.asked = squares;
        if let Some(last) = last.filter(|_| self.skipped < self.max_skip) {
            let probability = skip_probability(cosine(dot, last, squares), self.threshold);
            // The number drawn is never 0, so a probability of 0 skips nothing.
            if self.random.uniform() <= probability {
                self.skipped += 1;
                return Decision::Skip;
            }
        }
        self.last = None;
        self.skipped = 0;
        Decision::Compute
    }

    /// Keeps the image that was checked last, to compare the next ones with: `exchange` exchanges its elements with
    /// those of the vector, so that no frame is copied.
    pub fn keep(&mut self, exchange: impl FnOnce(&mut Vec<f32>)) {
        exchange(&mut self.kept);
        self.last = Some(self.asked);
    }
}

/// How likely a frame is skipped whose cosine with the last one computed is `cosine`; 0 for NaN.
fn skip_probability(cosine: f32, threshold: f32) -> f32 {
    if threshold >= 1.0 {
        return 0.0;
    }
    // `max` returns the other operand for a NaN.
    (1.0 - (1.0 - cosine) / (1.0 - threshold)).max(0.0)
}

/// The cosine of an angle, out of the dot product of two images and the sums of their squares; 0 where one of them is all
/// zeros.
fn cosine(dot: f64, squares_a: f64, squares_b: f64) -> f32 {
    const EPSILON: f64 = 1e-6;

    (dot / (squares_a.sqrt().max(EPSILON) * squares_b.sqrt().max(EPSILON))) as f32
}

/// The dot product of `a` and `b`, of the same length, and that of `b` with itself.
#[inline(always)]
fn dot_and_squares(a: &[f32], b: &[f32]) -> (f64, f64) {
    const BLOCK: usize = 4096;

    let (mut dot, mut squares) = (0.0, 0.0);
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let sums = block(a, b);
        (dot, squares) = (dot + sums.0, squares + sums.1);
    }
    (dot, squares)
}

/// Like [`dot_and_squares`], in `f32`, in lanes that the compiler can keep in registers.
#[inline(always)]
fn block(a: &[f32], b: &[f32]) -> (f64, f64) {
    const LANES: usize = 16;

    let (mut dots, mut squares) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (wide_a, rest_a) = a.as_chunks::<LANES>();
    let (wide_b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in wide_a.iter().zip(wide_b) {
        for i in 0..LANES {
            dots[i] += a[i] * b[i];
            squares[i] += b[i] * b[i];
        }
    }
    for (i, (a, b)) in rest_a.iter().zip(rest_b).enumerate() {
        dots[i] += a * b;
        squares[i] += b * b;
    }
    let sum = |lanes: [f32; LANES]| lanes.iter().map(|&lane| f64::from(lane)).sum();
    (sum(dots), sum(squares))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl SimilarFilter {
        /// Decides about an image, and keeps it where it is computed.
        fn see(&mut self, pixels: &[f32]) -> Decision {
            let decision = self.check(pixels);
            if decision == Decision::Compute {
                self.keep(|kept| *kept = pixels.to_vec());
            }
            decision
        }
    }

    fn decisions(filter: &mut SimilarFilter, image: &[f32], count: usize) -> Vec<bool> {
        (0..count).map(|_| filter.see(image) == Decision::Skip).collect()
    }

    /// A unit vector whose cosine with `[1, 0]` is `cosine`.
    fn turned(cosine: f32) -> [f32; 2] {
        [cosine, (1.0 - cosine * cosine).sqrt()]
    }

    #[test]
    fn the_probabilities_of_the_specification_come_out() {
        assert!((skip_probability(0.99, 0.98) - 0.5).abs() < 1e-5);
        assert!(skip_probability(0.98, 0.98).abs() < 1e-5);
        assert_eq!(skip_probability(1.0, 0.98), 1.0);
        assert_eq!(skip_probability(1.0, 1.0), 0.0);
        assert_eq!(skip_probability(-1.0, 0.98), 0.0);
        assert_eq!(skip_probability(f32::NAN, 0.98), 0.0);
    }

    #[test]
    fn exactly_max_skip_frames_are_skipped_in_succession() {
        for max_skip in [0, 1, 3] {
            let mut filter = SimilarFilter::new(0.98, max_skip, 7);
            let skips = decisions(&mut filter, &[1.0, 0.5], 12);
            let period = max_skip as usize + 1;
            let expected: Vec<bool> = (0..12).map(|k| k % period != 0).collect();
            assert_eq!(skips, expected, "max_skip {max_skip}");
        }
    }

    #[test]
    fn a_computed_frame_restarts_the_count() {
        let mut filter = SimilarFilter::new(0.98, 2, 7);
        assert_eq!(decisions(&mut filter, &[1.0, 0.0], 2), [false, true]);
        assert_eq!(decisions(&mut filter, &[0.0, 1.0], 4), [false, true, true, false]);
    }

    #[test]
    fn threshold_of_one_skips_no_frame() {
        let mut filter = SimilarFilter::new(1.0, 10, 7);
        assert_eq!(decisions(&mut filter, &[1.0, 0.5], 5), [false; 5]);
    }

    #[test]
    fn half_of_the_frames_are_skipped_halfway_to_the_threshold() {
        let mut filter = SimilarFilter::new(0.98, u32::MAX, 7);
        let skipped = (0..4000).filter(|k| filter.see(&turned(if k % 2 == 0 { 1.0 } else { 0.99 })) == Decision::Skip);
        // A frame is compared with the last one computed, which is as often the same as the other one: two in three.
        let share = skipped.count() as f64 / 4000.0;
        assert!((share - 2.0 / 3.0).abs() < 0.05, "{share}");
    }

    #[test]
    fn the_seed_alone_decides() {
        let run = |seed| {
            let mut filter = SimilarFilter::new(0.98, 10, seed);
            (0..64).map(|k| filter.see(&turned(1.0 - 0.0005 * k as f32))).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn another_size_or_a_reset_is_computed() {
        let mut filter = SimilarFilter::new(0.0, 10, 7);
        assert_eq!(decisions(&mut filter, &[1.0, 1.0], 2), [false, true]);
        assert_eq!(filter.see(&[1.0; 3]), Decision::Compute);
        assert_eq!(filter.see(&[1.0; 3]), Decision::Skip);
        filter.reset();
        assert_eq!(filter.see(&[1.0; 3]), Decision::Compute);
    }

    #[test]
    fn nan_and_all_zeros_are_never_skipped() {
        let mut filter = SimilarFilter::new(0.5, 10, 7);
        assert_eq!(decisions(&mut filter, &[f32::NAN, 1.0], 3), [false; 3]);
        assert_eq!(decisions(&mut filter, &[0.0; 4], 3), [false; 3]);
        assert_eq!(decisions(&mut filter, &[], 3), [false; 3]);
    }

    proptest! {
        #[test]
        fn the_cosine_agrees_with_the_plain_sum(a in prop::collection::vec(-1.0_f32..1.0, 1..9000), shift in -1.0_f32..1.0) {
            let b: Vec<f32> = a.iter().rev().map(|x| x + shift).collect();
            let plain = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let expected = plain(&a, &b) / (plain(&a, &a).sqrt().max(1e-6) * plain(&b, &b).sqrt().max(1e-6));
            let ((dot, b_squares), (_, a_squares)) = (dot_and_squares(&a, &b), dot_and_squares(&a, &a));
            prop_assert!((f64::from(cosine(dot, a_squares, b_squares)) - expected).abs() < 1e-5);
        }

        #[test]
        fn backlog_stays_within_its_bounds(
            images in prop::collection::vec(0.9_f32..1.0, 1..200), threshold in 0.0_f32..1.0, max_skip in 0_u32..5,
        ) {
            let mut filter = SimilarFilter::new(threshold, max_skip, 3);
            let mut row = 0;
            for cosine in images {
                row = if filter.see(&turned(cosine)) == Decision::Skip { row + 1 } else { 0 };
                prop_assert!(row <= max_skip);
            }
        }
    }
}

//! The stages in which a ControlNet is active.

/// The range of denoising stages in which a ControlNet is active.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Start of the range as a share of the stages, 0 to 1, inclusive.
    pub start: f64,
    /// End of the range as a share of the stages, 0 to 1, exclusive; every stage is below 1.
    pub end: f64,
}

impl Window {
    /// Returns whether `stage` of `stages`, the noisiest being 0, is inside.
    pub fn covers(self, stage: usize, stages: usize) -> bool {
        let share = stage as f64 / stages as f64;
        self.start <= share && share < self.end
    }

    /// Returns the weight of the ControlNet for each row of a UNet call, by the row's stage: `scale` inside the range,
    /// 0 outside. Empty if all are 0.
    pub fn weights(self, scale: f32, row_stages: impl Iterator<Item = usize>, stages: usize) -> Vec<f32> {
        let weights: Vec<f32> = row_stages.map(|stage| if self.covers(stage, stages) { scale } else { 0.0 }).collect();
        if weights.iter().all(|&weight| weight == 0.0) { Vec::new() } else { weights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(start: f64, end: f64, stages: usize) -> Vec<usize> {
        (0..stages).filter(|&stage| Window { start, end }.covers(stage, stages)).collect()
    }

    #[test]
    fn the_whole_window_covers_every_stage() {
        assert_eq!(covered(0.0, 1.0, 4), [0, 1, 2, 3]);
        assert_eq!(covered(0.0, 1.0, 1), [0]);
    }

    #[test]
    fn the_start_is_inside_and_the_end_is_not() {
        assert_eq!(covered(0.25, 0.75, 4), [1, 2]);
        assert_eq!(covered(0.0, 0.5, 4), [0, 1]);
        assert_eq!(covered(0.75, 1.0, 4), [3]);
        assert_eq!(covered(0.26, 1.0, 4), [2, 3]);
    }

    #[test]
    fn an_empty_window_covers_none() {
        for at in [0.0, 0.5, 1.0] {
            assert!(covered(at, at, 4).is_empty());
        }
        // Past the last stage of four.
        assert!(covered(0.8, 1.0, 4).is_empty());
    }

    #[test]
    fn rows_are_weighted_by_their_stage() {
        let window = Window { start: 0.5, end: 1.0 };
        assert_eq!(window.weights(0.7, [0, 0, 1].into_iter(), 2), [0.0, 0.0, 0.7]);
        assert!(window.weights(0.7, [0, 0].into_iter(), 2).is_empty());
        assert!(window.weights(0.0, [0, 1].into_iter(), 2).is_empty());
    }
}

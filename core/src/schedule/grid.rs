//! The grid of timesteps that `num_inference_steps` selects.

use crate::{Error, Violation};

/// The number of steps of the consistency distillation, which is the finest grid.
pub const MAX_INFERENCE_STEPS: usize = 100;

/// Which timesteps a grid has, as the `timestep_spacing` of diffusers' schedulers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Those of `LCMScheduler`: the training timesteps thinned to [`MAX_INFERENCE_STEPS`], and evenly spaced ones of these,
    /// the noisiest included.
    Lcm,
    /// Evenly spaced, the noisiest included.
    Trailing,
    /// Evenly spaced, the second cleanest included (`steps_offset` of 1, as all families have it), or the cleanest if all
    /// are selected.
    Leading,
    /// Evenly spaced, the noisiest and the cleanest included.
    Linspace,
}

/// Selects `num_inference_steps` of `train_timesteps` timesteps, noisiest first.
///
/// # Errors
///
/// [`GridError::Steps`] unless `num_inference_steps` is 1 to [`MAX_INFERENCE_STEPS`], [`GridError::Train`] with fewer
/// training timesteps than that.
pub fn grid(spacing: Spacing, num_inference_steps: usize, train_timesteps: u32) -> Result<Vec<u32>, GridError> {
    if !(1..=MAX_INFERENCE_STEPS).contains(&num_inference_steps) {
        return Err(GridError::Steps(num_inference_steps));
    }
    let original = MAX_INFERENCE_STEPS as u32;
    let stride = train_timesteps / original;
    if stride == 0 {
        return Err(GridError::Train(train_timesteps));
    }
    let steps = num_inference_steps as u32;
    let apart = train_timesteps / steps;
    // As NumPy, diffusers rounds halves to even.
    let rounded = |timestep: f64| timestep.round_ties_even() as u32;
    let (train, count) = (f64::from(train_timesteps), f64::from(steps));
    let timestep = |j: u32| match spacing {
        Spacing::Lcm => stride * (original - j * original / steps) - 1,
        Spacing::Trailing => rounded(train - f64::from(j) * train / count).saturating_sub(1),
        Spacing::Leading => (steps - 1 - j) * apart + apart.min(2) - 1,
        // A single one is the cleanest, as in `numpy.linspace`.
        Spacing::Linspace => rounded(f64::from(steps - 1 - j) * (train - 1.0) / (count - 1.0).max(1.0)),
    };
    Ok((0..steps).map(|j| timestep(j).min(train_timesteps - 1)).collect())
}

/// The error of invalid arguments of [`grid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// The number of steps is out of range.
    #[error("num_inference_steps: got {0}, expected 1 to {MAX_INFERENCE_STEPS}")]
    Steps(usize),
    /// The training had too few timesteps.
    #[error("num_train_timesteps: got {0}, expected at least {MAX_INFERENCE_STEPS}")]
    Train(u32),
}

impl From<GridError> for Error {
    fn from(error: GridError) -> Self {
        let message = match error {
            GridError::Steps(steps) => format!("got {steps}, expected 1 to {MAX_INFERENCE_STEPS}"),
            GridError::Train(_) => {
                return Self::new(crate::ErrorKind::BadModel, error.to_string()).with_source(error);
            }
        };
        Self::invalid_params(vec![Violation { path: "num_inference_steps".into(), message }]).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn lcm(steps: usize) -> Vec<u32> {
        grid(Spacing::Lcm, steps, 1000).unwrap()
    }

    #[test]
    fn grids_match_the_specification() {
        assert_eq!(lcm(4), [999, 749, 499, 249]);
        assert_eq!(lcm(30)[..6], [999, 969, 939, 899, 869, 839]);
        assert_eq!(lcm(40)[..6], [999, 979, 949, 929, 899, 879]);
        for (steps, stride) in [(25, 40), (50, 20), (100, 10)] {
            let expected: Vec<u32> = (0..steps as u32).map(|j| 999 - stride * j).collect();
            assert_eq!(lcm(steps), expected);
        }
    }

    /// Timesteps of diffusers' `DDIMScheduler`, and of `EulerDiscreteScheduler` for `linspace`.
    #[test]
    fn spacings_match_diffusers() {
        let of = |spacing, steps| grid(spacing, steps, 1000).unwrap();
        assert_eq!(of(Spacing::Trailing, 1), [999]);
        assert_eq!(of(Spacing::Trailing, 4), [999, 749, 499, 249]);
        assert_eq!(of(Spacing::Trailing, 8), TRAILING_8);
        assert_eq!(of(Spacing::Leading, 1), [1]);
        assert_eq!(of(Spacing::Leading, 4), [751, 501, 251, 1]);
        assert_eq!(of(Spacing::Leading, 30)[..3], [958, 925, 892]);
        assert_eq!(of(Spacing::Linspace, 1), [0]);
        assert_eq!(of(Spacing::Linspace, 4), [999, 666, 333, 0]);
        assert_eq!(of(Spacing::Linspace, 7), LINSPACE_7);
    }

    #[test]
    fn spacing_of_lcm_is_trailing_where_the_number_of_steps_divides_a_hundred() {
        for steps in 1..=MAX_INFERENCE_STEPS {
            assert!(100 % steps != 0 || lcm(steps) == grid(Spacing::Trailing, steps, 1000).unwrap(), "{steps}");
        }
        assert_ne!(lcm(8), TRAILING_8);
    }

    #[test]
    fn every_grid_decreases() {
        for spacing in [Spacing::Lcm, Spacing::Trailing, Spacing::Leading, Spacing::Linspace] {
            for (steps, train) in
                (1..=MAX_INFERENCE_STEPS).flat_map(|steps| [(steps, 1000), (steps, 100), (steps, 777)])
            {
                let grid = grid(spacing, steps, train).unwrap();
                assert_eq!(grid.len(), steps);
                assert!(grid.windows(2).all(|pair| pair[1] < pair[0]), "{spacing:?}, {steps} of {train}: {grid:?}");
                assert!(grid[0] < train);
            }
        }
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        let refused = |steps, train| grid(Spacing::Lcm, steps, train).unwrap_err();
        assert_eq!(refused(0, 1000), GridError::Steps(0));
        assert_eq!(refused(101, 1000), GridError::Steps(101));
        assert_eq!(refused(usize::MAX, 1000), GridError::Steps(usize::MAX));
        assert_eq!(refused(4, 99), GridError::Train(99));
        let error = Error::from(GridError::Steps(101));
        assert_eq!(error.kind(), ErrorKind::InvalidParams);
        assert_eq!(error.to_string(), "num_inference_steps: got 101, expected 1 to 100");
        assert_eq!(Error::from(GridError::Train(99)).kind(), ErrorKind::BadModel);
    }

    const TRAILING_8: [u32; 8] = [999, 874, 749, 624, 499, 374, 249, 124];
    const LINSPACE_7: [u32; 7] = [999, 832, 666, 500, 333, 166, 0];
}

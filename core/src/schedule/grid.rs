//! The timestep grid of latent consistency models.

use crate::{Error, Violation};

/// The number of steps of the consistency distillation, which is the finest grid.
pub const MAX_INFERENCE_STEPS: usize = 100;

/// Selects `num_inference_steps` of `train_timesteps` timesteps, noisiest first.
///
/// The training timesteps are thinned to [`MAX_INFERENCE_STEPS`], of which evenly spaced ones are taken, the noisiest
/// included.
///
/// # Errors
///
/// [`GridError::Steps`] unless `num_inference_steps` is 1 to [`MAX_INFERENCE_STEPS`], [`GridError::Train`] with fewer
/// training timesteps than that.
pub fn lcm_grid(num_inference_steps: usize, train_timesteps: u32) -> Result<Vec<u32>, GridError> {
    if !(1..=MAX_INFERENCE_STEPS).contains(&num_inference_steps) {
        return Err(GridError::Steps(num_inference_steps));
    }
    let original = MAX_INFERENCE_STEPS as u32;
    let stride = train_timesteps / original;
    if stride == 0 {
        return Err(GridError::Train(train_timesteps));
    }
    let steps = num_inference_steps as u32;
    Ok((0..steps).map(|j| stride * (original - j * original / steps) - 1).collect())
}

/// The error of invalid arguments of [`lcm_grid`].
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

    #[test]
    fn grids_match_the_specification() {
        assert_eq!(lcm_grid(4, 1000).unwrap(), [999, 749, 499, 249]);
        assert_eq!(lcm_grid(30, 1000).unwrap()[..6], [999, 969, 939, 899, 869, 839]);
        assert_eq!(lcm_grid(40, 1000).unwrap()[..6], [999, 979, 949, 929, 899, 879]);
        for (steps, stride) in [(25, 40), (50, 20), (100, 10)] {
            let expected: Vec<u32> = (0..steps as u32).map(|j| 999 - stride * j).collect();
            assert_eq!(lcm_grid(steps, 1000).unwrap(), expected);
        }
    }

    #[test]
    fn every_grid_decreases_from_the_noisiest_timestep() {
        for steps in 1..=MAX_INFERENCE_STEPS {
            let grid = lcm_grid(steps, 1000).unwrap();
            assert_eq!((grid.len(), grid[0]), (steps, 999));
            assert!(grid.windows(2).all(|pair| pair[1] < pair[0]));
        }
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        assert_eq!(lcm_grid(0, 1000), Err(GridError::Steps(0)));
        assert_eq!(lcm_grid(101, 1000), Err(GridError::Steps(101)));
        assert_eq!(lcm_grid(usize::MAX, 1000), Err(GridError::Steps(usize::MAX)));
        assert_eq!(lcm_grid(4, 99), Err(GridError::Train(99)));
        let error = Error::from(GridError::Steps(101));
        assert_eq!(error.kind(), ErrorKind::InvalidParams);
        assert_eq!(error.to_string(), "num_inference_steps: got 101, expected 1 to 100");
        assert_eq!(Error::from(GridError::Train(99)).kind(), ErrorKind::BadModel);
    }
}

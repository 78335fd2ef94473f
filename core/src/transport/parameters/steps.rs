//! Converts `denoising_step_list` and `noise_scale` to indices into the grid of timesteps.

/// The number of training timesteps of every model.
const TRAIN_TIMESTEPS: f64 = 1000.0;

/// What messages have said about steps: `denoising_step_list` and `noise_scale` combine, and may be sent separately.
/// [`ParameterChange::read`](super::ParameterChange::read) takes it, and leaves it for the next message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steps {
    list: Option<Vec<u32>>,
    noise: Option<f64>,
    /// The resulting indices: if the current list differs, another client changed it, and this state is discarded.
    made: Vec<u32>,
}

impl Steps {
    /// Takes a client's values, and returns the indices into the timesteps of `grid`; `current` are the present ones.
    pub(super) fn apply(
        &mut self,
        list: Option<Vec<u32>>,
        noise: Option<f64>,
        current: &[u32],
        grid: &[u32],
    ) -> Vec<u32> {
        if self.made != current {
            *self = Self::default();
        }
        self.list = list.or(self.list.take());
        self.noise = noise.or(self.noise);
        let last = grid.len().saturating_sub(1);
        let nearest = |timestep: f64| {
            let apart = |place: &usize| (f64::from(grid.get(*place).copied().unwrap_or(0)) - timestep).abs();
            (0..=last).min_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap_or(0)
        };
        let places: Vec<f64> = match &self.list {
            Some(list) => list.iter().map(|&timestep| nearest(f64::from(timestep)) as f64).collect(),
            // Without a list: evenly spaced over the grid.
            None => {
                let rows = current.len().max(1);
                (0..rows).map(|row| row as f64 * grid.len() as f64 / rows as f64).collect()
            }
        };
        let first = places.first().copied().unwrap_or(0.0);
        let begin = self.noise.map_or(first, |noise| nearest(noise * TRAIN_TIMESTEPS) as f64);
        let (left, whole) = (last as f64 - begin, last as f64 - first);
        let share = if whole > 0.0 { left / whole } else { 0.0 };
        let moved = |place: &f64| ((begin + (place - first) * share).round() as usize).min(last) as u32;
        self.made = places.iter().map(moved).collect();
        self.made.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::params::StreamDiffusionParams;

    fn grid(num_inference_steps: u32) -> Vec<u32> {
        StreamDiffusionParams { num_inference_steps, ..Default::default() }.timesteps().unwrap()
    }

    fn indices(list: Option<&[u32]>, noise: Option<f64>, current: &[u32]) -> Vec<u32> {
        Steps::default().apply(list.map(<[u32]>::to_vec), noise, current, &grid(50))
    }

    #[test]
    fn timesteps_become_the_nearest_places() {
        assert_eq!(indices(Some(&[999, 749, 499, 249]), None, &[16]), [0, 12, 25, 37]);
        assert_eq!(indices(Some(&[1000, 1]), None, &[16]), [0, 49]);
    }

    #[test]
    fn more_noise_starts_earlier_and_the_rest_follows_in_proportion() {
        assert_eq!(indices(None, Some(1.0), &[41, 46]), [0, 25]);
        assert_eq!(indices(None, Some(0.0), &[41, 46]), [49, 49]);
        assert_eq!(indices(None, Some(0.18), &[12]), [41]);
        assert_eq!(indices(Some(&[750, 250]), Some(0.7), &[12]), [15, 38]);
    }

    #[test]
    fn steps_continue_from_another_clients_list() {
        let mut steps = Steps::default();
        let first = steps.apply(Some(vec![900, 100]), None, &[16], &grid(50));
        // The noise alone keeps the form of the list, ...
        assert_eq!(steps.clone().apply(None, Some(0.9), &first, &grid(50)), first);
        // ... unless another client has set another list.
        assert_eq!(steps.apply(None, Some(1.0), &[1, 2, 3], &grid(50)).len(), 3);
    }

    proptest! {
        #[test]
        fn places_rise_fit_the_grid_and_come_back(
            mut list in prop::collection::vec(1_u32..=1000, 1..=4), a in 0.0..=1.0, b in 0.0..=1.0, steps_of_grid in 1_u32..=100,
        ) {
            list.sort_unstable_by(|a, b| b.cmp(a));
            let (mut steps, grid) = (Steps::default(), grid(steps_of_grid));
            let first = steps.apply(Some(list), Some(a), &[0], &grid);
            prop_assert!(first.is_sorted());
            prop_assert!(first.iter().all(|&place| place < steps_of_grid));
            let second = steps.apply(None, Some(b), &first, &grid);
            prop_assert_eq!(first.len(), second.len());
            let noisier_is_earlier = if a < b { second <= first } else { first <= second };
            prop_assert!(noisier_is_earlier);
            let third = steps.apply(None, Some(a), &second, &grid);
            prop_assert_eq!(first, third);
        }

        #[test]
        fn any_grid_is_survived(grid in prop::collection::vec(any::<u32>(), 0..100), noise in 0.0..=1.0) {
            let list = Steps::default().apply(None, Some(noise), &[1], &grid);
            prop_assert!(list.len() == 1 && list[0] as usize <= grid.len());
        }
    }
}

//! Rescaling of `t_index_list` to a grid of another length.

/// Maps the positions `t_indices` from a grid of `from` timesteps proportionally to a grid of `to` timesteps.
///
/// The first and the last position of the grid stay first and last; ties round to even. The result is in ascending
/// order if `t_indices` is, and within the new grid (unless that is empty).
pub fn rescale(t_indices: &[usize], from: usize, to: usize) -> Vec<usize> {
    let last = to.saturating_sub(1);
    let factor = |index: usize| {
        if from <= 1 { index as f64 } else { index as f64 * last as f64 / (from - 1) as f64 }
    };
    t_indices.iter().map(|&index| (factor(index).round_ties_even() as usize).min(last)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn results_match_the_specification() {
        assert_eq!(rescale(&[0, 16, 32, 45], 50, 9), [0, 3, 5, 7]);
        assert_eq!(rescale(&[12, 20, 32], 50, 30), [7, 12, 19]);
        assert_eq!(rescale(&[12, 20, 32], 50, 33), [8, 13, 21]);
    }

    #[test]
    fn ties_round_to_even() {
        assert_eq!(rescale(&[1, 3, 5], 11, 6), [0, 2, 2]);
    }

    #[test]
    fn a_grid_of_one_keeps_positions() {
        assert_eq!(rescale(&[0], 1, 50), [0]);
        assert_eq!(rescale(&[0, 3], 4, 1), [0, 0]);
    }

    proptest! {
        #[test]
        fn a_valid_list_stays_valid_and_ascending(
            mut list in prop::collection::vec(0_usize..100, 1..8), from in 1_usize..=100, to in 1_usize..=100,
        ) {
            list.iter_mut().for_each(|index| *index %= from);
            list.sort_unstable();
            let moved = rescale(&list, from, to);
            prop_assert!(moved.is_sorted());
            prop_assert!(moved.iter().all(|&index| index < to));
            prop_assert_eq!(rescale(&list, from, from), list);
        }
    }
}

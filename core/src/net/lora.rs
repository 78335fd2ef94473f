//! Low-rank changes of weights (LoRAs), added as weights are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{WeightSource, same_layout};
use crate::error::{Error, ErrorKind, Result};

/// The rows and columns of a weight that are computed together: as many sums as fit into registers.
const ROWS: usize = 4;
const COLUMNS: usize = 8;

/// A change of one weight: `strength * up x down`, where `up` has few columns and `down` as many rows.
#[derive(Clone, PartialEq)]
pub struct LowRank {
    /// The shape of the weight, outermost dimension first.
    shape: Vec<usize>,
    rank: usize,
    /// `[shape[0], rank]`.
    up: Vec<f32>,
    /// `[rank, shape[1] * …]`.
    down: Vec<f32>,
    strength: f32,
}

impl LowRank {
    /// Creates the change of a weight of `shape` by `up`, `[shape[0], rank]`, times `down`, `[rank, shape[1] * …]`;
    /// `None` if their lengths do not match these shapes, or are 0.
    pub fn new(shape: Vec<usize>, rank: usize, up: Vec<f32>, down: Vec<f32>, strength: f32) -> Option<Self> {
        let (&rows, rest) = shape.split_first()?;
        let columns = rest.iter().try_fold(1, |product: usize, &dim| product.checked_mul(dim))?;
        let fits = rows.checked_mul(rank) == Some(up.len()) && columns.checked_mul(rank) == Some(down.len());
        (fits && !up.is_empty() && !down.is_empty()).then_some(Self { shape, rank, up, down, strength })
    }

    /// Returns the shape of the weight.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the rank.
    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the first factor, `[rank, shape[1] * …]`.
    pub(super) fn down(&self) -> &[f32] {
        &self.down
    }

    /// Returns a row of the last factor with the strength, `[rank]`.
    pub(super) fn up_row(&self, row: usize) -> impl Iterator<Item = f32> {
        self.up[row * self.rank..(row + 1) * self.rank].iter().map(|x| x * self.strength)
    }

    /// Adds `scale` times the change to `weight`, which has the length of the shape; other elements are unchanged.
    pub fn add_to(&self, weight: &mut [f32], scale: f32) {
        let columns = self.down.len() / self.rank;
        let factor = scale * self.strength;
        for (rows, ups) in weight.chunks_mut(ROWS * columns).zip(self.up.chunks(ROWS * self.rank)) {
            for first in (0..columns).step_by(COLUMNS) {
                let sums = self.block(ups, first, columns);
                for (row, sums) in rows.chunks_mut(columns).zip(&sums) {
                    // The last block may be narrower.
                    row[first..].iter_mut().zip(sums).for_each(|(x, sum)| *x += factor * sum);
                }
            }
        }
    }

    /// Returns the products of a few rows with the columns from `first` on.
    fn block(&self, ups: &[f32], first: usize, columns: usize) -> [[f32; COLUMNS]; ROWS] {
        let mut sums = [[0.0; COLUMNS]; ROWS];
        // The last rows may be fewer.
        let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
        rows.iter_mut().zip(ups.chunks_exact(self.rank)).for_each(|(row, up)| *row = up);
        for (k, down) in self.down.chunks_exact(columns).enumerate() {
            let down = &down[first..];
            let mut padded = [0.0; COLUMNS];
            match down.first_chunk::<COLUMNS>() {
                Some(whole) => padded = *whole,
                None => padded.iter_mut().zip(down).for_each(|(x, &down)| *x = down),
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                let up = row.get(k).copied().unwrap_or(0.0);
                sums.iter_mut().zip(&padded).for_each(|(sum, x)| *sum += up * x);
            }
        }
        sums
    }
}

impl fmt::Debug for LowRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, rank, strength, .. } = self;
        f.debug_struct("LowRank").field("shape", shape).field("rank", rank).field("strength", strength).finish()
    }
}

/// A layer that a LoRA changes.
#[derive(Debug)]
pub struct LoraLayer {
    /// The layer's name in the LoRA file.
    pub name: String,
    /// The name of one of its tensors, for messages.
    pub key: String,
    /// The change of its weight.
    pub change: LowRank,
}

/// Weights with changes that are added when they are read; the original weights are not modified.
pub(super) struct MergedWeights {
    base: Arc<dyn WeightSource>,
    /// The changes of each weight, each with its scale; never zero.
    changes: BTreeMap<String, Vec<(f32, Arc<LowRank>)>>,
}

impl MergedWeights {
    /// Adds `changes` (the weight's name, a scale, the change) to `base`. Changes of scale 0 are ignored, so that a
    /// weight with no other changes is not [changed](Self::changed).
    pub(super) fn new(
        base: Arc<dyn WeightSource>,
        changes: impl IntoIterator<Item = (String, f32, Arc<LowRank>)>,
    ) -> Self {
        let mut by_name: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (name, scale, change) in changes.into_iter().filter(|&(_, scale, _)| scale != 0.0) {
            by_name.entry(name).or_default().push((scale, change));
        }
        Self { base, changes: by_name }
    }

    /// Returns the names of the weights that differ from the base's.
    pub(super) fn changed(&self) -> BTreeSet<String> {
        self.changes.keys().cloned().collect()
    }
}

impl WeightSource for MergedWeights {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.base.shape(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut weight = self.base.read(name, shape)?;
        let Some(changes) = self.changes.get(name) else { return Ok(weight) };
        for (scale, change) in changes {
            if !same_layout(&change.shape, shape) {
                let text = format!("{name}: got the shape {shape:?}, expected {:?} as in the LoRA", change.shape);
                return Err(Error::new(ErrorKind::BadModel, text));
            }
            change.add_to(&mut weight, *scale);
        }
        match weight.iter().find(|x| !x.is_finite()) {
            None => Ok(weight),
            Some(x) => Err(Error::new(
                ErrorKind::BadModel,
                format!("{name} merged with LoRAs: got {x}, expected finite values"),
            )),
        }
    }
}

impl fmt::Debug for MergedWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedWeights").field("changed", &self.changes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct TestWeights(Vec<usize>, Vec<f32>);

    impl WeightSource for TestWeights {
        fn shape(&self, _name: &str) -> Option<Vec<usize>> {
            Some(self.0.clone())
        }

        fn read(&self, _name: &str, _shape: &[usize]) -> Result<Vec<f32>> {
            Ok(self.1.clone())
        }
    }

    /// Returns small integers, whose sums of products are exact in any order.
    fn integers(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0).collect()
    }

    fn change(seed: usize, shape: &[usize], rank: usize, strength: f32) -> Arc<LowRank> {
        let columns: usize = shape[1..].iter().product();
        let (up, down) = (integers(seed, shape[0] * rank), integers(seed + 1, rank * columns));
        Arc::new(LowRank::new(shape.to_vec(), rank, up, down, strength).unwrap())
    }

    proptest! {
        #[test]
        fn each_element_changes_by_the_product_of_its_row_and_column(
            rows in 1_usize..10, channels in 1_usize..9, side in 1_usize..4, rank in 1_usize..6, scale in -3_i8..4
        ) {
            let shape = [rows, channels, side, side];
            let columns = channels * side * side;
            let change = change(rows, &shape, rank, 0.5);
            let mut weight = integers(3, rows * columns);
            let before = weight.clone();
            change.add_to(&mut weight, f32::from(scale));
            for (i, (now, before)) in weight.iter().zip(before).enumerate() {
                let (row, column) = (i / columns, i % columns);
                let product = |k: usize| change.up[row * rank + k] * change.down[k * columns + column];
                let sum: f32 = (0..rank).map(product).sum();
                prop_assert_eq!(*now, before + f32::from(scale) * 0.5 * sum);
            }
        }
    }

    #[test]
    fn loras_add_up_in_any_order_and_scale_zero_has_no_effect() {
        let shape = [5, 6];
        let base: Arc<dyn WeightSource> = Arc::new(TestWeights(shape.to_vec(), integers(0, 30)));
        let all =
            [(2.0, change(1, &shape, 2, 1.0)), (-1.0, change(4, &shape, 3, 0.5)), (0.0, change(6, &shape, 1, 1.0))];
        let merged = |order: &[usize], name: &str| {
            let changes = order.iter().map(|&i| (name.to_owned(), all[i].0, all[i].1.clone()));
            MergedWeights::new(base.clone(), changes)
        };
        let read = |order: &[usize]| merged(order, "a").read("a", &shape).unwrap();
        assert_eq!(read(&[0, 1, 2]), read(&[2, 1, 0]));
        assert_eq!(read(&[0, 1]), read(&[0, 1, 2]));
        assert_ne!(read(&[0]), read(&[0, 1]));
        assert_eq!(read(&[2]), integers(0, 30));
        assert!(merged(&[2], "a").changed().is_empty());
        assert_eq!(merged(&[0, 2], "b").read("a", &shape).unwrap(), integers(0, 30));
    }

    #[test]
    fn a_change_of_another_shape_or_with_infinite_results_is_rejected() {
        let base: Arc<dyn WeightSource> = Arc::new(TestWeights(vec![2, 2], vec![1.0; 4]));
        let of = |change: LowRank| MergedWeights::new(base.clone(), [("a".to_owned(), 1.0, Arc::new(change))]);
        let wide = LowRank::new(vec![2, 3], 1, vec![1.0; 2], vec![1.0; 3], 1.0).unwrap();
        let error = of(wide).read("a", &[2, 2]).unwrap_err();
        assert!(error.to_string().contains("[2, 2]") && error.to_string().contains("[2, 3]"), "{error}");
        let huge = LowRank::new(vec![2, 2, 1, 1], 1, vec![f32::MAX; 2], vec![2.0; 2], 1.0).unwrap();
        assert!(of(huge).read("a", &[2, 2]).unwrap_err().to_string().contains("got inf"));
        for (up, down) in [(3, 2), (2, 3), (0, 0)] {
            assert_eq!(LowRank::new(vec![2, 2], 1, vec![1.0; up], vec![1.0; down], 1.0), None);
        }
    }
}

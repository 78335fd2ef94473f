//! The sum of what several ControlNets add to one UNet call.

use crate::error::{Error, ErrorKind, Result};

/// Most tensors that a ControlNet gives: one for each layer and each halving of eight blocks, the first and the middle.
const MAX_TENSORS: usize = 160;

/// What ControlNets add to the UNet, summed over the networks and weighted row by row; zeros while none counts. Its
/// memory is taken once, for the most rows of any call.
#[derive(Debug, Default)]
pub struct Residuals {
    /// Of each tensor the numbers of one row.
    lens: Vec<usize>,
    rows: usize,
    sum: Vec<f32>,
    /// What one network gives, before it joins the sum.
    one: Vec<f32>,
    /// How many networks are in the sum.
    added: usize,
    /// Whether all of `sum` is 0.
    is_zero: bool,
}

impl Residuals {
    /// Makes room for tensors of `lens` numbers a row, for calls of up to `rows` rows and sums of up to `networks`
    /// networks. What was there is gone.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the numbers that are needed, `Unsupported` for more tensors than any network has.
    pub fn with_room(lens: Vec<usize>, rows: usize, networks: usize) -> Result<Self> {
        if lens.len() > MAX_TENSORS {
            let text = format!("a ControlNet of {} residuals, but {MAX_TENSORS} are the most", lens.len());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let (sum, one) = Self::numbers(&lens, rows, networks);
        Ok(Self { sum: zeros(sum)?, one: zeros(one)?, lens, rows, added: 0, is_zero: true })
    }

    /// Counts the numbers of the sum, and those of one network beside it.
    fn numbers(lens: &[usize], rows: usize, networks: usize) -> (usize, usize) {
        let sum = lens.iter().fold(0_usize, |sum, &len| sum.saturating_add(len)).saturating_mul(rows);
        (sum, if networks > 1 { sum } else { 0 })
    }

    /// Counts all numbers that [`with_room`](Self::with_room) takes memory for.
    pub fn room(lens: &[usize], rows: usize, networks: usize) -> usize {
        let (sum, one) = Self::numbers(lens, rows, networks);
        sum.saturating_add(one)
    }

    /// Starts the sum of a call.
    pub fn begin(&mut self) {
        self.added = 0;
    }

    /// Adds what `evaluate` writes, a slice for each tensor, times the weight of each row. There are as many rows as
    /// `weights`.
    ///
    /// # Errors
    ///
    /// Those of `evaluate`, and the sum is then to be begun anew; `Internal` for more rows or networks than there is
    /// room for.
    pub fn add(&mut self, weights: &[f32], evaluate: impl FnOnce(&mut [&mut [f32]]) -> Result<()>) -> Result<()> {
        let first = self.added == 0;
        let into = if first { &mut self.sum } else { &mut self.one };
        if weights.len() > self.rows || into.is_empty() {
            let text = format!("residuals of {} rows, with room for {}", weights.len(), self.rows);
            return Err(Error::new(ErrorKind::Internal, text));
        }
        self.is_zero = false;
        let mut tensors: [&mut [f32]; MAX_TENSORS] = std::array::from_fn(|_| Default::default());
        let mut rest = &mut into[..];
        for (tensor, len) in tensors.iter_mut().zip(&self.lens) {
            let (part, others) = rest.split_at_mut(len * self.rows);
            *tensor = &mut part[..len * weights.len()];
            rest = others;
        }
        evaluate(&mut tensors[..self.lens.len()])?;
        let mut start = 0;
        for &len in &self.lens {
            for (row, &weight) in weights.iter().enumerate() {
                let here = start + row * len..start + (row + 1) * len;
                if first {
                    scale(&mut self.sum[here], weight);
                } else if weight != 0.0 {
                    add_scaled(&mut self.sum[here.clone()], &self.one[here], weight);
                }
            }
            start += len * self.rows;
        }
        self.added += 1;
        Ok(())
    }

    /// Ends the sum of a call of `rows` rows, and gives it tensor by tensor.
    pub fn finish(&mut self, rows: usize) -> impl Iterator<Item = &[f32]> {
        if self.added == 0 && !self.is_zero {
            self.sum.fill(0.0);
            self.is_zero = true;
        }
        let (mut rest, most) = (&self.sum[..], self.rows);
        self.lens.iter().map(move |len| {
            let (tensor, others) = rest.split_at(len * most);
            rest = others;
            &tensor[..len * rows.min(most)]
        })
    }
}

fn zeros(len: usize) -> Result<Vec<f32>> {
    let mut numbers = Vec::new();
    numbers.try_reserve_exact(len).map_err(|error| {
        let text = format!("no memory for the {len} numbers of ControlNets' residuals");
        Error::new(ErrorKind::OutOfMemory, text).with_source(error)
    })?;
    numbers.resize(len, 0.0);
    Ok(numbers)
}

/// Times `weight`; exactly 0 for a weight of 0, whatever stands there.
fn scale(numbers: &mut [f32], weight: f32) {
    if weight == 0.0 {
        numbers.fill(0.0);
    } else if weight != 1.0 {
        numbers.iter_mut().for_each(|number| *number *= weight);
    }
}

fn add_scaled(sum: &mut [f32], numbers: &[f32], weight: f32) {
    for (sum, number) in sum.iter_mut().zip(numbers) {
        *sum += weight * number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `value`, plus the number of the tensor.
    fn constant(value: f32) -> impl FnOnce(&mut [&mut [f32]]) -> Result<()> {
        move |tensors| {
            for (i, tensor) in tensors.iter_mut().enumerate() {
                tensor.fill(value + i as f32);
            }
            Ok(())
        }
    }

    fn sum(residuals: &mut Residuals, rows: usize) -> Vec<Vec<f32>> {
        residuals.finish(rows).map(<[f32]>::to_vec).collect()
    }

    #[test]
    fn networks_are_summed_with_a_weight_for_each_row() {
        let mut residuals = Residuals::with_room(vec![2, 1], 3, 3).unwrap();
        residuals.begin();
        residuals.add(&[1.0, 0.0, 0.5], constant(2.0)).unwrap();
        residuals.add(&[0.0, 2.0, 1.0], constant(10.0)).unwrap();
        residuals.add(&[1.0, 0.0, 0.0], constant(100.0)).unwrap();
        assert_eq!(sum(&mut residuals, 3), [vec![102.0, 102.0, 20.0, 20.0, 11.0, 11.0], vec![104.0, 22.0, 12.5]]);
        // Fewer rows are at the same places.
        residuals.begin();
        residuals.add(&[2.0], constant(1.0)).unwrap();
        assert_eq!(sum(&mut residuals, 1), [vec![2.0, 2.0], vec![4.0]]);
    }

    #[test]
    fn without_a_network_the_sum_is_zero_in_every_row() {
        let mut residuals = Residuals::with_room(vec![2], 2, 1).unwrap();
        assert_eq!(sum(&mut residuals, 2), [vec![0.0; 4]]);
        residuals.begin();
        residuals.add(&[1.0, 1.0], constant(7.0)).unwrap();
        residuals.begin();
        assert_eq!(sum(&mut residuals, 2), [vec![0.0; 4]]);
    }

    #[test]
    fn a_row_without_weight_is_zero_whatever_the_network_gives() {
        let mut residuals = Residuals::with_room(vec![1], 2, 2).unwrap();
        for network in 0..2 {
            residuals.begin();
            if network == 1 {
                residuals.add(&[0.0, 1.0], constant(1.0)).unwrap();
            }
            residuals.add(&[0.0, 1.0], constant(f32::INFINITY)).unwrap();
            assert_eq!(sum(&mut residuals, 2), [vec![0.0, f32::INFINITY]]);
        }
    }

    #[test]
    fn a_network_that_fails_leaves_nothing_for_the_next_call() {
        let mut residuals = Residuals::with_room(vec![2], 1, 1).unwrap();
        residuals.begin();
        let failed = residuals.add(&[1.0], |tensors| {
            tensors[0].fill(9.0);
            Err(Error::new(ErrorKind::Internal, "no"))
        });
        assert!(failed.is_err());
        residuals.begin();
        assert_eq!(sum(&mut residuals, 1), [vec![0.0; 2]]);
    }

    #[test]
    fn room_that_is_not_there_is_refused() {
        let lens = vec![usize::MAX / 4; 2];
        assert_eq!(Residuals::with_room(lens, 4, 2).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert!(Residuals::with_room(vec![1; MAX_TENSORS + 1], 1, 1).is_err());
        let mut residuals = Residuals::with_room(vec![1], 1, 1).unwrap();
        residuals.begin();
        assert!(residuals.add(&[1.0; 2], constant(1.0)).is_err());
        residuals.add(&[1.0], constant(1.0)).unwrap();
        assert!(residuals.add(&[1.0], constant(1.0)).is_err());
        assert_eq!((Residuals::room(&[2, 3], 4, 1), Residuals::room(&[2, 3], 4, 2)), (20, 40));
    }
}

//! The sum of the residuals of several ControlNets for one UNet call.

use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Buffer, Queue, View, ViewMut};

/// Maximum number of residuals of a ControlNet: one for each layer and each halving of eight blocks, the first and the
/// middle.
const MAX_TENSORS: usize = 160;

/// The residuals that ControlNets add to the UNet, summed over the networks and weighted row by row; zeros if none runs.
/// The memory is allocated once, for the most rows of any call.
#[derive(Debug, Default)]
pub struct Residuals {
    /// The elements of one row of each tensor.
    lens: Vec<usize>,
    rows: usize,
    /// The sum of each tensor.
    sum: Vec<Buffer>,
    /// The residuals of one network, before they are added to the sum; empty with a single network.
    one: Vec<Buffer>,
    /// Number of networks in the sum.
    added: usize,
    /// Whether all of `sum` is 0.
    is_zero: bool,
}

impl Residuals {
    /// Allocates tensors of `lens` elements a row, for calls of up to `rows` rows and sums of up to `networks` networks.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`; `Unsupported` for more tensors than any network has.
    pub fn new(queue: &dyn Queue, lens: Vec<usize>, rows: usize, networks: usize) -> Result<Self> {
        if lens.len() > MAX_TENSORS {
            let text = format!("ControlNet: got {} residuals, expected at most {MAX_TENSORS}", lens.len());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let tensors = || lens.iter().map(|&len| queue.buffer(len.saturating_mul(rows))).collect::<Result<Vec<_>>>();
        let (sum, one) = (tensors()?, if networks > 1 { tensors()? } else { Vec::new() });
        Ok(Self { lens, rows, sum, one, added: 0, is_zero: true })
    }

    /// Returns how many elements [`new`](Self::new) allocates.
    pub fn elements(lens: &[usize], rows: usize, networks: usize) -> usize {
        let sum = lens.iter().fold(0_usize, |sum, &len| sum.saturating_add(len)).saturating_mul(rows);
        if networks > 1 { sum.saturating_mul(2) } else { sum }
    }

    /// Drops the sum, whose elements may be anything.
    pub fn reset(&mut self) {
        self.is_zero = false;
    }

    /// Starts the sum of a call.
    pub fn begin(&mut self) {
        self.added = 0;
    }

    /// Adds the output of `evaluate`, a view for each tensor, times the weight of each row. There are as many rows as
    /// `weights`.
    ///
    /// # Errors
    ///
    /// Those of `evaluate`; the sum must then be started again. `Internal` for more rows or networks than there is
    /// memory for.
    pub fn add(
        &mut self,
        queue: &dyn Queue,
        weights: &[f32],
        evaluate: impl FnOnce(&mut [ViewMut<'_>]) -> Result<()>,
    ) -> Result<()> {
        let first = self.added == 0;
        let into = if first { &mut self.sum } else { &mut self.one };
        if weights.len() > self.rows || into.len() != self.lens.len() {
            let text = format!(
                "residuals: got {} rows of network {}, expected up to {} rows of {} networks",
                weights.len(),
                self.added + 1,
                self.rows,
                if self.one.is_empty() { "1" } else { "several" }
            );
            return Err(Error::new(ErrorKind::Internal, text));
        }
        self.is_zero = false;
        let mut tensors: [ViewMut<'_>; MAX_TENSORS] = std::array::from_fn(|_| ViewMut::default());
        for (tensor, (buffer, len)) in tensors.iter_mut().zip(into.iter_mut().zip(&self.lens)) {
            *tensor = buffer.range_mut(0..len * weights.len());
        }
        evaluate(&mut tensors[..self.lens.len()])?;
        for (tensor, len) in self.lens.iter().enumerate() {
            // Neighbouring rows of one weight are one operation.
            let mut start = 0;
            for rows in weights.chunk_by(|a, b| a.to_bits() == b.to_bits()) {
                let here = start..start + rows.len() * len;
                start = here.end;
                let sum = self.sum[tensor].range_mut(here.clone());
                if first {
                    queue.combine(sum, rows[0], &[])?;
                } else {
                    queue.combine(sum, 1.0, &[(rows[0], self.one[tensor].range(here))])?;
                }
            }
        }
        self.added += 1;
        Ok(())
    }

    /// Ends the sum of a call of `rows` rows, and returns it tensor by tensor.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn finish(&mut self, queue: &dyn Queue, rows: usize) -> Result<impl Iterator<Item = View<'_>>> {
        if self.added == 0 && !self.is_zero {
            for tensor in &mut self.sum {
                queue.clear(tensor.view_mut())?;
            }
            self.is_zero = true;
        }
        let rows = rows.min(self.rows);
        Ok(self.sum.iter().zip(&self.lens).map(move |(tensor, len)| tensor.range(0..len * rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::HostQueue;

    /// Writes `value`, plus the number of the tensor.
    fn constant(value: f32) -> impl FnOnce(&mut [ViewMut<'_>]) -> Result<()> {
        move |tensors| {
            for (i, tensor) in tensors.iter_mut().enumerate() {
                tensor.host()?.fill(value + i as f32);
            }
            Ok(())
        }
    }

    fn sum(residuals: &mut Residuals, rows: usize) -> Vec<Vec<f32>> {
        residuals.finish(&HostQueue, rows).unwrap().map(|tensor| tensor.host().unwrap().to_vec()).collect()
    }

    #[test]
    fn networks_are_summed_with_a_weight_for_each_row() {
        let mut residuals = Residuals::new(&HostQueue, vec![2, 1], 3, 3).unwrap();
        residuals.begin();
        residuals.add(&HostQueue, &[1.0, 0.0, 0.5], constant(2.0)).unwrap();
        residuals.add(&HostQueue, &[0.0, 2.0, 1.0], constant(10.0)).unwrap();
        residuals.add(&HostQueue, &[1.0, 0.0, 0.0], constant(100.0)).unwrap();
        assert_eq!(sum(&mut residuals, 3), [vec![102.0, 102.0, 20.0, 20.0, 11.0, 11.0], vec![104.0, 22.0, 12.5]]);
        // Fewer rows are at the same places.
        residuals.begin();
        residuals.add(&HostQueue, &[2.0], constant(1.0)).unwrap();
        assert_eq!(sum(&mut residuals, 1), [vec![2.0, 2.0], vec![4.0]]);
    }

    #[test]
    fn without_a_network_the_sum_is_zero_in_every_row() {
        let mut residuals = Residuals::new(&HostQueue, vec![2], 2, 1).unwrap();
        assert_eq!(sum(&mut residuals, 2), [vec![0.0; 4]]);
        residuals.begin();
        residuals.add(&HostQueue, &[1.0, 1.0], constant(7.0)).unwrap();
        residuals.begin();
        assert_eq!(sum(&mut residuals, 2), [vec![0.0; 4]]);
    }

    #[test]
    fn after_a_reset_the_sum_is_cleared_again() {
        let mut residuals = Residuals::new(&HostQueue, vec![2], 1, 1).unwrap();
        // What the device was to clear, and did not.
        residuals.sum[0].view_mut().host().unwrap().fill(5.0);
        residuals.reset();
        assert_eq!(sum(&mut residuals, 1), [vec![0.0; 2]]);
    }

    #[test]
    fn row_with_zero_weight_is_zero() {
        let mut residuals = Residuals::new(&HostQueue, vec![1], 2, 2).unwrap();
        for network in 0..2 {
            residuals.begin();
            if network == 1 {
                residuals.add(&HostQueue, &[0.0, 1.0], constant(1.0)).unwrap();
            }
            residuals.add(&HostQueue, &[0.0, 1.0], constant(f32::INFINITY)).unwrap();
            assert_eq!(sum(&mut residuals, 2), [vec![0.0, f32::INFINITY]]);
        }
    }

    #[test]
    fn a_network_that_fails_leaves_nothing_for_the_next_call() {
        let mut residuals = Residuals::new(&HostQueue, vec![2], 1, 1).unwrap();
        residuals.begin();
        let failed = residuals.add(&HostQueue, &[1.0], |tensors| {
            tensors[0].host()?.fill(9.0);
            Err(Error::new(ErrorKind::Internal, "no"))
        });
        assert!(failed.is_err());
        residuals.begin();
        assert_eq!(sum(&mut residuals, 1), [vec![0.0; 2]]);
    }

    #[test]
    fn unavailable_memory_is_rejected() {
        let lens = vec![usize::MAX / 4; 2];
        assert_eq!(Residuals::new(&HostQueue, lens, 4, 2).unwrap_err().kind(), ErrorKind::OutOfMemory);
        assert!(Residuals::new(&HostQueue, vec![1; MAX_TENSORS + 1], 1, 1).is_err());
        let mut residuals = Residuals::new(&HostQueue, vec![1], 1, 1).unwrap();
        residuals.begin();
        assert!(residuals.add(&HostQueue, &[1.0; 2], constant(1.0)).is_err());
        residuals.add(&HostQueue, &[1.0], constant(1.0)).unwrap();
        assert!(residuals.add(&HostQueue, &[1.0], constant(1.0)).is_err());
        assert_eq!((Residuals::elements(&[2, 3], 4, 1), Residuals::elements(&[2, 3], 4, 2)), (20, 40));
    }
}

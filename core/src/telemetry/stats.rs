//! What many measurements come to: the median, and how bad the bad ones are.

use serde::Serialize;

/// Collects the newest measurements of a quantity, in any unit, up to a bound.
///
/// ```
/// use dreamframe::telemetry::Samples;
///
/// let mut micros = Samples::new(100);
/// assert!(micros.summary().is_none());
/// for value in [900.0, 20.0, 10.0, 30.0, 40.0] {
///     micros.push(value);
/// }
/// let summary = micros.summary().expect("five measurements");
/// assert_eq!((summary.median, summary.n), (30.0, 5));
/// ```
#[derive(Debug, Clone)]
pub struct Samples {
    // A ring once it is full.
    values: Vec<f64>,
    bound: usize,
    seen: usize,
}

/// The summary of measurements, in their unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The number of measurements.
    pub n: usize,
}

impl Samples {
    /// Creates an empty collection of at most `bound` measurements (at least one). Its memory is allocated immediately.
    pub fn new(bound: usize) -> Self {
        let bound = bound.max(1);
        Self { values: Vec::with_capacity(bound), bound, seen: 0 }
    }

    /// Adds a measurement; a full collection discards its oldest one. NaN is ignored.
    pub fn push(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        if self.values.len() < self.bound {
            self.values.push(value);
        } else if let Some(oldest) = self.values.get_mut(self.seen % self.bound) {
            *oldest = value;
        }
        self.seen += 1;
    }

    /// Returns the summary; `None` before the first measurement.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        Some(Summary { median: quantile(&sorted, 0.5)?, p95: quantile(&sorted, 0.95)?, n: sorted.len() })
    }
}

/// The value below which `part` of the sorted ones lie, on the line between the two nearest.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let low = sorted.get(place.floor() as usize)?;
    let high = sorted.get(place.ceil() as usize)?;
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>, bound: usize) -> Option<Summary> {
        let mut samples = Samples::new(bound);
        values.into_iter().for_each(|value| samples.push(value));
        samples.summary()
    }

    #[test]
    fn the_median_and_the_tail_do_not_depend_on_the_order() {
        let up = of((0..=100).map(f64::from), 1000).unwrap();
        let down = of((0..=100).rev().map(f64::from), 1000).unwrap();
        assert_eq!(up, down);
        assert_eq!(up, Summary { median: 50.0, p95: 95.0, n: 101 });
    }

    #[test]
    fn an_even_number_of_measurements_has_its_median_between() {
        assert_eq!(of([4.0, 1.0, 3.0, 2.0], 10).unwrap().median, 2.5);
    }

    #[test]
    fn oldest_measurement_is_replaced_by_the_newest() {
        assert_eq!(of([900.0, 800.0, 1.0, 2.0, 3.0], 3).unwrap(), Summary { median: 2.0, p95: 2.9, n: 3 });
    }

    #[test]
    fn nothing_has_no_median_and_not_a_number_counts_for_nothing() {
        assert_eq!(of([], 4), None);
        assert_eq!(of([f64::NAN, 7.0], 4).unwrap().n, 1);
    }
}

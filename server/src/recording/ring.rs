//! A ring buffer of encoded pictures, bounded in time and bytes, which always begins with a key frame.

use std::collections::VecDeque;
use std::time::Duration;

use dreamframe::frame::Timestamp;
use dreamframe::transport::AccessUnit;

/// Which pictures are dropped without room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The last ones of this time stay.
    Newest(Duration),
    /// The first ones stay, and no more are added.
    Oldest(Duration),
}

/// A bounded queue of pictures.
#[derive(Debug)]
pub(super) struct Ring {
    keep: Keep,
    max_bytes: usize,
    units: VecDeque<AccessUnit>,
    bytes: usize,
    full: bool,
}

impl Ring {
    pub(super) fn new(keep: Keep, max_bytes: usize) -> Self {
        Self { keep, max_bytes, units: VecDeque::new(), bytes: 0, full: false }
    }

    /// Adds the next picture. Returns whether more can be added.
    pub(super) fn push(&mut self, unit: AccessUnit) -> bool {
        if self.full || (self.units.is_empty() && !unit.key) {
            return !self.full;
        }
        if let (Keep::Oldest(time), Some(first)) = (self.keep, self.units.front()) {
            let over =
                unit.at.0.saturating_sub(first.at.0) > nanos(time) || self.bytes + unit.data.len() > self.max_bytes;
            if over {
                self.full = true;
                return false;
            }
        }
        self.bytes += unit.data.len();
        self.units.push_back(unit);
        if let Keep::Newest(time) = self.keep {
            self.drop_old(time);
        }
        true
    }

    /// Drops what precedes the last key frame from which `time` can still be shown, or more without room.
    fn drop_old(&mut self, time: Duration) {
        let newest = self.units.back().map_or(Timestamp(0), |unit| unit.at);
        let limit = newest.0.saturating_sub(nanos(time));
        loop {
            let next_key = self.units.iter().skip(1).position(|unit| unit.key).map(|at| at + 1);
            let old = next_key.and_then(|at| self.units.get(at)).is_some_and(|key| key.at.0 <= limit);
            if !old && self.bytes <= self.max_bytes {
                return;
            }
            // With too many bytes after a single key frame all are dropped, and the next key frame begins again.
            let gone = next_key.unwrap_or(self.units.len());
            self.bytes -= self.units.drain(..gone).map(|unit| unit.data.len()).sum::<usize>();
        }
    }

    /// Returns the pictures from the last key frame on that is at least `time` before the end, or all.
    pub(super) fn last(&self, time: Duration) -> Vec<AccessUnit> {
        let newest = self.units.back().map_or(Timestamp(0), |unit| unit.at);
        let limit = newest.0.saturating_sub(nanos(time));
        let from = self.units.iter().rposition(|unit| unit.key && unit.at.0 <= limit).unwrap_or(0);
        self.units.range(from..).cloned().collect()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(at: Duration, key: bool, len: usize) -> AccessUnit {
        AccessUnit::new(vec![0; len].into(), key, Timestamp(nanos(at)))
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn ring_of(seconds: u64) -> Ring {
        let mut ring = Ring::new(Keep::Newest(SECOND * 10), 1 << 20);
        for tenth in 0..seconds * 10 {
            ring.push(unit(SECOND / 10 * tenth as u32, tenth % 20 == 0, 10));
        }
        ring
    }

    #[test]
    fn the_last_seconds_start_at_the_key_frame_before_them() {
        let ring = ring_of(60);
        // The newest is at 59.9 s; key frames are at even seconds.
        let starts = [3, 5, 10, 60].map(|seconds| ring.last(SECOND * seconds)[0].at.0 / 1_000_000_000);
        assert_eq!(starts, [56, 54, 48, 48]);
        assert!(ring.last(SECOND * 3)[0].key);
        assert_eq!(ring_of(2).last(SECOND * 5).len(), 20);
        assert!(ring_of(0).last(SECOND).is_empty());
    }

    #[test]
    fn pictures_before_a_key_frame_are_not_kept() {
        let mut ring = Ring::new(Keep::Newest(SECOND), 1000);
        assert!(ring.push(unit(SECOND, false, 10)));
        assert!(ring.last(SECOND).is_empty());
    }

    #[test]
    fn the_first_ones_stay_until_it_is_full() {
        let mut ring = Ring::new(Keep::Oldest(SECOND * 2), 1000);
        let taken: Vec<bool> = (0..6).map(|half| ring.push(unit(SECOND / 2 * half, half == 0, 10))).collect();
        assert_eq!(taken, [true, true, true, true, true, false]);
        assert_eq!(ring.last(SECOND * 9).len(), 5);
        let mut ring = Ring::new(Keep::Oldest(SECOND * 2), 25);
        assert_eq!([0, 1, 2].map(|at| ring.push(unit(SECOND / 9 * at, true, 10))), [true, true, false]);
    }

    proptest! {
        #[test]
        fn ring_stays_within_its_limits_and_starts_with_a_key_frame(
            units in prop::collection::vec((0..500_u64, prop::bool::weighted(0.1), 1..400_usize), 0..200),
        ) {
            let mut ring = Ring::new(Keep::Newest(SECOND), 2000);
            let mut at = 0;
            for (step, key, len) in units {
                at += step;
                ring.push(unit(Duration::from_millis(at), key, len));
                let bytes: usize = ring.units.iter().map(|unit| unit.data.len()).sum();
                prop_assert_eq!(bytes, ring.bytes);
                prop_assert!(bytes <= 2000);
                prop_assert!(ring.units.front().is_none_or(|first| first.key));
            }
        }
    }
}

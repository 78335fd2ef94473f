//! A ring buffer of encoded pictures and their sound, bounded in time and bytes, which always begins with a key frame.

use std::collections::VecDeque;
use std::time::Duration;

use dreamframe::frame::Timestamp;
use dreamframe::transport::AccessUnit;

use crate::sound::Sound;

/// The most packets of sound before the first picture: of three seconds, as late as sound may be, at 10 ms each.
const MOST_WAITING: usize = 300;

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
    sounds: VecDeque<Sound>,
    // Of both.
    bytes: usize,
    full: bool,
}

impl Ring {
    pub(super) fn new(keep: Keep, max_bytes: usize) -> Self {
        Self { keep, max_bytes, units: VecDeque::new(), sounds: VecDeque::new(), bytes: 0, full: false }
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

    /// Adds the next packet of sound.
    pub(super) fn push_sound(&mut self, sound: Sound) {
        if self.full {
            return;
        }
        self.bytes += sound.data.len();
        self.sounds.push_back(sound);
        while self.units.is_empty() && self.sounds.len() > MOST_WAITING {
            self.bytes -= self.sounds.pop_front().map_or(0, |sound| sound.data.len());
        }
        if let Keep::Newest(time) = self.keep {
            self.drop_old(time);
        }
    }

    /// Drops what precedes the last key frame from which `time` can still be shown, or more without room.
    fn drop_old(&mut self, time: Duration) {
        let newest = self.units.back().map_or(Timestamp(0), |unit| unit.at);
        let limit = newest.0.saturating_sub(nanos(time));
        loop {
            let next_key = self.units.iter().skip(1).position(|unit| unit.key).map(|at| at + 1);
            let old = next_key.and_then(|at| self.units.get(at)).is_some_and(|key| key.at.0 <= limit);
            if !old && (self.bytes <= self.max_bytes || self.units.is_empty()) {
                break;
            }
            // With too many bytes after a single key frame all are dropped, and the next key frame begins again.
            let gone = next_key.unwrap_or(self.units.len());
            self.bytes -= self.units.drain(..gone).map(|unit| unit.data.len()).sum::<usize>();
        }
        // Sound goes with its pictures, or first where it alone takes the room.
        let first = self.units.front().map_or(Timestamp(0), |unit| unit.at);
        while let Some(sound) = self.sounds.front()
            && (sound.end() <= first || self.bytes > self.max_bytes)
        {
            self.bytes -= sound.data.len();
            self.sounds.pop_front();
        }
    }

    /// Returns the pictures from the last key frame on that is at least `time` before the end, or all, and their sound.
    pub(super) fn last(&self, time: Duration) -> (Vec<AccessUnit>, Vec<Sound>) {
        let newest = self.units.back().map_or(Timestamp(0), |unit| unit.at);
        let limit = newest.0.saturating_sub(nanos(time));
        let from = self.units.iter().rposition(|unit| unit.key && unit.at.0 <= limit).unwrap_or(0);
        let begin = self.units.get(from).map_or(newest, |first| first.at);
        let sounds = self.sounds.iter().filter(|sound| sound.end() > begin).cloned().collect();
        (self.units.range(from..).cloned().collect(), sounds)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sound::Format;

    fn unit(at: Duration, key: bool, len: usize) -> AccessUnit {
        AccessUnit::new(vec![0; len].into(), key, Timestamp(nanos(at)))
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// A packet of 20 ms.
    fn sound(at: Duration, len: usize) -> Sound {
        Sound { format: Format::Opus, data: vec![0; len].into(), start: at.as_millis() as u64 * 48, samples: 960 }
    }

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
        let starts = [3, 5, 10, 60].map(|seconds| ring.last(SECOND * seconds).0[0].at.0 / 1_000_000_000);
        assert_eq!(starts, [56, 54, 48, 48]);
        assert!(ring.last(SECOND * 3).0[0].key);
        assert_eq!(ring_of(2).last(SECOND * 5).0.len(), 20);
        assert!(ring_of(0).last(SECOND).0.is_empty());
    }

    #[test]
    fn pictures_before_a_key_frame_are_not_kept() {
        let mut ring = Ring::new(Keep::Newest(SECOND), 1000);
        assert!(ring.push(unit(SECOND, false, 10)));
        assert!(ring.last(SECOND).0.is_empty());
    }

    #[test]
    fn the_first_ones_stay_until_it_is_full() {
        let mut ring = Ring::new(Keep::Oldest(SECOND * 2), 1000);
        let taken: Vec<bool> = (0..6).map(|half| ring.push(unit(SECOND / 2 * half, half == 0, 10))).collect();
        assert_eq!(taken, [true, true, true, true, true, false]);
        assert_eq!(ring.last(SECOND * 9).0.len(), 5);
        let mut ring = Ring::new(Keep::Oldest(SECOND * 2), 25);
        assert_eq!([0, 1, 2].map(|at| ring.push(unit(SECOND / 9 * at, true, 10))), [true, true, false]);
    }

    #[test]
    fn sound_stays_as_long_as_its_pictures() {
        let mut ring = Ring::new(Keep::Newest(SECOND * 2), 1 << 20);
        for fiftieth in 0..500 {
            if fiftieth % 5 == 0 {
                ring.push(unit(SECOND / 50 * fiftieth, fiftieth % 50 == 0, 10));
            }
            // It arrives before the picture that it is heard with.
            ring.push_sound(sound(SECOND / 50 * (fiftieth + 10), 5));
        }
        let (units, sounds) = ring.last(SECOND);
        assert_eq!((units[0].at.0 / 1_000_000, sounds[0].at().0 / 1_000_000), (8000, 8000));
        assert_eq!(ring.sounds.front().map(|first| first.at().0 / 1_000_000), Some(7000));
        let mut without_pictures = Ring::new(Keep::Oldest(SECOND * 2), 1 << 20);
        (0..1000).for_each(|at| without_pictures.push_sound(sound(SECOND / 50 * at, 5)));
        assert_eq!(without_pictures.sounds.len(), MOST_WAITING);
    }

    proptest! {
        #[test]
        fn ring_stays_within_its_limits_and_starts_with_a_key_frame(
            units in prop::collection::vec(
                (0..500_u64, prop::bool::weighted(0.1), 1..400_usize, prop::option::of((0..3000_u64, 1..400_usize))),
                0..200,
            ),
        ) {
            let mut ring = Ring::new(Keep::Newest(SECOND), 2000);
            let mut at = 0;
            for (step, key, len, heard) in units {
                at += step;
                ring.push(unit(Duration::from_millis(at), key, len));
                if let Some((later, len)) = heard {
                    ring.push_sound(sound(Duration::from_millis(at + later), len));
                }
                let bytes: usize = ring.units.iter().map(|unit| unit.data.len()).sum();
                let of_sounds: usize = ring.sounds.iter().map(|sound| sound.data.len()).sum();
                prop_assert_eq!(bytes + of_sounds, ring.bytes);
                prop_assert!(bytes <= 2000);
                prop_assert!(ring.units.front().is_none_or(|first| first.key));
            }
        }
    }
}

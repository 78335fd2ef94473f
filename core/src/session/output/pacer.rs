//! When pictures are shown: at even intervals, whenever they are made. Uses no clock: times are durations since any start.
//!
//! Each picture is shown less than one interval after it has arrived: early enough for those interpolated before it at
//! even steps, and a quarter of a step for pictures that are late. It must be less than the interval that is measured: a
//! host that submits a frame only when it has the last picture would else wait longer with each one. The time of each
//! picture follows that of the one before, and is corrected by a share of the difference to its own, so that uneven
//! arrivals become even pictures.

use std::time::Duration;

/// The longest interval between two pictures in a row; after a longer one, the next picture is shown at once.
const LONGEST: Duration = Duration::from_secs(2);
/// A pause is an interval of so many usual ones.
const PAUSE: u32 = 4;
/// The share of each new interval in the measured one, and of a correction, as its denominator.
const SHARE: u32 = 4;

/// Chooses the times at which pictures are shown.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// When the last picture arrived; `None` before the first.
    arrived: Option<Duration>,
    /// The measured interval; `None` before the second picture, and after a pause.
    interval: Option<Duration>,
    /// How many pictures are shown for the last one, if it is not the first.
    factor: u32,
    /// When the last picture is due.
    due: Duration,
}

/// When the pictures of one interval are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    first: Duration,
    /// The time between two of them.
    pub(crate) step: Duration,
}

impl Plan {
    /// Returns when the picture with a number, from 0, is due.
    pub(crate) fn due(&self, number: u32) -> Duration {
        self.first.saturating_add(self.step.saturating_mul(number))
    }
}

impl Pacer {
    /// Notes that a picture has arrived, for which `factor` (at least 1) are shown. Returns false if it is the first, or
    /// the first after a pause: then it is due at once, and nothing is interpolated before it.
    pub(crate) fn arrive(&mut self, now: Duration, factor: u32) -> bool {
        self.factor = factor.max(1);
        let gap = self.arrived.replace(now).map(|before| now.saturating_sub(before));
        let is_pause = |gap: &Duration| {
            *gap > LONGEST || self.interval.is_some_and(|interval| *gap > interval.saturating_mul(PAUSE))
        };
        self.interval = match (gap.filter(|gap| !is_pause(gap)), self.interval) {
            (None, _) => None,
            (Some(gap), None) => Some(gap),
            // Pictures must not wait for each other while an average follows.
            (Some(gap), Some(interval)) if gap < interval / 2 => Some(gap),
            (Some(gap), Some(interval)) => Some((interval * (SHARE - 1) + gap) / SHARE),
        };
        self.interval.is_some()
    }

    /// Returns how many pictures can be shown for one, at most `count`, if each of the others takes `work` to make; and
    /// how much later the first one is shown, so that all follow it at even steps.
    pub(crate) fn affords(&self, count: u32, work: Duration) -> (u32, Duration) {
        let interval = self.interval.unwrap_or_default();
        let others = u32::try_from(interval.as_nanos() / work.as_nanos().max(1)).unwrap_or(u32::MAX);
        let count = count.min(others.saturating_add(1));
        if count <= 1 {
            return (1, Duration::ZERO);
        }
        // Each is made while the one before it is shown.
        let behind = work.saturating_sub(interval / count);
        (count, work + behind * (count - 2))
    }

    /// Returns when the last picture that arrived is due, and those interpolated before it, `count` (at least 1) in all,
    /// which are ready to be shown from `ready` on.
    ///
    /// The picture is due at `ready` at the earliest, and an interval later at the latest, but never before the last one.
    pub(crate) fn plan(&mut self, ready: Duration, count: u32) -> Plan {
        let count = count.max(1);
        let (Some(interval), Some(arrived)) = (self.interval, self.arrived) else {
            self.due = self.due.max(ready);
            return Plan { first: self.due, step: Duration::ZERO };
        };
        // The first one cannot be shown before it is ready, and the others follow it.
        let delay = interval * (4 * self.factor - 3) / (4 * self.factor);
        let own = (arrived + delay).max(ready + interval * (count - 1) / count);
        let usual = self.due + interval;
        let is_near = own.abs_diff(usual) < interval / 2;
        let even = if is_near { (usual * (SHARE - 1) + own) / SHARE } else { own };
        let due = even.min(ready + interval).max(ready).max(self.due);
        let before = due.saturating_sub(interval).max(self.due);
        self.due = due;
        let step = (due - before) / count;
        if before + step >= ready || count == 1 {
            return Plan { first: due - step * (count - 1), step };
        }
        let step = (due - ready) / (count - 1);
        Plan { first: due - step * (count - 1), step }
    }

    /// Forgets all pictures: the next one is the first.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns when each picture is due, of those that arrive at some times, are ready after `work`, and are shown with
    /// `count - 1` others each.
    fn shown(arrivals: &[Duration], work: Duration, count: u32) -> Vec<Duration> {
        let mut pacer = Pacer::default();
        let mut shown = Vec::new();
        for &arrival in arrivals {
            let count = if pacer.arrive(arrival, count) { count } else { 1 };
            let plan = pacer.plan(arrival + work, count);
            shown.extend((0..count).map(|number| plan.due(number)));
        }
        shown
    }

    /// Returns the longest and the shortest time between two pictures.
    fn range(shown: &[Duration]) -> (Duration, Duration) {
        let steps = shown.windows(2).map(|pair| pair[1] - pair[0]);
        (steps.clone().max().unwrap(), steps.min().unwrap())
    }

    #[test]
    fn even_arrivals_are_shown_less_than_one_interval_later_at_even_steps() {
        for count in 1..=4 {
            let arrivals: Vec<Duration> = (0..50).map(|number| millis(1000 + 48 * number)).collect();
            let shown = shown(&arrivals, millis(5), count);
            let late = *shown.last().unwrap() - arrivals[49];
            // All steps before it but a quarter of one, or all steps from when the first one is ready.
            let expected =
                (millis(48) * (4 * count - 3) / (4 * count)).max(millis(5) + millis(48) * (count - 1) / count);
            assert!(late.abs_diff(expected) < millis(1) && late < millis(48), "{count}: {late:?}");
            let (longest, shortest) = range(&shown[shown.len() / 2..]);
            let step = millis(48) / count;
            assert!(longest < step + millis(1) && shortest + millis(1) > step, "{count}: {shortest:?} to {longest:?}");
        }
    }

    #[test]
    fn the_first_picture_and_the_first_after_a_pause_are_due_when_they_are_ready() {
        let mut pacer = Pacer::default();
        for (arrival, in_a_row) in [(100, false), (140, true), (180, true), (700, false), (740, true), (9000, false)] {
            assert_eq!(pacer.arrive(millis(arrival), 2), in_a_row, "{arrival}");
            let plan = pacer.plan(millis(arrival + 3), 1);
            if !in_a_row {
                assert_eq!(plan.due(0), millis(arrival + 3));
            }
        }
        pacer.reset();
        assert!(!pacer.arrive(millis(9040), 2));
        assert_eq!(pacer.plan(millis(9041), 1).due(0), millis(9041));
    }

    #[test]
    fn uneven_arrivals_become_even_pictures() {
        // Late and early by a tenth in turn, and by more every fifth time.
        let late = [0, 4, 0, 4, 8];
        let arrivals: Vec<Duration> = (0..200).map(|number| millis(40 * number + late[number as usize % 5])).collect();
        let (longest, shortest) = range(&arrivals[20..]);
        let (paced_longest, paced_shortest) = range(&shown(&arrivals, millis(3), 2)[40..]);
        assert!(longest - shortest >= millis(12));
        assert!(paced_longest - paced_shortest <= millis(5), "{paced_shortest:?} to {paced_longest:?}");
    }

    #[test]
    fn a_changed_rate_is_followed_within_some_pictures() {
        for (from, to) in [(100, 20), (20, 50)] {
            let mut arrivals: Vec<Duration> = (0..20).map(|number| millis(from * number)).collect();
            let start = *arrivals.last().unwrap();
            arrivals.extend((1..40).map(|number| start + millis(to * number)));
            let shown = shown(&arrivals, millis(1), 2);
            let (longest, shortest) = range(&shown[shown.len() - 20..]);
            assert!(longest - shortest <= millis(1), "{shortest:?} to {longest:?}");
            let late = *shown.last().unwrap() - *arrivals.last().unwrap();
            assert!(late.abs_diff(millis(to) * 5 / 8) <= millis(2), "{late:?}");
        }
    }

    #[test]
    fn a_host_that_waits_for_each_picture_does_not_wait_longer_with_each() {
        for factor in 2..=4 {
            let (mut pacer, mut now, mut interval) = (Pacer::default(), Duration::ZERO, Duration::ZERO);
            for _ in 0..500 {
                // The engine takes 20 ms from when the last picture was shown, and the flow 5 ms.
                let arrival = now + millis(20);
                let count = if pacer.arrive(arrival, factor) { factor } else { 1 };
                let shown = pacer.plan(arrival + millis(5), count).due(count - 1);
                (interval, now) = (shown - now, shown);
            }
            assert!(interval <= millis(26) * factor + millis(10) * (factor - 1), "{factor}: {interval:?}");
        }
    }

    #[test]
    fn as_many_pictures_are_shown_as_can_be_made_in_time() {
        let mut pacer = Pacer::default();
        assert_eq!(pacer.affords(4, Duration::ZERO), (1, Duration::ZERO));
        assert_eq!([0, 100].map(|arrival| pacer.arrive(millis(arrival), 4)), [false, true]);
        let affords = |work| pacer.affords(4, millis(work));
        assert_eq!(affords(0), (4, millis(0)));
        assert_eq!(affords(20), (4, millis(20)));
        // The last of three is ready 90 ms from now, two steps of 25 ms after the first.
        assert_eq!(affords(30), (4, millis(40)));
        assert_eq!(affords(60), (2, millis(60)));
        assert_eq!(affords(101), (1, millis(0)));
    }

    proptest! {
        #[test]
        fn pictures_are_due_in_order_when_ready_and_at_most_an_interval_later(
            pictures in prop::collection::vec((0_u64..3000, 0_u64..100, 1_u32..5), 1..60),
        ) {
            let (mut pacer, mut now, mut last) = (Pacer::default(), Duration::ZERO, Duration::ZERO);
            for (gap, work, count) in pictures {
                now += millis(gap);
                let count = if pacer.arrive(now, count) { count } else { 1 };
                let ready = now + millis(work);
                let plan = pacer.plan(ready, count);
                let latest = (ready + pacer.interval.unwrap_or_default()).max(last);
                prop_assert!(plan.due(0) >= last);
                prop_assert!(count > 1 || plan.due(0) >= ready);
                for number in 1..count {
                    prop_assert!(plan.due(number) >= plan.due(number - 1));
                }
                last = plan.due(count - 1);
                prop_assert!(last >= ready && last <= latest, "{last:?}, ready at {ready:?}, at most {latest:?}");
                prop_assert!(pacer.interval.is_none_or(|interval| interval <= LONGEST));
            }
        }

        #[test]
        fn each_step_is_at_most_an_interval(gaps in prop::collection::vec(1_u64..400, 2..60), count in 1_u32..5) {
            let (mut pacer, mut now) = (Pacer::default(), Duration::ZERO);
            for gap in gaps {
                now += millis(gap);
                if pacer.arrive(now, count) {
                    let plan = pacer.plan(now, count);
                    prop_assert!(plan.step <= pacer.interval.unwrap());
                    prop_assert!(plan.due(0) >= now || count == 1, "{plan:?} at {now:?}");
                } else {
                    pacer.plan(now, 1);
                }
            }
        }
    }
}

//! The times of sound: as late as its pictures, and without gaps where the publisher sends none.

use std::time::Duration;

use bytes::Bytes;
use dreamframe::frame::Timestamp;
use dreamframe::transport::AudioDelay;

use super::Packet;
use super::format::{Format, OPUS_RATE};

/// The difference between the time at which a packet should be heard and the end of the one before that is ignored: a
/// smaller one is not noticed.
const TOLERANCE: Duration = Duration::from_millis(80);

/// The difference of a publisher's times and durations that is rounding.
const ROUNDING: Duration = Duration::from_millis(10);

/// A publisher's clock that changes by more than this was reset.
const RESTART: u32 = 5 * OPUS_RATE;

/// The time over which the quickest packet is looked for, twice.
const PERIOD: Duration = Duration::from_secs(2);

/// A packet with its place among the pictures.
#[derive(Debug, Clone)]
pub(crate) struct Sound {
    pub(crate) format: Format,
    pub(crate) data: Bytes,
    /// When it is to be heard, in samples since the zero of the pictures' clock.
    pub(crate) start: u64,
    /// Its duration in samples.
    pub(crate) samples: u32,
}

impl Sound {
    /// When it is to be heard, on the clock of the pictures.
    pub(crate) fn at(&self) -> Timestamp {
        nanos(self.start, self.format.rate())
    }

    /// When it ends.
    pub(crate) fn end(&self) -> Timestamp {
        nanos(self.start + u64::from(self.samples), self.format.rate())
    }
}

/// Returns nanoseconds in units of a `rate`-th of a second, rounded.
pub(crate) fn ticks(nanos: u64, rate: u32) -> u64 {
    let ticks = (u128::from(nanos) * u128::from(rate) + 500_000_000) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

fn nanos(ticks: u64, rate: u32) -> Timestamp {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(rate.max(1));
    Timestamp(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Places the packets of one publisher after another.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    delay: AudioDelay,
    lowest: Lowest,
    last: Option<Last>,
}

/// The last packet.
#[derive(Debug)]
struct Last {
    format: Format,
    timestamp: u32,
    /// Units of 1/48000 s since the first packet, by the publisher's clock.
    media: u64,
    samples: u32,
    /// The end of the last one that was placed, in samples.
    end: u64,
}

impl Timeline {
    /// Places a packet, with the current latency of the pictures; `None` for one that is invalid, late, or left out
    /// because the latency has fallen.
    pub(super) fn place(&mut self, packet: Packet, latency: Duration) -> Option<Sound> {
        let Packet { format, data, timestamp, at } = packet;
        let samples = format.samples(&data)?;
        let rate = format.rate();
        let step = self.last.as_ref().filter(|last| last.format == format).map(|last| {
            let step = timestamp.wrapping_sub(last.timestamp).cast_signed();
            (step, step.unsigned_abs() <= RESTART)
        });
        let (media, gap) = match (step, &self.last) {
            (Some((..=0, true)), _) => return None,
            (Some((step, true)), Some(last)) => {
                let step = u64::from(step.unsigned_abs());
                let gap = (step * u64::from(rate) / u64::from(OPUS_RATE)).saturating_sub(last.samples.into());
                (last.media + step, if gap > samples_of(ROUNDING, rate) { gap } else { 0 })
            }
            _ => {
                self.lowest = Lowest::default();
                (0, 0)
            }
        };
        let sent = nanos(media, OPUS_RATE).0.cast_signed();
        let quickest = self.lowest.update(at.0.cast_signed() - sent, at);
        let delay = i64::try_from(self.delay.follow(latency).as_nanos()).unwrap_or(i64::MAX);
        let due = sent.saturating_add(quickest).saturating_add(delay).max(0).cast_unsigned();
        let target = ticks(due, rate);
        // The end of a packet of another format is another number of samples.
        let before = self.last.take();
        let end = before.map_or(0, |last| ticks(nanos(last.end, last.format.rate()).0, rate));
        let (next, tolerance) = (end + gap, samples_of(TOLERANCE, rate));
        let start = if step.is_none_or(|(_, continues)| !continues) {
            Some(target.max(end))
        } else if target > next + tolerance {
            Some(target)
        } else {
            (target + tolerance >= next).then_some(next)
        };
        let end = start.map_or(end, |start| start + u64::from(samples));
        self.last = Some(Last { format: format.clone(), timestamp, media, samples, end });
        start.map(|start| Sound { format, data, start, samples })
    }
}

fn samples_of(time: Duration, rate: u32) -> u64 {
    ticks(time.as_nanos() as u64, rate)
}

/// The lowest of the last values: the arrival of a packet that no network delayed.
#[derive(Debug, Default)]
struct Lowest {
    /// Of this period, with its start, and of the period before.
    current: Option<(i64, Timestamp)>,
    previous: Option<i64>,
}

impl Lowest {
    fn update(&mut self, value: i64, at: Timestamp) -> i64 {
        let (lowest, since) = self.current.unwrap_or((value, at));
        self.current = Some(if at.since(since) > PERIOD {
            self.previous = Some(lowest);
            (value, at)
        } else {
            (lowest.min(value), since)
        });
        let current = self.current.map_or(value, |(lowest, _)| lowest);
        self.previous.map_or(current, |previous| previous.min(current))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn opus(timestamp: u32, arrival_ms: u64) -> Packet {
        let data = Bytes::from_static(&[0xF8, 0xFF, 0xFE]);
        Packet { format: Format::Opus, data, timestamp, at: Timestamp(arrival_ms * MS) }
    }

    /// Places packets of 20 ms, given by their number, arrival, and the latency in milliseconds; returns the times in
    /// milliseconds at which they are heard.
    fn heard(packets: &[(u32, u64, u64)]) -> Vec<u64> {
        let mut timeline = Timeline::default();
        let place = |(number, arrival, latency): &(u32, u64, u64)| {
            // The publisher's clock wraps.
            let packet = opus((u32::MAX - 2000).wrapping_add(number * 960), *arrival);
            timeline.place(packet, Duration::from_millis(*latency)).map(|sound| sound.at().0 / MS)
        };
        packets.iter().filter_map(place).collect()
    }

    #[test]
    fn sound_is_as_late_as_the_pictures_and_arrivals_do_not_shake_it() {
        assert_eq!(heard(&[(0, 100, 250), (1, 155, 260), (2, 141, 240), (3, 190, 250)]), [350, 370, 390, 410]);
    }

    #[test]
    fn lost_packets_and_pauses_leave_gaps_and_late_packets_are_left_out() {
        assert_eq!(heard(&[(0, 0, 0), (1, 20, 0), (3, 60, 0), (2, 61, 0), (4, 80, 0)]), [0, 20, 60, 80]);
        assert_eq!(heard(&[(0, 0, 0), (50, 1000, 0), (51, 1020, 0)]), [0, 1000, 1020]);
    }

    #[test]
    fn changes_of_the_latency_are_followed_in_order() {
        let later: Vec<_> = (0..4).map(|at| (at, u64::from(at) * 20, if at < 2 { 100 } else { 300 })).collect();
        assert_eq!(heard(&later), [100, 120, 340, 360]);
        // 300 ms that are left out, less what is tolerated.
        let sooner: Vec<_> = (0..40).map(|at| (at, u64::from(at) * 20, if at < 2 { 400 } else { 100 })).collect();
        let heard = heard(&sooner);
        assert_eq!((heard[1], heard[2], heard.len()), (420, 440, 40 - 11));
    }

    #[test]
    fn another_publisher_starts_where_the_first_ended() {
        let mut timeline = Timeline::default();
        let mut place = |packet| timeline.place(packet, Duration::ZERO).map(|sound| sound.at().0 / MS);
        assert_eq!(place(opus(0, 100)), Some(100));
        assert_eq!(place(opus(2_000_000_000, 105)), Some(120), "the clock of another");
        let aac = Format::aac(&[0x12, 0x10]).unwrap();
        let packet = Packet { format: aac, data: Bytes::from_static(&[1]), timestamp: 7, at: Timestamp(500 * MS) };
        assert_eq!(place(packet), Some(500));
        assert_eq!(place(opus(0, 510)), Some(523), "after 1024 samples");
        let invalid = Packet { data: Bytes::new(), ..opus(960, 530) };
        assert_eq!(place(invalid), None);
    }

    #[test]
    fn times_in_milliseconds_leave_no_gaps() {
        let mut timeline = Timeline::default();
        let format = Format::aac(&[0x12, 0x10]).unwrap();
        let mut expected = None;
        for frame in 0..44_100_u64 {
            let ms = frame * 1024 * 1000 / 44_100;
            let packet = Packet {
                format: format.clone(),
                data: Bytes::from_static(&[1]),
                timestamp: (ms as u32).wrapping_mul(48),
                at: Timestamp(ms * MS + 5 * MS),
            };
            let sound = timeline.place(packet, Duration::from_millis(40)).unwrap();
            assert_eq!(sound.start, expected.unwrap_or(sound.start), "frame {frame}");
            expected = Some(sound.start + 1024);
        }
    }

    proptest! {
        #[test]
        fn packets_never_overlap(
            packets in prop::collection::vec((any::<bool>(), any::<u32>(), 0..100_000_u64, 0..5000_u64), 0..60),
        ) {
            let aac = Format::aac(&[0x11, 0x90]).unwrap();
            let (mut timeline, mut end) = (Timeline::default(), 0);
            for (is_aac, timestamp, arrival, latency) in packets {
                let mut packet = opus(timestamp, arrival);
                if is_aac {
                    packet.format = aac.clone();
                }
                if let Some(sound) = timeline.place(packet, Duration::from_millis(latency)) {
                    prop_assert!(sound.start >= end);
                    end = sound.start + u64::from(sound.samples);
                }
            }
        }
    }
}

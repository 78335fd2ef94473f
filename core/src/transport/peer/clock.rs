//! RTP timestamps of an outgoing stream, and the reports that relate them to wall-clock time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rtc::rtcp::sender_report::SenderReport;

use crate::frame::Timestamp;
use crate::transport::now;

/// How often a report is due.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;
/// The minimum difference of two timestamps: they must differ even if a picture is repeated.
const LEAST_STEP: Duration = Duration::from_millis(1);

/// The clock of one stream.
#[derive(Debug)]
pub(super) struct StreamClock {
    /// Ticks per second.
    rate: u32,
    /// The RTP time of the start of [`now`]'s clock, or the offset to a publisher's own.
    base: u32,
    /// The last time and its timestamp.
    last: Option<(Timestamp, u32)>,
    reported: Option<Timestamp>,
    packets: u32,
    bytes: u32,
}

impl StreamClock {
    pub(super) fn new(rate: u32) -> Self {
        // Random only to prevent guessing.
        let base = getrandom::u32().unwrap_or(0);
        Self { rate, base, last: None, reported: None, packets: 0, bytes: 0 }
    }

    fn ticks(&self, time: Duration) -> u32 {
        let ticks = time.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        // Timestamps wrap.
        (ticks & u128::from(u32::MAX)) as u32
    }

    /// Returns the timestamp of a picture taken `at`; always later than the previous one.
    pub(super) fn picture(&mut self, at: Timestamp) -> u32 {
        let least = self.last.map_or(0, |(last, _)| last.0.saturating_add(LEAST_STEP.as_nanos() as u64));
        let at = Timestamp(at.0.max(least));
        let stamp = self.base.wrapping_add(self.ticks(Duration::from_nanos(at.0)));
        self.last = Some((at, stamp));
        stamp
    }

    /// Returns the timestamp of audio that the publisher stamped `own` and that arrived at `at`: with the publisher's
    /// intervals.
    pub(super) fn sound(&mut self, own: u32, at: Timestamp) -> u32 {
        let stamp = self.base.wrapping_add(own);
        self.last = Some((at, stamp));
        stamp
    }

    /// Counts a packet of `bytes`.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u32);
    }

    /// Creates the sender report, if one is due.
    pub(super) fn report(&mut self, ssrc: u32) -> Option<SenderReport> {
        let (at, stamp) = self.last?;
        let now = now();
        if self.reported.is_some_and(|last| now.since(last) < REPORT_INTERVAL) {
            return None;
        }
        self.reported = Some(now);
        Some(SenderReport {
            ssrc,
            ntp_time: ntp(SystemTime::now()),
            rtp_time: stamp.wrapping_add(self.ticks(now.since(at))),
            packet_count: self.packets,
            octet_count: self.bytes,
            ..SenderReport::default()
        })
    }
}

/// Seconds since 1900 in the upper half, their fraction in the lower.
fn ntp(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs().wrapping_add(NTP_TO_UNIX) << 32) | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_as_far_apart_as_their_frames() {
        let mut clock = StreamClock::new(90_000);
        let first = clock.picture(Timestamp(7_000_000_000));
        let second = clock.picture(Timestamp(7_033_000_000));
        assert_eq!(second.wrapping_sub(first), 2970);
    }

    #[test]
    fn a_picture_shown_again_is_stamped_later() {
        let mut clock = StreamClock::new(90_000);
        let first = clock.picture(Timestamp(5_000_000));
        assert_eq!(clock.picture(Timestamp(5_000_000)).wrapping_sub(first), 90);
        assert_eq!(clock.picture(Timestamp(0)).wrapping_sub(first), 180);
    }

    #[test]
    fn sound_keeps_the_publishers_steps_across_the_wrap() {
        let mut clock = StreamClock::new(48_000);
        let first = clock.sound(u32::MAX - 10, Timestamp(1));
        let second = clock.sound(949, Timestamp(2));
        assert_eq!(second.wrapping_sub(first), 960);
    }

    #[test]
    fn sender_report_has_the_current_stream_time() {
        let mut clock = StreamClock::new(90_000);
        assert!(clock.report(1).is_none(), "nothing was stamped yet");
        let stamp = clock.picture(now());
        clock.sent(100);
        let report = clock.report(1).expect("the first is due at once");
        assert!(report.rtp_time.wrapping_sub(stamp) < 90_000, "less than a second later");
        assert_eq!((report.packet_count, report.octet_count), (1, 100));
        assert!(clock.report(1).is_none(), "the next is not due yet");
    }

    #[test]
    fn ntp_time_counts_from_1900() {
        assert_eq!(ntp(UNIX_EPOCH + Duration::from_millis(500)), (2_208_988_800 << 32) | (1 << 31));
    }
}

//! Pictures to viewers, decoded again.

use std::sync::Weak;

use super::*;
#[cfg(not(feature = "vp8"))]
use crate::ErrorKind;
use crate::frame::{Frame, Timestamp};
use crate::transport::codec::{Decoder, Encoder, decoder, encoder};
use crate::transport::media::now;
use crate::transport::rtp::limits::MAX_SIDE;
use crate::transport::testing::{at, number, numbered};

/// Timeout that no test reaches.
const SOON: Duration = Duration::from_secs(30);

fn egress() -> Egress {
    Egress::new(EgressOptions::default())
}

/// A viewer that decodes.
struct Viewer {
    subscription: Subscription,
    decoder: Box<dyn Decoder>,
}

impl Viewer {
    fn new(egress: &Egress) -> Self {
        let subscription = egress.subscribe(VideoCodec::H264).unwrap();
        Self { subscription, decoder: decoder(VideoCodec::H264, MAX_SIDE).unwrap() }
    }

    /// The next picture's number and time, and whether it is a key frame.
    fn next(&mut self) -> Option<(u32, Timestamp, bool)> {
        self.next_taken().map(|(number, at, _, key)| (number, at, key))
    }

    /// Likewise, with the time of its frame after its own.
    fn next_taken(&mut self) -> Option<(u32, Timestamp, Timestamp, bool)> {
        let unit = self.subscription.next_within(SOON)?;
        let mut shown = None;
        self.decoder.decode(&unit.data, &mut |frame| shown = number(frame)).unwrap();
        Some((shown.unwrap(), unit.at, unit.taken, unit.key))
    }

    fn number(&mut self) -> Option<u32> {
        self.next().map(|(number, ..)| number)
    }
}

fn picture(number: u32) -> Frame {
    numbered(number, 128, 96)
}

fn show(egress: &Egress, number: u32) {
    egress.show(&picture(number).view());
}

/// Waits until it has ended.
fn ended(run: &Weak<EncoderSession>) -> bool {
    let start = Instant::now();
    while run.strong_count() > 0 && start.elapsed() < SOON {
        std::thread::yield_now();
    }
    run.strong_count() == 0
}

#[test]
fn viewers_see_every_picture_from_a_key_frame_on_and_one_encoder_is_enough() {
    let egress = egress();
    let mut viewers: Vec<_> = (0..10).map(|_| Viewer::new(&egress)).collect();
    assert_eq!(egress.viewers(), 10);
    for expected in 0..6 {
        let taken = now();
        egress.show(&at(picture(expected), taken.0 / 1_000_000).view());
        for viewer in &mut viewers {
            let (number, at, frame, key) = viewer.next_taken().unwrap();
            assert_eq!((number, frame.0 / 1_000_000, key), (expected, taken.0 / 1_000_000, expected == 0));
            assert!(at >= taken && at <= now());
        }
    }
    let stats = egress.stats();
    assert_eq!((stats.shown.total, stats.encoded.total, stats.key_frames, stats.failed), (6, 6, 1, 0));
    assert_eq!((stats.width, stats.height), (128, 96));
    assert!(stats.bytes > 0 && stats.encode_ms > 0.0);
}

#[test]
fn late_viewer_gets_the_last_picture() {
    let egress = egress();
    let mut early = Viewer::new(&egress);
    for number in 0..12 {
        show(&egress, number);
        assert_eq!(early.number(), Some(number));
    }
    // The key frame at the beginning is no longer in the ring.
    let mut late = Viewer::new(&egress);
    let (number, _, key) = late.next().unwrap();
    assert_eq!((number, key), (11, true));
    assert_eq!(early.number(), Some(11));
    show(&egress, 12);
    assert_eq!((early.number(), late.number()), (Some(12), Some(12)));
}

#[test]
fn unchanged_picture_is_repeated_for_viewers_that_lost_it() {
    let egress = egress();
    let mut viewer = Viewer::new(&egress);
    show(&egress, 1);
    assert_eq!(viewer.next().map(|(number, _, key)| (number, key)), Some((1, true)));
    assert_eq!(viewer.next().map(|(number, _, key)| (number, key)), Some((1, false)));
}

/// A receiver takes a sender whose timestamps fall behind for one with a slow clock, and holds pictures back.
#[test]
fn units_have_the_time_of_their_encoding_while_the_latency_grows() {
    let egress = egress();
    let mut viewer = Viewer::new(&egress);
    let shown: Vec<_> = [0, 0, 400, 800, 1600]
        .into_iter()
        .zip(0..)
        .map(|(latency, number)| {
            let before = now();
            let frame = Timestamp(before.0.saturating_sub(latency * 1_000_000).max(1));
            let mut picture = picture(number);
            picture.set_timestamp(frame);
            egress.show(&picture.view());
            let (_, at, taken, _) = viewer.next_taken().unwrap();
            assert_eq!(taken, frame);
            (at.since(before), at)
        })
        .collect();
    assert!(shown.is_sorted_by(|(_, a), (_, b)| a < b), "{shown:?}");
    assert!(shown.iter().all(|(late, _)| *late < SOON), "{shown:?}");
    assert!(egress.stats().age_ms > 0.0);
}

#[test]
fn units_are_never_at_one_time_nor_in_the_future() {
    let egress = egress();
    let mut viewer = Viewer::new(&egress);
    let mut times = Vec::new();
    for (number, millis) in [(1, 5), (2, 5), (3, 4), (4, u64::MAX / 2_000_000), (5, 0), (6, 1)] {
        egress.show(&at(picture(number), millis).view());
        times.push(viewer.next().unwrap().1);
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    // Two pictures in the same instant are a step apart.
    assert!(times[5] <= Timestamp(now().0 + 3_000_000));
}

#[test]
fn slow_viewer_requests_a_key_frame_and_continues() {
    let egress = egress();
    let (mut slow, mut quick) = (Viewer::new(&egress), Viewer::new(&egress));
    for number in 0..20 {
        show(&egress, number);
        assert_eq!(quick.number(), Some(number));
    }
    let (number, _, key) = slow.next().unwrap();
    assert_eq!((number, key), (19, true));
    assert_eq!(egress.stats().key_frames, 2);
}

#[test]
fn requested_key_frame_is_made_without_a_new_picture() {
    let egress = egress();
    let mut viewer = Viewer::new(&egress);
    show(&egress, 1);
    assert_eq!(viewer.next().map(|(number, _, key)| (number, key)), Some((1, true)));
    egress.request_key_frame(VideoCodec::H264);
    // If this thread is slow, the picture is repeated earlier.
    assert!((0..10).any(|_| viewer.next().unwrap().2));
}

#[test]
fn the_thread_ends_with_the_last_viewer_and_a_new_one_starts_another() {
    let egress = egress();
    let (first, second) = (Viewer::new(&egress), Viewer::new(&egress));
    let run = Arc::downgrade(&first.subscription.run);
    drop(first);
    show(&egress, 1);
    assert_eq!((egress.viewers(), run.strong_count() > 0), (1, true));
    drop(second);
    assert!(egress.viewers() == 0 && ended(&run));
    let mut third = Viewer::new(&egress);
    assert_eq!(third.next().map(|(number, _, key)| (number, key)), Some((1, true)));
    show(&egress, 2);
    assert_eq!(third.number(), Some(2));
}

#[test]
fn late_viewer_sees_a_picture_of_the_last_second() {
    let egress = egress();
    show(&egress, 1);
    for _ in 0..2 {
        let mut viewer = Viewer::new(&egress);
        assert_eq!(viewer.next().map(|(number, _, key)| (number, key)), Some((1, true)));
    }
    assert_eq!(egress.stats().shown.total, 1);
}

#[test]
fn subscriptions_end_with_the_egress() {
    let egress = egress();
    let mut viewer = Viewer::new(&egress);
    let run = Arc::downgrade(&viewer.subscription.run);
    let other = egress.clone();
    drop(egress);
    show(&other, 4);
    assert_eq!(viewer.number(), Some(4));
    drop(other);
    assert_eq!(viewer.number(), None);
    drop(viewer);
    assert!(ended(&run));
}

#[test]
fn a_task_that_watches_gets_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let egress = egress();
    let mut subscription = egress.subscribe(VideoCodec::H264).unwrap();
    show(&egress, 1);
    let unit = runtime.block_on(subscription.next()).unwrap();
    assert!(unit.key);
    drop(egress);
    assert!(runtime.block_on(subscription.next()).is_none());
}

#[test]
fn a_size_that_changes_gives_a_key_frame_and_one_that_cannot_be_coded_is_counted() {
    let egress = egress();
    let mut viewer = Viewer::new(&egress);
    show(&egress, 1);
    assert_eq!(viewer.number(), Some(1));
    egress.show(&numbered(2, 65, 33).view());
    assert_eq!(viewer.next().map(|(number, _, key)| (number, key)), Some((2, true)));
    assert_eq!((egress.stats().width, egress.stats().height), (64, 32));
    egress.show(&numbered(3, 8, 8).view());
    let start = Instant::now();
    while egress.stats().failed == 0 {
        assert!(start.elapsed() < SOON);
        std::thread::yield_now();
    }
    show(&egress, 4);
    assert_eq!(viewer.next().map(|(number, _, key)| (number, key)), Some((4, true)));
    assert!(egress.stats().failed < 3);
}

#[test]
fn a_bitrate_is_kept_within_its_ceiling() {
    let egress = egress();
    egress.set_bitrate(u32::MAX);
    assert_eq!(egress.stats().bitrate, EgressOptions::default().max_bitrate);
    egress.set_bitrate(500_000);
    assert_eq!(egress.stats().bitrate, 500_000);
}

#[cfg(not(feature = "vp8"))]
#[test]
fn a_codec_that_is_not_built_in_is_refused_and_leaves_no_viewer() {
    let egress = egress();
    assert_eq!(egress.subscribe(VideoCodec::Vp8).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(egress.viewers(), 0);
}

#[test]
fn viewers_that_come_and_go_while_pictures_are_shown_leave_nothing_behind() {
    let egress = egress();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                show(&egress, number);
            }
        });
        let viewers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..10).for_each(|_| assert!(Viewer::new(&egress).next().unwrap().2))))
            .collect();
        let ended: Vec<_> = viewers.into_iter().map(|viewer| viewer.join().is_ok()).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(ended, [true; 4]);
    });
    assert_eq!(egress.viewers(), 0);
}

#[test]
fn after_a_panic_of_the_encoder_pictures_continue_from_a_key_frame() {
    /// Panics at picture 2.
    #[derive(Debug)]
    struct Panicking(Box<dyn Encoder>);

    impl Encoder for Panicking {
        fn encode(&mut self, picture: &FrameView<'_>, key: bool, at: Timestamp) -> Result<Option<AccessUnit>> {
            assert_ne!(number(picture), Some(2), "a defect of the encoder");
            self.0.encode(picture, key, at)
        }

        fn set_bitrate(&mut self, bits_per_second: u32) {
            self.0.set_bitrate(bits_per_second);
        }
    }

    let egress = egress();
    let start = |run: &Arc<EncoderSession>| {
        let make = |rates| Ok(Box::new(Panicking(encoder(VideoCodec::H264, rates)?)) as Box<dyn Encoder>);
        Worker::start_with(egress.shared(), run, make)
    };
    CodecOutput::enter(egress.shared(), VideoCodec::H264, start).unwrap();
    let mut viewer = Viewer::new(&egress);
    for number in 0..2 {
        show(&egress, number);
        while viewer.number().unwrap() != number {}
    }
    show(&egress, 2);
    let start = Instant::now();
    while egress.stats().failed == 0 {
        assert!(start.elapsed() < SOON, "the panic was not counted");
        std::thread::yield_now();
    }
    // The next is a key frame, of picture 2 once more or of picture 3.
    show(&egress, 3);
    let (number, _, key) = loop {
        let next = viewer.next().unwrap();
        if next.0 >= 2 {
            break next;
        }
    };
    assert!(key, "{number}");
    show(&egress, 4);
    while viewer.number().unwrap() != 4 {}
    assert_eq!(egress.stats().failed, 1);
}

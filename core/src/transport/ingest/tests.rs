//! Encoded pictures over a simulated link, through the decoder, to a sink.

use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;

use super::backlog::Backlog;
use super::receiver::Receiver;
use super::*;
use crate::transport::codec::{Converter, Rates, decoder, encoder};
use crate::transport::rtp::limits::MAX_SIDE;
use crate::transport::testing::{Packetiser, number, numbered};

/// Timeout that no test reaches.
const SOON: Duration = Duration::from_secs(30);

/// The number, time and width of a frame; `None` once the sink is dropped.
type Received = Option<(u32, Timestamp, u32)>;

/// Reports each frame, and its own end.
#[derive(Debug)]
struct Sink {
    sender: Sender<Received>,
}

impl FrameSink for Sink {
    fn frame(&self, frame: &FrameView<'_>) {
        let _ = self.sender.send(Some((number(frame).unwrap(), frame.stamp().timestamp, frame.width())));
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.sender.send(None);
    }
}

fn ingest() -> (Ingest, Channel<Received>) {
    let (sender, frames) = channel();
    (Ingest::start(VideoCodec::H264, Arc::new(Sink { sender })).unwrap(), frames)
}

/// Encodes numbered pictures of these sizes, as key frames on request.
fn units(pictures: impl IntoIterator<Item = (u32, bool)>) -> Vec<AccessUnit> {
    let rates = Rates { bitrate: 2_000_000, ceiling: 2_000_000, frames: 30.0 };
    let (mut converter, mut encoder) = (Converter::default(), encoder(VideoCodec::H264, rates).unwrap());
    let unit = |(number, (side, key)): (u32, (u32, bool))| {
        let picture = numbered(number, side, side);
        let at = Timestamp(u64::from(number) * 33_333_333);
        encoder.encode(&converter.convert(&picture).unwrap(), key, at).unwrap().unwrap()
    };
    (0..).zip(pictures).map(unit).collect()
}

#[test]
fn frames_are_in_order_with_the_time_of_their_first_packet_on_a_reordering_link() {
    let (ingest, frames) = ingest();
    let mut packetiser = Packetiser { sequence: 65_520, timestamp: 7 };
    let units = units((0..12).map(|place| (if place < 6 { 128 } else { 96 }, false)));
    for (place, unit) in (0..).zip(&units) {
        let mut packets = packetiser.packets(unit);
        assert!(packets.len() > 1 || place > 0);
        let count = packets.len();
        if place > 0 {
            packets.reverse();
            packets.push(packets[count - 1].clone());
        }
        let before = now();
        packets.into_iter().for_each(|packet| ingest.packet(packet));
        let (number, at, width) = frames.recv_timeout(SOON).unwrap().unwrap();
        assert_eq!((number, width), (place, if place < 6 { 128 } else { 96 }));
        assert!((before..now()).contains(&at));
    }
    let stats = ingest.stats();
    assert_eq!((stats.units, stats.frames.total, stats.failed, stats.lost), (12, 12, 0, 0));
    assert_eq!((stats.width, stats.height), (96, 96));
    assert!(stats.last_frame_at > Timestamp(0));
}

#[test]
fn the_thread_ends_with_the_last_handle() {
    let (ingest, frames) = ingest();
    let other = ingest.clone();
    drop(ingest);
    other.access_unit(units([(64, false)]).remove(0));
    assert!(frames.recv_timeout(SOON).unwrap().is_some());
    drop(other);
    assert_eq!(frames.recv_timeout(SOON), Ok(None));
}

#[test]
fn after_a_panic_of_the_sink_frames_continue_from_the_next_key_frame() {
    /// Panics at one frame.
    #[derive(Debug)]
    struct Panicking(Sink, u32);

    impl FrameSink for Panicking {
        fn frame(&self, frame: &FrameView<'_>) {
            assert_ne!(number(frame), Some(self.1), "a defect of the host");
            self.0.frame(frame);
        }
    }

    let (sender, frames) = channel();
    let ingest = Ingest::start(VideoCodec::H264, Arc::new(Panicking(Sink { sender }, 1))).unwrap();
    let coded = units([(128, true), (128, false), (128, false), (128, true), (128, false)]);
    for (number, unit) in (0..).zip(coded) {
        ingest.access_unit(unit);
        match number {
            1 => {
                let start = Instant::now();
                while ingest.stats().failed == 0 {
                    assert!(start.elapsed() < SOON, "the panic was not counted");
                    std::thread::yield_now();
                }
            }
            // It depends on a frame after which the decoder is not used until a key frame.
            2 => {}
            _ => assert_eq!(frames.recv_timeout(SOON).unwrap().unwrap().0, number),
        }
    }
    assert_eq!(ingest.stats().failed, 1);
}

#[test]
fn key_frames_are_requested_until_one_arrives_and_after_decoding_errors() {
    let (ingest, frames) = ingest();
    let units = units([(64, false), (64, false), (64, true)]);
    assert!(ingest.wants_key_frame() && !ingest.wants_key_frame());
    ingest.access_unit(units[1].clone());
    assert_eq!(ingest.stats().units, 0);
    ingest.access_unit(units[0].clone());
    assert!(frames.recv_timeout(SOON).unwrap().is_some());
    assert!(!ingest.shared().backlog.needs_key());
    let broken = AccessUnit { data: vec![0, 0, 0, 1, 0x67, 0xff, 0, 0, 0, 1, 0x65].into(), ..units[0].clone() };
    ingest.access_unit(broken);
    let start = Instant::now();
    while !ingest.shared().backlog.needs_key() {
        assert!(start.elapsed() < SOON);
        std::thread::yield_now();
    }
    assert_eq!(ingest.stats().failed, 1);
    ingest.access_unit(units[2].clone());
    assert_eq!(frames.recv_timeout(SOON).unwrap().map(|(number, ..)| number), Some(2));
    assert_eq!(ingest.stats().key_frame_requests, 1);
}

/// Forwards the numbers of frames, and refusals.
#[derive(Debug)]
struct Refusals {
    sender: Sender<Result<u32>>,
}

impl FrameSink for Refusals {
    fn frame(&self, frame: &FrameView<'_>) {
        let _ = self.sender.send(Ok(number(frame).unwrap()));
    }

    fn refused(&self, error: &Error) {
        let _ = self.sender.send(Err(Error::new(error.kind(), error.to_string())));
    }
}

#[test]
fn too_large_video_is_reported_and_smaller_video_continues() {
    let (sender, received) = channel();
    let options = IngestOptions { max_side: 64 };
    let ingest = Ingest::start_with(VideoCodec::H264, Arc::new(Refusals { sender }), options).unwrap();
    let mut units = units([(64, true), (96, true), (64, true)]).into_iter();
    ingest.access_unit(units.next().unwrap());
    assert_eq!(received.recv_timeout(SOON).unwrap().unwrap(), 0);
    ingest.access_unit(units.next().unwrap());
    let refused = received.recv_timeout(SOON).unwrap().unwrap_err();
    assert_eq!(
        (refused.kind(), refused.to_string().as_str()),
        (ErrorKind::Unsupported, "video: got 96x96, expected at most 64x64")
    );
    ingest.access_unit(units.next().unwrap());
    assert_eq!(received.recv_timeout(SOON).unwrap().unwrap(), 2);
    for max_side in [0, 15, 4097] {
        let refused = Ingest::start_with(
            VideoCodec::H264,
            Arc::new(Refusals { sender: channel().0 }),
            IngestOptions { max_side },
        );
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn the_sink_is_notified_of_refused_video_once_a_second_and_of_other_failures_never() {
    let (sender, received) = channel();
    let mut worker = Worker {
        shared: ingest().0.hold.shared.clone(),
        decoder: decoder(VideoCodec::H264, MAX_SIDE).unwrap(),
        sink: Arc::new(Refusals { sender }),
        refusals: TokenBucket::new(REFUSALS_PER_SECOND, 1),
        skipping: Skipping::default(),
    };
    let start = Instant::now();
    let mut notified = |kind, ms| {
        worker.notify_refused(&Error::new(kind, "a picture"), start + Duration::from_millis(ms));
        received.try_iter().count()
    };
    for (ms, expected) in [(0, 1), (1, 0), (999, 0), (1001, 1), (2000, 0), (60_000, 1)] {
        assert_eq!(notified(ErrorKind::Unsupported, ms), expected, "at {ms} ms");
    }
    assert_eq!(notified(ErrorKind::InvalidArgument, 90_000), 0);
}

/// Sends pictures over a link that loses the packets selected by `is_lost`. Returns the numbers that are decoded, the
/// number of lost packets, and the times of key frame requests in milliseconds.
fn over_a_link(units: &[AccessUnit], is_lost: impl Fn(usize) -> bool) -> (Vec<u32>, u64, Vec<u64>) {
    let (mut packetiser, mut receiver) = (Packetiser::default(), Receiver::new(VideoCodec::H264));
    let (backlog, mut decoder) = (Backlog::new(), decoder(VideoCodec::H264, MAX_SIDE).unwrap());
    let (mut shown, mut asked, mut sent) = (Vec::new(), Vec::new(), 0);
    for (place, unit) in (0..).zip(units) {
        let start = place * 33;
        for packet in packetiser.packets(unit) {
            sent += 1;
            if !is_lost(sent - 1) {
                receiver.packet(packet, Timestamp(start * 1_000_000));
            }
        }
        for millis in (start..start + 33).step_by(11) {
            receiver.advance(Timestamp(millis * 1_000_000));
            while let Some(assembled) = receiver.next() {
                match assembled {
                    Assembled::Unit(unit) => drop(backlog.put(unit)),
                    Assembled::Damaged => backlog.lost(),
                }
            }
            if backlog.needs_key() && receiver.asks(Timestamp(millis * 1_000_000)) {
                asked.push(millis);
            }
        }
        while !backlog.is_empty() {
            let unit = backlog.take().unwrap();
            decoder.decode(&unit.data, &mut |frame| shown.push(number(frame).unwrap())).unwrap();
        }
    }
    (shown, receiver.lost(), asked)
}

#[test]
fn after_a_loss_nothing_is_shown_before_the_next_key_frame() {
    let units = units((0..40).map(|place| (128, place == 25)));
    let mut packetiser = Packetiser::default();
    let first_of_tenth: usize = units[..10].iter().map(|unit| packetiser.packets(unit).len()).sum();
    let (shown, lost, asked) = over_a_link(&units, |place| place == first_of_tenth);
    let expected: Vec<_> = (0..10).chain(25..40).collect();
    assert_eq!((shown, lost), (expected, 1));
    // The gap is held for 120 ms from the packet behind it on; then a key frame is requested until it arrives.
    assert!((330 + 120..=330 + 33 + 132).contains(&asked[0]), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 300), "{asked:?}");
}

#[test]
fn no_damaged_picture_is_decoded_on_a_lossy_link() {
    let units = units((0..90).map(|place| (128, place % 15 == 0)));
    for every in [7, 13, 29] {
        let (shown, lost, _) = over_a_link(&units, |place| place % every == every - 1);
        assert!(lost > 0 && shown.is_sorted_by(|a, b| a < b), "{shown:?}");
    }
    let (shown, lost, asked) = over_a_link(&units, |_| false);
    assert_eq!((shown.len(), lost, asked), (90, 0, vec![]));
}

/// The effect of a link on a packet.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Passes,
    Lost,
    Doubled,
    /// Arrives after this many others.
    Late(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    let late = (1_usize..40).prop_map(Fate::Late);
    prop_oneof![150 => Just(Fate::Passes), 2 => Just(Fate::Lost), 2 => Just(Fate::Doubled), 2 => late]
}

/// Sends packets of the pictures over a link. Returns them in order of arrival, grouped by the picture being sent, and
/// for each picture whether none of its packets was lost or late.
fn sent(units: &[AccessUnit], first: u16, mut fates: impl Iterator<Item = Fate>) -> (Vec<Vec<RtpPacket>>, Vec<bool>) {
    let mut packetiser = Packetiser { sequence: first, timestamp: u32::from(first) << 16 };
    let (mut sent, mut is_whole) = (Vec::new(), vec![true; units.len()]);
    let (mut held, mut order): (Vec<(usize, RtpPacket)>, usize) = (Vec::new(), 0);
    for (unit, is_whole) in units.iter().zip(&mut is_whole) {
        let mut coming = Vec::new();
        for packet in packetiser.packets(unit) {
            order += 1;
            let fate = fates.next().unwrap_or(Fate::Passes);
            *is_whole &= matches!(fate, Fate::Passes | Fate::Doubled);
            match fate {
                Fate::Passes => coming.push(packet),
                Fate::Lost => {}
                Fate::Doubled => coming.extend([packet.clone(), packet]),
                Fate::Late(after) => held.push((order + after, packet)),
            }
            let due = held.extract_if(.., |(due, _)| *due <= order);
            coming.extend(due.map(|(_, packet)| packet));
        }
        sent.push(coming);
    }
    (sent, is_whole)
}

static FILM: LazyLock<Vec<AccessUnit>> = LazyLock::new(|| units((0..45).map(|place| (64, place % 9 == 0))));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn on_any_link_complete_pictures_are_shown_and_damaged_ones_are_not(
        first in any::<u16>(),
        fates in prop::collection::vec(fate(), 1..300),
    ) {
        let (sent, is_whole) = sent(&FILM, first, fates.into_iter().cycle());
        let (mut receiver, backlog) = (Receiver::new(VideoCodec::H264), Backlog::new());
        let (mut decoder, mut shown) = (decoder(VideoCodec::H264, MAX_SIDE).unwrap(), Vec::new());
        let late = std::iter::repeat_n(Vec::new(), 10);
        for (place, packets) in (0_u64..).zip(sent.into_iter().chain(late)) {
            let now = Timestamp(place * 33_000_000);
            packets.into_iter().for_each(|packet| receiver.packet(packet, now));
            receiver.advance(now);
            while let Some(assembled) = receiver.next() {
                match assembled {
                    Assembled::Unit(unit) => drop(backlog.put(unit)),
                    Assembled::Damaged => backlog.lost(),
                }
            }
            while !backlog.is_empty() {
                let unit = backlog.take().unwrap();
                decoder.decode(&unit.data, &mut |frame| shown.push(number(frame))).unwrap();
            }
        }
        let shown: Vec<u32> = shown.into_iter().map(|number| number.expect("each is whole")).collect();
        prop_assert!(shown.is_sorted_by(|a, b| a < b), "{shown:?}");
        let mut follows = false;
        for ((number, unit), is_whole) in (0..).zip(&*FILM).zip(is_whole) {
            follows = is_whole && (follows || unit.key);
            prop_assert!(!follows || shown.contains(&number), "{number} is not in {shown:?}");
        }
    }
}

#[test]
fn a_decoder_that_falls_behind_passes_a_frame_on_in_every_tenth_of_a_second() {
    let (mut skipping, start) = (Skipping::default(), Instant::now());
    let passed = |skipping: &mut Skipping, newest: bool, range: std::ops::Range<u64>| {
        range.step_by(20).filter(|&ms| skipping.passes(newest, start + Duration::from_millis(ms))).count()
    };
    assert_eq!(passed(&mut skipping, true, 0..1000), 50);
    // Newer ones wait: one after each 120 ms, the first multiple of 20 ms above the limit.
    assert_eq!(passed(&mut skipping, false, 1000..2200), 10);
}

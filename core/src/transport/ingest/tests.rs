//! Coded pictures over a link, through the decoder, to a sink.

use std::sync::Arc;
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::time::Duration;

use super::backlog::Backlog;
use super::receiver::Receiver;
use super::*;
use crate::transport::codec::{Converter, Rates, decoder, encoder};
use crate::transport::testing::{Packetiser, number, numbered};

/// For what must not happen to take that long.
const SOON: Duration = Duration::from_secs(30);

/// The number, time and width of a frame; none once the sink is let go.
type Told = Option<(u32, Timestamp, u32)>;

/// Tells of each frame, and of its own end.
#[derive(Debug)]
struct Sink {
    told: Sender<Told>,
}

impl FrameSink for Sink {
    fn frame(&self, frame: &FrameView<'_>) {
        let _ = self.told.send(Some((number(frame).unwrap(), frame.stamp().timestamp, frame.width())));
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.told.send(None);
    }
}

fn ingest() -> (Ingest, Channel<Told>) {
    let (told, frames) = channel();
    (Ingest::start(VideoCodec::H264, Arc::new(Sink { told })).unwrap(), frames)
}

/// Codes numbered pictures of these sides, as key frames where asked for.
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
fn frames_come_in_order_at_the_time_of_their_first_packet_whatever_the_link_swaps() {
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
fn a_key_frame_is_asked_for_until_one_comes_and_again_after_what_cannot_be_decoded() {
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

/// What a link that loses every packet of which `is_lost` says so leaves: the numbers that are decoded, how many were lost,
/// and when key frames were asked for, in milliseconds.
fn over_a_link(units: &[AccessUnit], is_lost: impl Fn(usize) -> bool) -> (Vec<u32>, u64, Vec<u64>) {
    let (mut packetiser, mut receiver) = (Packetiser::default(), Receiver::new(VideoCodec::H264));
    let (backlog, mut decoder) = (Backlog::new(), decoder(VideoCodec::H264).unwrap());
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
    // The gap is held for 120 ms from the packet behind it on; and then it is asked until the key frame comes.
    assert!((330 + 120..=330 + 33 + 132).contains(&asked[0]), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 300), "{asked:?}");
}

#[test]
fn nothing_is_decoded_wrongly_on_a_link_that_loses_every_so_many() {
    let units = units((0..90).map(|place| (128, place % 15 == 0)));
    for every in [7, 13, 29] {
        let (shown, lost, _) = over_a_link(&units, |place| place % every == every - 1);
        assert!(lost > 0 && shown.is_sorted_by(|a, b| a < b), "{shown:?}");
    }
    let (shown, lost, asked) = over_a_link(&units, |_| false);
    assert_eq!((shown.len(), lost, asked), (90, 0, vec![]));
}

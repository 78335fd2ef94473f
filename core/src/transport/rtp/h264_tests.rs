//! H.264 packets: complete, damaged and lost.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::assembler::Assembler;
use super::h264::H264;
use super::parameter_sets::nals;
use super::reorder::{HOLD, Next, Reorder};
use super::{Assemble, Assembled, RtpPacket};
use crate::frame::Timestamp;
use crate::transport::media::AccessUnit;
use crate::transport::testing::{Packetiser, assembled};

const SPS: &[u8] = &[0x67, 0x42, 0xe0, 0x1f, 0x80];
const PPS: &[u8] = &[0x68, 0xce];
const KEY: &[u8] = &[0x65, 0x88, 1, 2];
const INTER: &[u8] = &[0x41, 0x9a, 3, 4];

fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1][..], nal].concat()).collect()
}

/// Assembles packets given by timestamp, marker and payload.
fn units(packets: &[(u32, bool, &[u8])]) -> Vec<Option<(Vec<u8>, bool)>> {
    assembled(&mut Assembler::<H264>::default(), packets)
}

fn together(nals: &[&[u8]]) -> Vec<u8> {
    let sized = |nal: &&[u8]| [&(nal.len() as u16).to_be_bytes()[..], nal].concat();
    [vec![0x78], nals.iter().flat_map(sized).collect()].concat()
}

#[test]
fn parameter_sets_that_come_alone_are_put_before_the_key_frame() {
    let expected = Some((annex_b(&[SPS, PPS, KEY]), true));
    let together = together(&[SPS, PPS]);
    for packets in [&[(1, true, SPS), (1, true, PPS), (2, true, KEY)][..], &[(1, false, &together), (1, true, KEY)]] {
        assert_eq!(units(packets), std::slice::from_ref(&expected));
    }
    let second = [(1, false, &together[..]), (1, true, KEY), (2, true, INTER), (3, true, KEY)];
    assert_eq!(units(&second), [expected.clone(), Some((annex_b(&[INTER]), false)), expected]);
}

#[test]
fn parameter_sets_that_change_between_pictures_are_not_lost() {
    let other = [0x68, 0xcf];
    let packets = [(1, true, &together(&[SPS, PPS, KEY])[..]), (2, true, &other), (3, true, INTER), (4, true, INTER)];
    let expected = [annex_b(&[SPS, PPS, KEY]), annex_b(&[SPS, &other, INTER]), annex_b(&[INTER])];
    let data: Vec<_> = units(&packets).into_iter().flatten().map(|(data, _)| data).collect();
    assert_eq!(data, expected);
}

#[test]
fn a_picture_ends_with_its_marker_or_with_the_next_timestamp() {
    let sets = together(&[SPS, PPS, KEY]);
    let packets = [(1, false, &sets[..]), (2, false, INTER), (2, true, &[0x41, 0x40, 9]), (3, false, INTER)];
    let expected = [(annex_b(&[SPS, PPS, KEY]), true), (annex_b(&[INTER, &[0x41, 0x40, 9]]), false)];
    assert_eq!(units(&packets), expected.map(Some));
}

#[test]
fn a_key_frame_without_parameter_sets_is_no_use() {
    assert_eq!(units(&[(1, true, KEY)]), [None]);
}

#[test]
fn a_fragment_without_its_beginning_or_its_end_drops_the_picture() {
    let (start, middle, end) = ([0x7c, 0x81, 0x9a], [0x7c, 0x01, 7], [0x7c, 0x41, 8]);
    let whole = Some((annex_b(&[&[0x61, 0x9a, 7, 8]]), false));
    assert_eq!(units(&[(1, false, &start), (1, false, &middle), (1, true, &end)]), [whole]);
    assert_eq!(units(&[(1, false, &middle), (1, true, &end)]), [None]);
    assert_eq!(units(&[(1, false, &start), (1, true, &middle)]), [None]);
    // Nothing of the first is appended to the second.
    assert_eq!(units(&[(1, false, &start), (1, false, &start), (1, true, &end)]), [None]);
    assert_eq!(units(&[(1, false, &start), (1, false, INTER), (1, true, &end)]), [None]);
    assert_eq!(units(&[(1, false, &start), (1, true, &[0x7c, 0x45, 8])]), [None]);
    let next = [(1, false, &start[..]), (2, true, INTER)];
    assert_eq!(units(&next), [None, Some((annex_b(&[INTER]), false))]);
}

#[test]
fn a_picture_without_its_first_slice_is_damaged() {
    assert_eq!(units(&[(1, true, &[0x41, 0x40, 9])]), [None]);
}

#[test]
fn truncated_packets_and_other_modes_are_rejected() {
    for payload in [
        &[0x78, 0, 2, 0x67, 0x42, 0][..],
        &[0x78, 0, 9, 0x67],
        &[0x78, 0, 0],
        &[0x7c],
        &[0x79, 0, 1, 0, 1, 0x41],
        &[0x7a, 0, 1, 0, 1, 0x41],
        &[0x7b, 0, 1, 0, 1, 0x41],
        &[0x7d, 0x81, 0, 1, 0x9a],
        &[0x1e, 1],
        &[0x42, 0x9a],
    ] {
        assert_eq!(units(&[(1, false, payload), (1, true, INTER)]), [None], "{payload:x?}");
    }
}

#[test]
fn empty_packets_and_filling_are_nothing() {
    let packets = [(1, false, INTER), (0, true, &[][..]), (1, false, &[0x0c, 0xff]), (1, true, &[0x41, 0x40])];
    assert_eq!(units(&packets), [Some((annex_b(&[INTER, &[0x41, 0x40]]), false))]);
}

#[test]
fn a_picture_of_more_bytes_than_any_has_is_dropped() {
    let mut packets: Vec<(u32, bool, &[u8])> = vec![(1, false, &[0x7c, 0x81, 0x9a])];
    let middle = [&[0x7c, 0x01][..], &[7; 1 << 16]].concat();
    packets.extend((0..80).map(|_| (1, false, &middle[..])));
    packets.extend([(1, true, &[0x7c, 0x41, 1][..]), (2, true, INTER)]);
    assert_eq!(units(&packets), [None, Some((annex_b(&[INTER]), false))]);
}

/// A stream of pictures of one to three slices, whose bytes contain no start code.
fn pictures() -> impl Strategy<Value = Vec<AccessUnit>> {
    let slice = prop::collection::vec(1_u8..=255, 1..900);
    let picture = (prop::bool::weighted(0.2), prop::collection::vec(slice, 1..4));
    prop::collection::vec(picture, 1..12).prop_map(|pictures| {
        let unit = |(place, (key, slices)): (u64, (bool, Vec<Vec<u8>>))| {
            let key = key || place == 0;
            let mut data = if key { annex_b(&[SPS, PPS]) } else { Vec::new() };
            for (place, slice) in slices.iter().enumerate() {
                let first_macroblock = if place == 0 { 0x80 } else { 0x40 };
                let header = if key { 0x65 } else { 0x41 };
                data.extend(annex_b(&[&[&[header, first_macroblock][..], slice].concat()]));
            }
            AccessUnit::new(data.into(), key, Timestamp(place))
        };
        (0..).zip(pictures).map(unit).collect()
    })
}

/// Sends pictures over a link, and returns the assembled ones.
fn over(pictures: &[AccessUnit], first: u16, link: impl Fn(Vec<RtpPacket>) -> Vec<RtpPacket>) -> Vec<AccessUnit> {
    let mut packetiser = Packetiser { sequence: first, timestamp: u32::MAX - 5000 };
    let packets = pictures.iter().flat_map(|unit| packetiser.packets(unit)).collect();
    let (mut reorder, mut assembler, mut out) = (Reorder::new(HOLD), Assembler::<H264>::default(), VecDeque::new());
    let mut now = 0;
    let mut drain = |reorder: &mut Reorder, now| {
        while let Some(next) = reorder.pop(Timestamp(now)) {
            match next {
                Next::Packet(packet, at) => assembler.push(&packet, at, &mut out),
                Next::Lost(_) => assembler.lost(&mut out),
            }
        }
    };
    for packet in link(packets) {
        now += 1_000_000;
        reorder.push(packet, Timestamp(now));
        drain(&mut reorder, now);
    }
    drain(&mut reorder, now + 1_000_000_000);
    let unit = |assembled| match assembled {
        Assembled::Unit(unit) => Some(unit),
        Assembled::Damaged => None,
    };
    out.into_iter().filter_map(unit).collect()
}

proptest! {
    #[test]
    fn pictures_come_through_a_link_that_swaps_and_doubles(
        pictures in pictures(),
        first in any::<u16>(),
        swaps in prop::collection::vec((1_usize..10_000, 1_usize..8, any::<bool>()), 0..40),
    ) {
        let came = over(&pictures, first, |mut packets| {
            for &(place, distance, double) in &swaps {
                let place = 1 + place % packets.len();
                if let Some(packet) = packets.get(place).cloned() {
                    let to = (place + distance).min(packets.len());
                    packets.insert(to, packet);
                    if !double {
                        packets.remove(place);
                    }
                }
            }
            packets
        });
        let sent: Vec<_> = pictures.iter().map(|unit| (&unit.data, unit.key)).collect();
        let came: Vec<_> = came.iter().map(|unit| (&unit.data, unit.key)).collect();
        prop_assert_eq!(came, sent);
    }

    #[test]
    fn with_any_loss_received_units_are_intact_and_in_order(
        pictures in pictures(),
        first in any::<u16>(),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
    ) {
        let came = over(&pictures, first, |packets| {
            let lost: Vec<_> = lost.iter().map(|index| index.index(packets.len())).collect();
            packets.into_iter().enumerate().filter(|(place, _)| !lost.contains(place)).map(|(_, packet)| packet).collect()
        });
        let mut sent = pictures.iter();
        for unit in came {
            prop_assert!(sent.any(|sent| sent.data == unit.data && sent.key == unit.key), "{unit:?}");
        }
    }

    #[test]
    fn random_packets_never_panic_and_units_are_annex_b(
        packets in prop::collection::vec(
            (any::<u16>(), 0_u32..4, any::<bool>(), 0_u8..32, prop::collection::vec(any::<u8>(), 0..40)),
            0..60,
        ),
        lost in any::<u64>(),
    ) {
        let (mut assembler, mut out) = (Assembler::<H264>::default(), VecDeque::new());
        for (place, (sequence, timestamp, marker, kind, mut payload)) in packets.into_iter().enumerate() {
            if let Some(first) = payload.first_mut() {
                *first = *first & 0xe0 | kind;
            }
            if lost >> (place % 64) & 1 == 1 {
                assembler.lost(&mut out);
            }
            assembler.push(&RtpPacket { sequence, timestamp, marker, payload: payload.into() }, Timestamp(0), &mut out);
        }
        for assembled in out {
            if let Assembled::Unit(unit) = assembled {
                prop_assert!(unit.data.starts_with(&[0, 0, 0, 1]) && nals(&unit.data).count() > 0);
            }
        }
    }
}

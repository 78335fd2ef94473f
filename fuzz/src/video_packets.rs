//! Targets that send whole pictures as RTP packets over a network that loses, repeats and delays them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe::frame::Timestamp;
use dreamframe::transport::rtp::parameter_sets::nals;
use dreamframe::transport::rtp::reorder::{HOLD, Next, Reorder};
use dreamframe::transport::rtp::{Assembled, RtpPacket, assembler};
use dreamframe::transport::{AccessUnit, VideoCodec};

/// The NAL units of a key frame, with its parameter sets.
static KEY: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let units = include_bytes!("../seeds/h264_decode/small.units");
    let (length, rest) = units.split_first_chunk().expect("a unit begins with its length");
    nals(&rest[..usize::from(u16::from_le_bytes(*length))]).map(<[u8]>::to_vec).collect()
});

/// The parts of a picture, or the payloads of its packets.
type Parts = Vec<Vec<u8>>;

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    ArrivesTwice,
    /// Arrives after so many that were sent later.
    Delayed(usize),
    Lost,
}

/// Pictures as packets, and what happens to each.
#[derive(Debug)]
struct Sent {
    codec: VideoCodec,
    /// Those of each picture that must arrive unchanged.
    pictures: Vec<Parts>,
    /// Each with the index of its picture.
    packets: Vec<(usize, RtpPacket, Fate)>,
}

impl<'a> Arbitrary<'a> for Sent {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let codec = if bool::arbitrary(u)? { VideoCodec::H264 } else { VideoCodec::Vp8 };
        let (mut sequence, mut timestamp): (u16, u32) = (u.arbitrary()?, u.arbitrary()?);
        let loses = bool::arbitrary(u)?;
        let mut sent = Self { codec, pictures: Vec::new(), packets: Vec::new() };
        while !u.is_empty() && sent.packets.len() < 200 {
            let index = sent.pictures.len();
            let [parts, payloads] = match codec {
                VideoCodec::H264 => h264(u, index)?,
                _ => vp8(u, index)?,
            };
            let count = payloads.len();
            for (at, payload) in payloads.into_iter().enumerate() {
                let packet = RtpPacket { sequence, timestamp, marker: at + 1 == count, payload: payload.into() };
                // Nothing is known about packets before the first that arrives.
                let fate = if sent.packets.is_empty() { Fate::Arrives } else { fate(u, loses)? };
                sent.packets.push((index, packet, fate));
                sequence = sequence.wrapping_add(1);
            }
            sent.pictures.push(parts);
            timestamp = timestamp.wrapping_add(3000);
        }
        Ok(sent)
    }
}

fn fate(u: &mut Unstructured<'_>, loses: bool) -> Result<Fate> {
    Ok(match u.int_in_range(0..=11)? {
        0 if loses => Fate::Lost,
        1 => Fate::ArrivesTwice,
        2 => Fate::Delayed(u.int_in_range(1..=5)?),
        _ => Fate::Arrives,
    })
}

/// Returns fewer than `most` bytes of the input.
fn some_bytes<'a>(u: &mut Unstructured<'a>, most: usize) -> Result<&'a [u8]> {
    let length = usize::from(u.arbitrary::<u8>()?) % most;
    u.bytes(length.min(u.len()))
}

/// Returns the slices of a picture, the first of which says that it is the first, and the payloads of its packets.
fn h264(u: &mut Unstructured<'_>, index: usize) -> Result<[Parts; 2]> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    if u.ratio(1, 4)? {
        units.clone_from(&KEY);
    } else {
        for slice in 0..u.int_in_range(1..=4)? {
            // The number of the first macroblock: 0, or 1.
            let first = if slice == 0 { 0x80 } else { 0x40 };
            let mut unit = vec![0x41, first, index as u8, slice];
            unit.extend_from_slice(some_bytes(u, 48)?);
            // A start code is not part of a NAL unit, and its last byte is not zero.
            unit.iter_mut().skip(2).for_each(|byte| *byte = (*byte).max(1));
            units.push(unit);
        }
    }
    let slices = units.iter().filter(|unit| matches!(unit[0] & 0x1f, 1 | 5)).cloned().collect();
    let (mut payloads, mut rest) = (Vec::new(), units.as_slice());
    while let Some((unit, after)) = rest.split_first() {
        rest = after;
        match u.int_in_range(0..=2)? {
            0 => payloads.push(unit.clone()),
            1 if unit.len() > 2 => payloads.extend(fragments(unit, u.int_in_range(1..=unit.len() - 2)?)),
            _ => {
                let together = u.int_in_range(0..=after.len())?;
                let mut payload = vec![24];
                for unit in std::iter::once(unit).chain(&after[..together]) {
                    payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                    payload.extend_from_slice(unit);
                }
                payloads.push(payload);
                rest = &after[together..];
            }
        }
    }
    Ok([slices, payloads])
}

/// Splits a NAL unit into fragments of `size` bytes (RFC 6184, section 5.8).
fn fragments(unit: &[u8], size: usize) -> impl Iterator<Item = Vec<u8>> {
    let (header, count) = (unit[0], (unit.len() - 1).div_ceil(size));
    unit[1..].chunks(size).enumerate().map(move |(at, bytes)| {
        let bits = u8::from(at == 0) << 7 | u8::from(at + 1 == count) << 6;
        [&[header & 0xe0 | 28, bits | header & 0x1f], bytes].concat()
    })
}

/// Returns a picture, and the payloads of its packets with any descriptor (RFC 7741, section 4.2).
fn vp8(u: &mut Unstructured<'_>, index: usize) -> Result<[Parts; 2]> {
    let mut picture = vec![u8::from(!u.ratio(1, 4)?), index as u8];
    picture.extend_from_slice(some_bytes(u, 64)?);
    let size = u.int_in_range(1..=picture.len())?;
    let mut payloads = Vec::new();
    for (at, bytes) in picture.chunks(size).enumerate() {
        let mut payload = vec![if at == 0 { 0x10 } else { 0 }];
        if u.ratio(1, 2)? {
            payload[0] |= 0x80;
            let fields = u.arbitrary::<u8>()? & 0xf0;
            payload.push(fields);
            if fields & 0x80 != 0 {
                let is_long = bool::arbitrary(u)?;
                payload.extend_from_slice(if is_long { &[0x81, 0x02] } else { &[0x01] });
            }
            payload.extend((fields & 0x40 != 0).then_some(7));
            payload.extend((fields & 0x30 != 0).then_some(9));
        }
        payload.extend_from_slice(bytes);
        payloads.push(payload);
    }
    Ok([vec![picture], payloads])
}

/// Returns the packets in the order in which they arrive.
fn arriving(packets: &[(usize, RtpPacket, Fate)]) -> Vec<RtpPacket> {
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (at, (_, _, fate)) in packets.iter().enumerate() {
        match fate {
            Fate::Arrives => order.push((at, at)),
            Fate::ArrivesTwice => order.extend([(at, at), (at + 1, at)]),
            Fate::Delayed(by) => order.push((at + by, at)),
            Fate::Lost => {}
        }
    }
    order.sort_by_key(|(place, _)| *place);
    order.into_iter().map(|(_, at)| packets[at].1.clone()).collect()
}

/// Pictures of either codec in valid packets, some of which are lost, repeated or late: each picture that comes out is
/// one that was sent, in order, and all do if no packet is lost.
pub fn rtp_pictures(bytes: &[u8]) {
    let Ok(sent) = Sent::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let units = receive(sent.codec, arriving(&sent.packets));
    let parts = |unit: &AccessUnit| match sent.codec {
        VideoCodec::H264 => nals(&unit.data).filter(|nal| matches!(nal[0] & 0x1f, 1 | 5)).map(<[u8]>::to_vec).collect(),
        _ => vec![unit.data.to_vec()],
    };
    let received: Vec<Parts> = units.iter().map(parts).collect();
    let mut rest = sent.pictures.iter();
    for picture in &received {
        assert!(rest.any(|sent| sent == picture), "a picture that was not sent, or not in this order");
    }
    if sent.packets.iter().all(|(_, _, fate)| *fate != Fate::Lost) {
        assert_eq!(received, sent.pictures);
    }
}

/// Puts packets in order and assembles them; one arrives every millisecond.
fn receive(codec: VideoCodec, packets: Vec<RtpPacket>) -> Vec<AccessUnit> {
    let (mut reorder, mut assembler, mut out) = (Reorder::new(HOLD), assembler(codec), VecDeque::new());
    let end = Timestamp(packets.len() as u64 * 1_000_000 + HOLD.as_nanos() as u64);
    let arrivals = packets.into_iter().enumerate().map(|(at, packet)| (Some(packet), Timestamp(at as u64 * 1_000_000)));
    for (packet, now) in arrivals.chain([(None, end)]) {
        packet.into_iter().for_each(|packet| reorder.push(packet, now));
        while let Some(next) = reorder.pop(now) {
            match next {
                Next::Packet(packet, at) => assembler.push(&packet, at, &mut out),
                Next::Lost(_) => assembler.lost(&mut out),
            }
        }
    }
    let unit = |assembled| if let Assembled::Unit(unit) = assembled { Some(unit) } else { None };
    out.into_iter().filter_map(unit).collect()
}

/// Packets with any numbers at any times: each comes out at most once, after those before it, gaps are reported with
/// their length, and none waits for longer than it may.
pub fn rtp_reorder(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let (mut reorder, mut now, mut sequence) = (Reorder::new(HOLD), 0_u64, 0_u16);
    // What came in, by its number in `timestamp`, and the last that came out.
    let (mut waiting, mut last, mut lost): (BTreeMap<u32, u64>, Option<u16>, Option<u64>) = Default::default();
    let mut late_before = 0;
    for id in 0..3000 {
        let Ok(far) = input.int_in_range(0_u8..=31) else { break };
        let step = match far {
            0 => input.arbitrary().unwrap_or_default(),
            1..=6 => u16::from(input.arbitrary::<u8>().unwrap_or_default()).wrapping_sub(100),
            _ => 1,
        };
        sequence = sequence.wrapping_add(step);
        now += u64::from(input.int_in_range(0..=40_u8).unwrap_or_default()) * 1_000_000;
        let packet = RtpPacket { sequence, timestamp: id, marker: false, payload: Vec::new().into() };
        reorder.push(packet, Timestamp(now));
        if reorder.late() == late_before {
            waiting.insert(id, now);
        }
        late_before = reorder.late();
        while let Some(next) = reorder.pop(Timestamp(now)) {
            match next {
                Next::Lost(count) => {
                    assert!(count > 0);
                    lost = Some(count);
                }
                Next::Packet(packet, at) => {
                    assert_eq!(waiting.remove(&packet.timestamp), Some(at.0), "a packet that was not waiting");
                    if let Some(last) = last {
                        let gap = u64::from(packet.sequence.wrapping_sub(last).wrapping_sub(1));
                        // One lost packet also stands for a sender that has started again.
                        assert!(lost.unwrap_or(0) == gap || lost == Some(1), "{last} {lost:?} {}", packet.sequence);
                    }
                    (last, lost) = (Some(packet.sequence), None);
                }
            }
        }
        if input.is_empty() {
            break;
        }
    }
    assert!(reorder.pop(Timestamp(now)).is_none());
    drain(&mut reorder, now, waiting);
}

/// Checks that what still waits comes out once its time is over.
fn drain(reorder: &mut Reorder, now: u64, waiting: BTreeMap<u32, u64>) {
    let end = Timestamp(now + HOLD.as_nanos() as u64);
    let mut drained = BTreeSet::new();
    while let Some(next) = reorder.pop(end) {
        if let Next::Packet(packet, _) = next {
            assert!(waiting.contains_key(&packet.timestamp) && drained.insert(packet.timestamp));
        }
    }
    assert!(reorder.pop(Timestamp(u64::MAX)).is_none(), "a packet that never comes out");
}

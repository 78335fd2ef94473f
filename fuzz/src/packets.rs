//! A target that receives RTP packets.

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe::frame::Timestamp;
use dreamframe::transport::VideoCodec;
use dreamframe::transport::rtp::parameter_sets::nals;
use dreamframe::transport::rtp::reorder::{HOLD, Next, Reorder};
use dreamframe::transport::rtp::{Assembled, RtpPacket, assembler};
use std::collections::VecDeque;

/// Packets with the milliseconds between them, and what they are taken for.
#[derive(Debug)]
struct Stream {
    codec: VideoCodec,
    packets: Vec<(RtpPacket, u64)>,
}

impl<'a> Arbitrary<'a> for Stream {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let codec = if u.ratio(7, 8)? { VideoCodec::H264 } else { VideoCodec::Vp8 };
        let (mut sequence, mut timestamp): (u16, u32) = (u.arbitrary()?, u.arbitrary()?);
        let mut packets = Vec::new();
        while !u.is_empty() && packets.len() < 200 {
            // Most follow each other, so that some pictures become whole.
            sequence = if u.ratio(7, 8)? { sequence.wrapping_add(1) } else { u.arbitrary()? };
            if u.ratio(1, 3)? {
                timestamp = timestamp.wrapping_add(u.int_in_range(0..=6000)?);
            }
            let length: usize = u.int_in_range(0..=64)?;
            let payload = u.bytes(length.min(u.len()))?.to_vec().into();
            let packet = RtpPacket { sequence, timestamp, marker: u.arbitrary()?, payload };
            packets.push((packet, u.int_in_range(0..=150)?));
        }
        Ok(Self { codec, packets })
    }
}

/// Any packets, in any order and with any gaps: what comes out is whole units in Annex B form, and no more than went in.
pub fn rtp_h264(bytes: &[u8]) {
    let Ok(stream) = Stream::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let (mut reorder, mut assembler, mut out) = (Reorder::new(HOLD), assembler(stream.codec), VecDeque::new());
    let mut now = 0;
    for (packet, millis) in stream.packets {
        now += millis * 1_000_000;
        reorder.push(packet, Timestamp(now));
        while let Some(next) = reorder.pop(Timestamp(now)) {
            match next {
                Next::Packet(packet, at) => assembler.push(&packet, at, &mut out),
                Next::Lost(count) => {
                    assert!(count > 0);
                    assembler.lost(&mut out);
                }
            }
        }
        for assembled in out.drain(..) {
            let Assembled::Unit(unit) = assembled else { continue };
            assert!(!unit.data.is_empty() && unit.at <= Timestamp(now));
            if stream.codec == VideoCodec::H264 {
                assert!(unit.data.starts_with(&[0, 0, 0, 1]) && nals(&unit.data).count() > 0);
            }
        }
    }
}

//! Numbered pictures, and both halves of RTP, for tests.

use std::collections::VecDeque;

use bytes::Bytes;

use super::media::AccessUnit;
use super::rtp::parameter_sets::nals;
use super::rtp::{Assemble, Assembled, RtpPacket};
use crate::frame::{
    ColorSpace, Frame, FrameCopier, FrameView, FrameViewMut, Origin, PixelFormat, Stamp, Timestamp, YuvMatrix, YuvRange,
};

/// The colour space of sent pictures, and of decoded ones without a description.
pub(super) const SENT: ColorSpace = ColorSpace { matrix: YuvMatrix::Bt601, range: YuvRange::Limited };

/// Squares per row and per column of the code; 16 bits.
const SQUARES: u32 = 4;

/// Twelve bits of the number, and four check bits.
fn code(number: u32) -> u32 {
    let number = number & 0xfff;
    number | (!(number ^ number >> 4 ^ number >> 8) & 0xf) << 12
}

/// Where the middle of a square is.
fn middle(square: u32, width: u32, height: u32) -> (u32, u32) {
    let at = |square: u32, side: u32| (2 * square + 1) * side / (2 * SQUARES);
    (at(square % SQUARES, width), at(square / SQUARES, height))
}

/// Creates a picture with a number, as black and white squares on a moving background.
pub(super) fn numbered(number: u32, width: u32, height: u32) -> Frame {
    let mut pixels = vec![255; PixelFormat::Rgba8.packed_len(width, height)];
    let code = code(number);
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    for (pixel, (x, y)) in pixels.chunks_exact_mut(4).zip(places) {
        let square = (y * SQUARES / height).min(SQUARES - 1) * SQUARES + (x * SQUARES / width).min(SQUARES - 1);
        let (middle_x, middle_y) = middle(square, width, height);
        let inside = x.abs_diff(middle_x) * SQUARES * 3 < width && y.abs_diff(middle_y) * SQUARES * 3 < height;
        let ground = [x * 3 + number * 5, y * 2 + number * 3, (x + y) / 2].map(|value| 64 + (value % 128) as u8);
        let color = match (inside, code >> square & 1) {
            (true, 1) => [255; 3],
            (true, _) => [0; 3],
            (false, _) => ground,
        };
        pixel[..3].copy_from_slice(&color);
    }
    Frame::from_packed(PixelFormat::Rgba8, width, height, pixels).unwrap()
}

/// The same pixels in another format.
pub(super) fn converted(from: &Frame, format: PixelFormat, origin: Origin, color: ColorSpace) -> Frame {
    let (width, height) = (from.width(), from.height());
    let mut pixels = vec![0; format.packed_len(width, height)];
    let mut to = FrameViewMut::packed(format, width, height, &mut pixels).unwrap();
    to = to.with_origin(origin).with_color(color);
    FrameCopier::new().copy(&from.view(), &mut to).unwrap();
    let mut frame = Frame::from_packed(format, width, height, pixels).unwrap();
    frame.set_origin(origin);
    frame.set_color(color);
    frame
}

/// Reads the number of a decoded picture; `None` if the check bits do not match.
pub(super) fn number(picture: &FrameView<'_>) -> Option<u32> {
    assert_eq!(picture.format(), PixelFormat::I420);
    let (width, height) = (picture.width(), picture.height());
    let rows: Vec<_> = picture.rows(0).collect();
    let bit = |square| {
        let (x, y) = middle(square, width, height);
        u32::from(rows[y as usize][x as usize] > 125) << square
    };
    let read: u32 = (0..SQUARES * SQUARES).map(bit).sum();
    (code(read) == read).then_some(read & 0xfff)
}

/// The same picture, taken at `millis` of the clock.
pub(super) fn at(mut frame: Frame, millis: u64) -> Frame {
    frame.set_stamp(Stamp { timestamp: Timestamp(millis * 1_000_000), tag: 0 });
    frame
}

/// Assembles packets given by timestamp, marker and payload. Returns encoded pictures, and whether they are key frames;
/// `None` is a damaged one.
pub(super) fn assembled(assembler: &mut dyn Assemble, packets: &[(u32, bool, &[u8])]) -> Vec<Option<(Vec<u8>, bool)>> {
    let mut out = VecDeque::new();
    for (sequence, &(timestamp, marker, payload)) in (0..).zip(packets) {
        let payload = Bytes::copy_from_slice(payload);
        assembler.push(&RtpPacket { sequence, timestamp, marker, payload }, Timestamp(0), &mut out);
    }
    let unit = |assembled| match assembled {
        Assembled::Unit(unit) => Some((unit.data.to_vec(), unit.key)),
        Assembled::Damaged => None,
    };
    out.into_iter().map(unit).collect()
}

/// Writes an H.264 sequence parameter set of this number of macroblocks and reference frames, as a NAL unit with this
/// header.
pub(super) fn sequence_set(header: u8, macroblocks: (u32, u32), reference_frames: u32) -> Vec<u8> {
    let mut bits = format!("{:08b}{:08b}{:08b}", 66, 0xc0, 51);
    let code = |value: u32| {
        let digits = format!("{:b}", value + 1);
        "0".repeat(digits.len() - 1) + &digits
    };
    // Number, frame number, order of kind 2.
    bits += &[0, 0, 2, reference_frames].map(code).concat();
    bits += "0";
    bits += &[macroblocks.0 - 1, macroblocks.1 - 1].map(code).concat();
    // Whole frames; no cropping, nothing about usability; the stop bit.
    bits += "11001";
    let bits: Vec<_> = bits.bytes().map(|bit| bit - b'0').collect();
    let byte = |byte: &[u8]| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at));
    let mut nal = vec![header];
    for byte in bits.chunks(8).map(byte) {
        if nal.ends_with(&[0, 0]) && byte <= 3 {
            nal.push(3);
        }
        nal.push(byte);
    }
    nal
}

/// Splits encoded pictures into packets: parameter sets together, long units in fragments, as browsers do.
#[derive(Debug, Default)]
pub(super) struct Packetiser {
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
}

/// Bytes of a payload at most.
const LONGEST: usize = 300;

impl Packetiser {
    pub(super) fn packets(&mut self, unit: &AccessUnit) -> Vec<RtpPacket> {
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        let mut sets = vec![24 | 0x60];
        for nal in nals(&unit.data) {
            let (header, rest) = nal.split_first().unwrap();
            if matches!(header & 0x1f, 7 | 8) {
                sets.extend_from_slice(&u16::try_from(nal.len()).unwrap().to_be_bytes());
                sets.extend_from_slice(nal);
                continue;
            }
            if sets.len() > 1 {
                payloads.push(std::mem::replace(&mut sets, vec![24 | 0x60]));
            }
            if nal.len() <= LONGEST {
                payloads.push(nal.to_vec());
                continue;
            }
            let pieces = rest.chunks(LONGEST - 2);
            let last = pieces.len() - 1;
            for (place, piece) in pieces.enumerate() {
                let ends = u8::from(place == 0) << 7 | u8::from(place == last) << 6;
                payloads.push([&[header & 0xe0 | 28, ends | header & 0x1f], piece].concat());
            }
        }
        let last = payloads.len() - 1;
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(3000);
        let packet = |(place, payload): (usize, Vec<u8>)| {
            let sequence = self.sequence;
            self.sequence = sequence.wrapping_add(1);
            RtpPacket { sequence, timestamp, marker: place == last, payload: Bytes::from(payload) }
        };
        payloads.into_iter().enumerate().map(packet).collect()
    }
}

//! H.264 packets (RFC 6184) to access units in Annex B form.
//!
//! Single NAL units, STAP-A and FU-A are supported, which packetization modes 0 and 1 use. A picture with missing or
//! invalid parts is dropped as a whole: a partial one would only hide the loss from the decoder.

use bytes::Bytes;

use super::assembler::Depacketizer;
use super::bits::Bits;
use super::parameter_sets::{ParameterSets, START_CODE, nals};
use super::{Assembled, MAX_UNIT};
use crate::frame::Timestamp;
use crate::transport::media::AccessUnit;

const SLICE: u8 = 1;
const IDR: u8 = 5;
const FILLER: u8 = 12;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The payload format of H.264.
#[derive(Debug, Default)]
pub struct H264 {
    sets: ParameterSets,
    /// Whether a parameter set changed that no access unit has had yet.
    owed: bool,
    /// The length of the last picture, in bytes.
    usual: usize,
}

/// An access unit that is being assembled.
#[derive(Debug)]
pub struct Picture {
    at: Timestamp,
    data: Vec<u8>,
    /// The start of the NAL unit whose fragments arrive.
    fragment: Option<usize>,
    has_slice: bool,
    is_key: bool,
    /// Whether both kinds of parameter sets are in it.
    has_sets: [bool; 2],
    damaged: bool,
}

impl Depacketizer for H264 {
    type Picture = Picture;

    fn begin(&mut self, at: Timestamp) -> Picture {
        Picture::new(at, self.usual)
    }

    fn add(&mut self, picture: &mut Picture, payload: &[u8]) -> Option<()> {
        picture.take(payload);
        Some(())
    }

    fn finish(&mut self, mut picture: Picture) -> Option<Assembled> {
        if picture.fragment.is_some() || picture.damaged {
            return Some(Assembled::Damaged);
        }
        if picture.has_sets != [false; 2] {
            let changed = nals(&picture.data).filter(|nal| self.sets.keep(nal)).count();
            self.owed |= changed > 0 && !picture.has_slice;
        }
        if !picture.has_slice {
            return None;
        }
        self.usual = picture.data.len();
        if picture.is_key && !self.sets.complete() {
            return Some(Assembled::Damaged);
        }
        if self.owed || picture.is_key && picture.has_sets != [true; 2] {
            let mut data = Vec::with_capacity(picture.data.len() + 256);
            self.sets.write(&mut data);
            data.extend_from_slice(&picture.data);
            picture.data = data;
            self.owed = false;
        }
        let unit = AccessUnit::new(Bytes::from(picture.data), picture.is_key, picture.at);
        Some(Assembled::Unit(unit))
    }
}

impl Picture {
    fn new(at: Timestamp, usual: usize) -> Self {
        Self {
            at,
            data: Vec::with_capacity(usual + usual / 4),
            fragment: None,
            has_slice: false,
            is_key: false,
            has_sets: [false; 2],
            damaged: false,
        }
    }

    /// Takes the payload of a packet. A fragment that another kind of packet interrupts has lost its end.
    fn take(&mut self, payload: &[u8]) {
        let Some((&header, rest)) = payload.split_first() else { return };
        let kind = header & 0x1f;
        if kind != FU_A {
            self.drop_fragment();
        }
        match kind {
            1..=23 => self.whole(payload),
            STAP_A => self.several(rest),
            FU_A => self.fragment(header, rest),
            // STAP-B, MTAP and FU-B are for interleaving, which browsers do not use; 0, 30 and 31 are undefined.
            _ => self.damaged = true,
        }
    }

    fn drop_fragment(&mut self) {
        if let Some(start) = self.fragment.take() {
            self.data.truncate(start);
            self.damaged = true;
        }
    }

    fn whole(&mut self, nal: &[u8]) {
        let start = self.data.len();
        self.append(&START_CODE);
        self.append(nal);
        self.end(start);
    }

    fn several(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            let length =
                rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest));
            let nal =
                length.and_then(|(length, rest)| rest.split_at_checked(length)).filter(|(nal, _)| !nal.is_empty());
            let Some((nal, after)) = nal else {
                self.damaged = true;
                return;
            };
            self.whole(nal);
            rest = after;
        }
    }

    fn fragment(&mut self, indicator: u8, rest: &[u8]) {
        let Some((&header, bytes)) = rest.split_first() else {
            self.drop_fragment();
            self.damaged = true;
            return;
        };
        let (first, last) = (header & 0x80 != 0, header & 0x40 != 0);
        if first {
            self.drop_fragment();
            self.fragment = Some(self.data.len());
            self.append(&START_CODE);
            self.append(&[indicator & 0xe0 | header & 0x1f]);
        }
        let Some(start) = self.fragment else {
            // Its beginning was lost.
            self.damaged = true;
            return;
        };
        if self.data.get(start + START_CODE.len()).is_some_and(|begun| begun & 0x1f != header & 0x1f) {
            self.drop_fragment();
            self.damaged = true;
            return;
        }
        self.append(bytes);
        if last {
            self.fragment = None;
            self.end(start);
        }
    }

    /// Looks at the NAL unit from `start` on, which is complete.
    fn end(&mut self, start: usize) {
        let Some((&header, payload)) = self.data.get(start + START_CODE.len()..).and_then(|nal| nal.split_first())
        else {
            return;
        };
        match header & 0x1f {
            kind @ (SLICE | IDR) => {
                // The first slice of a picture has its first macroblock; otherwise the first slice was lost.
                self.damaged |= !self.has_slice && Bits::new(payload).exp() != Some(0);
                self.has_slice = true;
                self.is_key |= kind == IDR;
            }
            // Partitions of slices, which baseline does not have.
            2..=4 => self.damaged = true,
            7 => self.has_sets[0] = true,
            8 => self.has_sets[1] = true,
            FILLER => self.data.truncate(start),
            _ => {}
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.data.len() + bytes.len() > MAX_UNIT {
            self.damaged = true;
            return;
        }
        self.data.extend_from_slice(bytes);
    }
}

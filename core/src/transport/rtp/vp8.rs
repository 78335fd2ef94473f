//! VP8 packets (RFC 7741) to frames.

use bytes::Bytes;

use super::assembler::Depacketizer;
use super::{Assembled, MAX_UNIT};
use crate::frame::Timestamp;
use crate::transport::media::AccessUnit;

/// The payload format of VP8.
#[derive(Debug, Default)]
pub struct Vp8;

/// A frame that is being assembled.
#[derive(Debug)]
pub struct Picture {
    at: Timestamp,
    /// Whether the first packet of the frame has arrived.
    is_started: bool,
    data: Vec<u8>,
}

/// The descriptor before the payload of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Whether a frame begins with this packet.
    pub starts_frame: bool,
    /// The length in bytes.
    pub length: usize,
}

impl Descriptor {
    /// Reads it; `None` if the packet is too short for it.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let &first = payload.first()?;
        let mut length = 1;
        if first & 0x80 != 0 {
            let &extension = payload.get(1)?;
            length += 1;
            if extension & 0x80 != 0 {
                // The number of the picture has 7 or 15 bits.
                length += if payload.get(length)? & 0x80 != 0 { 2 } else { 1 };
            }
            length += usize::from(extension & 0x40 != 0);
            length += usize::from(extension & 0x30 != 0);
        }
        (length <= payload.len()).then_some(Self { starts_frame: first & 0x1f == 0x10, length })
    }
}

impl Depacketizer for Vp8 {
    type Picture = Picture;

    fn begin(&mut self, at: Timestamp) -> Picture {
        Picture { at, is_started: false, data: Vec::new() }
    }

    fn add(&mut self, picture: &mut Picture, payload: &[u8]) -> Option<()> {
        let descriptor = Descriptor::read(payload)?;
        let bytes = payload.get(descriptor.length..)?;
        // A frame starts with its first packet only.
        if descriptor.starts_frame == picture.is_started || picture.data.len() + bytes.len() > MAX_UNIT {
            return None;
        }
        picture.is_started = true;
        picture.data.extend_from_slice(bytes);
        Some(())
    }

    fn finish(&mut self, picture: Picture) -> Option<Assembled> {
        Some(match picture.data.first() {
            Some(first) => {
                let key = first & 1 == 0;
                Assembled::Unit(AccessUnit::new(Bytes::from(picture.data), key, picture.at))
            }
            None => Assembled::Damaged,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::rtp::assembler::Assembler;
    use crate::transport::testing::assembled;

    fn units(packets: &[(u32, bool, &[u8])]) -> Vec<Option<(Vec<u8>, bool)>> {
        assembled(&mut Assembler::<Vp8>::default(), packets)
    }

    #[test]
    fn every_form_of_the_descriptor_is_skipped() {
        let length = |payload: &[u8]| Descriptor::read(payload).map(|descriptor| descriptor.length);
        assert_eq!(length(&[0x10, 1]), Some(1));
        assert_eq!(length(&[0x90, 0x80, 0x11, 1]), Some(3));
        assert_eq!(length(&[0x90, 0x80, 0x81, 0x11, 1]), Some(4));
        assert_eq!(length(&[0x90, 0xe0, 0x81, 0x11, 5, 6, 1]), Some(6));
        assert_eq!(length(&[0x90, 0x10, 6, 1]), Some(3));
        for short in [&[][..], &[0x90], &[0x90, 0x80], &[0x90, 0x80, 0x81], &[0x90, 0xe0, 0x01, 5]] {
            assert_eq!(length(short), None, "{short:?}");
        }
    }

    #[test]
    fn a_frame_ends_with_its_marker_or_with_the_next_timestamp() {
        let packets: [(u32, bool, &[u8]); 4] = [
            (1, false, &[0x10, 0x00, 1]),
            (1, true, &[0x00, 2]),
            (2, false, &[0x10, 0x01, 3]),
            (3, true, &[0x10, 0x01]),
        ];
        let expected = [(vec![0, 1, 2], true), (vec![1, 3], false), (vec![1], false)];
        assert_eq!(units(&packets), expected.map(Some));
    }

    #[test]
    fn a_frame_without_its_beginning_is_damaged_once() {
        let packets: [(u32, bool, &[u8]); 3] =
            [(1, false, &[0x00, 1]), (1, true, &[0x00, 2]), (2, true, &[0x10, 0x01])];
        assert_eq!(units(&packets), [None, Some((vec![1], false))]);
    }
}

//! Fuzzing entry points: functions that take untrusted bytes.

use super::codec;
use super::media::VideoCodec;

/// The longest side of a picture here; small, so that small inputs can exceed it.
const SIDE: u32 = 64;

/// Decodes H.264: each picture, in Annex B form, is preceded by its length in two bytes, little-endian. Returns the
/// number of decoded pictures.
///
/// # Panics
///
/// If a picture is output that is larger than the decoder's limit.
pub fn h264_decode(mut bytes: &[u8]) -> usize {
    let Ok(mut decoder) = codec::decoder(VideoCodec::H264, SIDE) else { return 0 };
    let mut shown = 0;
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (unit, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        // Invalid pictures are followed by valid ones, as with a publisher.
        let _ = decoder.decode(unit, &mut |frame| {
            assert!(frame.width() <= SIDE && frame.height() <= SIDE, "{}x{}", frame.width(), frame.height());
            shown += 1;
        });
        bytes = rest;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_begins_with_is_decoded_and_changes_of_it_are_survived() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/h264_decode/small.units");
        let seed = std::fs::read(path).unwrap();
        assert_eq!(h264_decode(&seed), 4);
        let mut random = 7_u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        for _ in 0..500 {
            let mut bytes = seed.clone();
            for _ in 0..1 + next(6) {
                let at = next(bytes.len());
                bytes[at] ^= 1 << next(8);
            }
            h264_decode(&bytes);
        }
    }
}

//! Limits of H.264 streams, checked before the decoder, which allocates what a stream announces.

use super::parameter_sets::{SEQUENCE, nals};
use super::sps::{SUBSET, SequenceSet};
use crate::{Error, ErrorKind, Result};

/// The default maximum side of decoded video, in pixels.
pub const MAX_SIDE: u32 = 1920;

/// The number of reference frames allowed at any size; encoders for live video use no more.
const USUAL_REFERENCES: u32 = 4;

/// The most bytes of 4:2:0 that the pictures of a stream with more reference frames have, with the one that is decoded.
///
/// 1920x1088 with 16 reference frames, the most that there can be, has 53 MB. openh264 keeps two pictures more, and with
/// its borders and tables takes up to 140 MiB for a stream at this bound.
const MOST_PICTURE_BYTES: u64 = 64 << 20;

/// The most NAL units of a picture: openh264 keeps some kilobytes for each slice.
const MOST_UNITS: usize = 4096;

/// Checks an encoded picture in Annex B form. Returns its first sequence parameter set, if there is one.
///
/// # Errors
///
/// `Unsupported` if a set announces a side above `max_side` pixels or too many reference frames, or there are more than
/// 4096 units; `InvalidArgument` for a set that cannot be read.
pub fn check_h264(unit: &[u8], max_side: u32) -> Result<Option<SequenceSet>> {
    let (mut first, mut units) = (None, 0);
    for nal in nals(unit) {
        units += 1;
        if nal.first().is_some_and(|header| [SEQUENCE, SUBSET].contains(&(header & 0x1f))) {
            let set = check_set(nal, max_side)?;
            first = first.or(Some(set));
        }
    }
    if units > MOST_UNITS {
        let text = format!("H.264 picture: got {units} units, expected at most {MOST_UNITS}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(first)
}

/// Checks a sequence parameter set with its NAL header, as [`check_h264`].
///
/// # Errors
///
/// Those of `check_h264`.
pub fn check_set(nal: &[u8], max_side: u32) -> Result<SequenceSet> {
    let set = SequenceSet::parse(nal).ok_or_else(|| {
        let text = format!("failed to read an H.264 sequence parameter set of {} bytes", nal.len());
        Error::new(ErrorKind::InvalidArgument, text)
    })?;
    let (width, height, references) = (set.coded_width, set.coded_height, set.reference_frames);
    // Whole macroblocks are decoded, of which a stream shows a part.
    let longest = max_side.next_multiple_of(16);
    if width > longest || height > longest {
        return Err(too_large(width, height, max_side));
    }
    let picture = u64::from(width) * u64::from(height) * 3 / 2;
    if references > USUAL_REFERENCES && picture * (u64::from(references) + 1) > MOST_PICTURE_BYTES {
        let most = (MOST_PICTURE_BYTES / picture.max(1)).saturating_sub(1).max(USUAL_REFERENCES.into());
        let text = format!("video: got {references} reference frames of {width}x{height}, expected at most {most}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(set)
}

/// The error for video whose sides are longer than `max_side` pixels.
pub(in crate::transport) fn too_large(width: u32, height: u32, max_side: u32) -> Error {
    let text = format!("video: got {width}x{height}, expected at most {max_side}x{max_side}");
    Error::new(ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::sequence_set;

    #[test]
    fn sides_are_bounded_by_whole_macroblocks() {
        let check = |size, max_side| check_set(&sequence_set(0x67, size, 1), max_side).is_ok();
        assert!(check((120, 120), 1920) && !check((121, 1), 1920) && !check((1, 121), 1920));
        // 1080 rows are coded as 1088.
        assert!(check((68, 68), 1080) && !check((69, 1), 1080));
    }

    #[test]
    fn reference_frames_are_bounded_by_the_memory_of_their_pictures() {
        let check = |size, references| check_set(&sequence_set(0x67, size, references), MAX_SIDE).map(drop);
        for (size, references) in [((120, 68), 16), ((120, 120), 11), ((120, 120), 4), ((1, 1), 16)] {
            assert!(check(size, references).is_ok(), "{size:?} {references}");
        }
        let refused = check((120, 120), 12).unwrap_err().to_string();
        assert_eq!(refused, "video: got 12 reference frames of 1920x1920, expected at most 11");
        assert!(check((40, 40), 40_000_000).is_err());
        // With a larger side, the usual number is still allowed.
        assert!(check_set(&sequence_set(0x67, (256, 144), 4), 4096).is_ok());
        assert!(check_set(&sequence_set(0x67, (256, 144), 5), 4096).is_err());
    }
}

//! Writes an MP4 file of encoded pictures, with the index in front.

use std::num::NonZeroU32;
use std::time::Duration;

use dreamframe::transport::AccessUnit;
use dreamframe::{Error, ErrorKind, Result};
use shiguredo_mp4::TrackKind;
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, MuxError, Sample, estimate_maximum_moov_box_size};

use crate::media::coded::{CodedPicture, TIMESCALE, ticks};

/// The duration of a picture that is the only one.
const ALONE: Duration = Duration::from_millis(100);

/// Creates a file of pictures of which the first is a key frame.
///
/// # Errors
///
/// `NotFound` without pictures.
pub(super) fn movie(units: &[AccessUnit]) -> Result<Vec<u8>> {
    let options = Mp4FileMuxerOptions {
        reserved_moov_box_size: estimate_maximum_moov_box_size(&[units.len()]),
        ..Mp4FileMuxerOptions::default()
    };
    let mut muxer = Mp4FileMuxer::with_options(options).map_err(failed)?;
    let mut file = muxer.initial_boxes_bytes().to_vec();
    let origin = units.first().map_or(0, |first| first.at.0);
    let since = |unit: &AccessUnit| ticks(unit.at.0.saturating_sub(origin));
    let mut duration = ticks(ALONE.as_nanos() as u64);
    let mut known = None;
    for (at, unit) in units.iter().enumerate() {
        let picture = CodedPicture::new(&unit.data)?;
        // The last picture has the duration of the one before it.
        if let Some(next) = units.get(at + 1) {
            duration = since(next).saturating_sub(since(unit)).max(1);
        }
        // Repeated only if it changes.
        let new = picture.sets.filter(|sets| known.as_ref() != Some(sets));
        let sample_entry = new.as_ref().map(|sets| sets.sample_entry()).transpose()?;
        known = new.or(known);
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry,
            keyframe: unit.key,
            timescale: NonZeroU32::new(TIMESCALE).unwrap_or(NonZeroU32::MIN),
            duration: u32::try_from(duration).unwrap_or(u32::MAX),
            composition_time_offset: None,
            data_offset: file.len() as u64,
            data_size: picture.units.len(),
        };
        file.extend_from_slice(&picture.units);
        muxer.append_sample(&sample).map_err(failed)?;
    }
    if units.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "no pictures to record"));
    }
    for (offset, bytes) in muxer.finalize().map_err(failed)?.offset_and_bytes_pairs() {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset >= file.len() {
            file.extend_from_slice(bytes);
        } else if let Some(room) = file.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
        } else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the index of a recording does not fit in the space before its pictures",
            ));
        }
    }
    Ok(file)
}

fn failed(error: MuxError) -> Error {
    Error::new(ErrorKind::Internal, "failed to write the index of a recording").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::coded::testing::{ffprobe, steady, units};

    #[test]
    fn a_recording_has_all_pictures_and_its_index_in_front() {
        let file = movie(&units(96, &steady(45, 40, 20))).unwrap();
        let at = |name: &[u8]| file.windows(4).position(|four| four == name).unwrap();
        assert!(at(b"moov") < at(b"mdat"), "browsers play it while it loads");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.mp4");
        std::fs::write(&path, &file).unwrap();
        let mut reader = crate::media::open(&path, 1920).unwrap();
        assert_eq!(
            (reader.size(), reader.len(), reader.rate()),
            ((96, 96), Some(45), Some(crate::media::Rate::default()))
        );
        let mut count = 0;
        while reader.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 45);
        if let Some(said) = ffprobe(&path, "stream=codec_name,duration,nb_read_frames") {
            assert_eq!(said, "h264,1.800000,45");
        }
    }

    #[test]
    fn one_picture_is_a_film_and_none_is_not() {
        assert!(movie(&units(64, &steady(1, 40, 1))).is_ok());
        assert_eq!(movie(&[]).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

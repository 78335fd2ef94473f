//! Encoded pictures in the form of files and RTMP: units with lengths instead of start codes, parameter sets apart.

use dreamframe::{Error, ErrorKind, Result};
use shiguredo_mp4::Encode;
use shiguredo_mp4::bitstream::h264::{
    H264NalUnitType, H264SampleEntryConfig, LengthSize, build_avc1_box, parse_annexb_nal_units,
};
use shiguredo_mp4::boxes::{Avc1Box, SampleEntry};

/// Ticks of a second in the tracks made here, as video has them everywhere.
pub(crate) const TIMESCALE: u32 = 90_000;

/// Returns nanoseconds in ticks of [`TIMESCALE`].
pub(crate) fn ticks(nanos: u64) -> u64 {
    // With a reduced fraction, so that it does not overflow for years.
    nanos / 100_000 * 9 + nanos % 100_000 * 9 / 100_000
}

/// Bytes of a box's header.
const BOX_HEADER: usize = 8;

/// A picture split into units.
#[derive(Debug, Clone)]
pub(crate) struct CodedPicture {
    /// Its units, each with its length in four bytes.
    pub(crate) units: Vec<u8>,
    /// Parameter sets of the picture; present with every key frame of the encoder.
    pub(crate) sets: Option<ParameterSets>,
}

impl CodedPicture {
    /// Splits an access unit in Annex B form.
    ///
    /// # Errors
    ///
    /// `InvalidFrame` without units.
    pub(crate) fn new(annex_b: &[u8]) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::InvalidFrame, "the coded picture has no units").with_source(error);
        let (mut units, mut sps, mut pps) = (Vec::with_capacity(annex_b.len() + 16), Vec::new(), Vec::new());
        for unit in parse_annexb_nal_units(annex_b).map_err(failed)? {
            if unit.nal_unit_type == H264NalUnitType::Sps {
                sps.push(unit.data.to_vec());
            } else if unit.nal_unit_type == H264NalUnitType::Pps {
                pps.push(unit.data.to_vec());
            } else if unit.nal_unit_type != H264NalUnitType::Aud {
                let len = u32::try_from(unit.data.len()).unwrap_or(u32::MAX);
                units.extend_from_slice(&len.to_be_bytes());
                units.extend_from_slice(unit.data);
            }
        }
        let sets = (!sps.is_empty() && !pps.is_empty()).then_some(ParameterSets { sps, pps });
        Ok(Self { units, sets })
    }
}

/// The parameter sets of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterSets {
    sps: Vec<Vec<u8>>,
    pps: Vec<Vec<u8>>,
}

impl ParameterSets {
    /// Describes the video for a track.
    pub(crate) fn sample_entry(&self) -> Result<SampleEntry> {
        self.avc1().map(SampleEntry::Avc1)
    }

    /// Returns the sets in the form of RTMP (`AVCDecoderConfigurationRecord`).
    pub(crate) fn record(&self) -> Result<Vec<u8>> {
        let avcc = self.avc1()?.avcc_box.encode_to_vec().map_err(unusable)?;
        Ok(avcc.get(BOX_HEADER..).unwrap_or_default().to_vec())
    }

    /// Returns width and height.
    pub(crate) fn size(&self) -> Result<(u16, u16)> {
        let visual = self.avc1()?.visual;
        Ok((visual.width, visual.height))
    }

    fn avc1(&self) -> Result<Avc1Box> {
        build_avc1_box(&self.sps, &self.pps, &H264SampleEntryConfig { length_size: LengthSize::FourBytes })
            .map_err(unusable)
    }
}

fn unusable(error: shiguredo_mp4::Error) -> Error {
    Error::new(ErrorKind::InvalidFrame, "invalid H.264 parameter sets").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_drift() {
        assert_eq!(ticks(1_000_000_000), u64::from(TIMESCALE));
        assert_eq!(ticks(99_999), 8);
        assert_eq!(ticks(33_333_333), 2_999);
        assert_eq!(ticks(33_333_333 * 3 + 1), 9_000);
    }

    #[test]
    fn a_picture_is_taken_apart_and_what_has_no_units_refused() {
        let coded = [0, 0, 0, 1, 9, 16, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 1, 0x65, 3, 4];
        let picture = CodedPicture::new(&coded).unwrap();
        assert_eq!(picture.units, [0, 0, 0, 3, 0x65, 3, 4]);
        let sets = picture.sets.unwrap();
        assert_eq!((&sets.sps[..], &sets.pps[..]), (&[vec![0x67, 1]][..], &[vec![0x68, 2]][..]));
        // Parameter sets of two bytes have no content.
        assert_eq!(sets.size().unwrap_err().kind(), ErrorKind::InvalidFrame);
        assert_eq!(CodedPicture::new(&[1, 2, 3]).unwrap_err().kind(), ErrorKind::InvalidFrame);
    }
}

/// Encoded pictures for tests.
#[cfg(test)]
pub(crate) mod testing {
    use dreamframe::frame::Timestamp;
    use dreamframe::transport::AccessUnit;
    use openh264::OpenH264API;
    use openh264::encoder::{Encoder, EncoderConfig, FrameRate, FrameType, RateControlMode};
    use openh264::formats::YUVSlices;

    /// Encodes a moving pattern: one picture of `size` for each of `times` in milliseconds, a key frame for each `true`.
    pub(crate) fn units(size: usize, times: &[(u64, bool)]) -> Vec<AccessUnit> {
        // Key frames come when they are asked for, and all pictures do.
        let config = EncoderConfig::new()
            .max_frame_rate(FrameRate::from_hz(30.0))
            .rate_control_mode(RateControlMode::Off)
            .scene_change_detect(false)
            .skip_frames(false);
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).unwrap();
        let encode = |&(millis, key): &(u64, bool)| {
            let luma: Vec<u8> =
                (0..size * size).map(|at| ((at % size + at / size) as u64 * 4 + millis / 8) as u8).collect();
            let chroma = vec![128; size * size / 4];
            let picture = YUVSlices::new((&luma, &chroma, &chroma), (size, size), (size, size / 2, size / 2));
            if key && millis > 0 {
                encoder.force_intra_frame();
            }
            let coded = encoder.encode(&picture).unwrap();
            assert_eq!(coded.frame_type() == FrameType::IDR, key);
            AccessUnit::new(coded.to_vec().into(), key, Timestamp(millis * 1_000_000))
        };
        times.iter().map(encode).collect()
    }

    /// Times of `count` pictures `step` milliseconds apart, of which each `keys`th is a key frame.
    pub(crate) fn steady(count: u64, step: u64, keys: u64) -> Vec<(u64, bool)> {
        (0..count).map(|at| (at * step, at % keys == 0)).collect()
    }

    /// Runs `ffprobe` on a file; `None`, with a note, if it is not installed.
    pub(crate) fn ffprobe(path: &std::path::Path, wanted: &str) -> Option<String> {
        let arguments =
            ["-v", "error", "-count_frames", "-select_streams", "v", "-show_entries", wanted, "-of", "csv=p=0"];
        let Ok(output) = std::process::Command::new("ffprobe").args(arguments).arg(path).output() else {
            eprintln!("skipped: there is no ffprobe here");
            return None;
        };
        let (output_text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && error.is_empty(), "{error}");
        Some(output_text.trim().to_owned())
    }
}

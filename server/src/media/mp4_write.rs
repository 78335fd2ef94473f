//! Writes pictures as H.264 in an `.mp4` that browsers play: constrained baseline, BT.709, with the index in front if
//! its size is known.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use dreamframe::frame::{ColorSpace, Frame, PixelFormat};
use dreamframe::{Error, ErrorKind, Result};
use openh264::OpenH264API;
use openh264::encoder::{
    EncodedBitStream, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile, RateControlMode,
    VuiConfig,
};
use openh264::formats::YUVSlices;
use shiguredo_mp4::TrackKind;
use shiguredo_mp4::bitstream::h264::{H264SampleEntryConfig, LengthSize, build_avc1_box};
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, MuxError, Sample, estimate_maximum_moov_box_size};

use super::fit::{Wanted, write_error};
use super::pending::PendingFile;
use super::{Output, PictureWriter, Rate, misused};

/// The limits of the encoder, in either orientation.
const MAX_SIDES: (u32, u32) = (3840, 2160);
const MIN_SIDE: u32 = 16;

/// Seconds from one key frame to the next.
const KEY_SECONDS: f64 = 2.0;

/// The number of pictures for which space for the index is reserved in front of the video; 16 bytes each.
const MAX_RESERVED: usize = 1 << 18;

/// Writes a video.
pub(super) struct Mp4Writer {
    // Both are `None` once it is finished.
    open: Option<(PendingFile, Mp4FileMuxer)>,
    encoder: Encoder,
    wanted: Wanted,
    path: std::path::PathBuf,
    rate: Rate,
    position: u64,
    written: usize,
    // An encoded frame with lengths before its units.
    coded: Vec<u8>,
}

impl std::fmt::Debug for Mp4Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mp4Writer").field("path", &self.path).field("written", &self.written).finish_non_exhaustive()
    }
}

impl Mp4Writer {
    /// Checks the size, starts the encoder, and creates the file.
    pub(super) fn create(path: &Path, output: Output) -> Result<Self> {
        let Output { width, height, rate, pictures } = output;
        let (long, short) = (width.max(height), width.min(height));
        if width % 2 != 0 || height % 2 != 0 || short < MIN_SIDE || long > MAX_SIDES.0 || short > MAX_SIDES.1 {
            return Err(misused(format!(
                "pictures: got {width}x{height}, expected even sides from {MIN_SIDE} to {}x{} for H.264",
                MAX_SIDES.0, MAX_SIDES.1
            )));
        }
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config(output));
        let encoder = encoder.map_err(|error| encoder_error("failed to start the H.264 encoder", error))?;
        let options = Mp4FileMuxerOptions {
            reserved_moov_box_size: pictures
                .map_or(0, |pictures| estimate_maximum_moov_box_size(&[pictures.min(MAX_RESERVED)])),
            ..Mp4FileMuxerOptions::default()
        };
        let muxer = Mp4FileMuxer::with_options(options).map_err(mux_error)?;
        let mut file = PendingFile::create(path)?;
        let head = muxer.initial_boxes_bytes();
        file.write_all(head).map_err(|error| write_error(path, error))?;
        let position = head.len() as u64;
        // The default colour space is the one that the encoder writes.
        let wanted = Wanted::new(PixelFormat::I420, ColorSpace::default(), output);
        let path = path.to_path_buf();
        Ok(Self { open: Some((file, muxer)), encoder, wanted, path, rate, position, written: 0, coded: Vec::new() })
    }
}

fn config(output: Output) -> EncoderConfig {
    let hertz = output.rate.hertz();
    EncoderConfig::new()
        .profile(Profile::Baseline)
        .vui(VuiConfig::bt709())
        // Constant quality (QP 26, about 40 dB), with any size.
        .rate_control_mode(RateControlMode::Off)
        .max_frame_rate(FrameRate::from_hz(hertz as f32))
        .intra_frame_period(IntraFramePeriod::from_num_frames((hertz * KEY_SECONDS).ceil().clamp(1.0, 600.0) as u32))
        // No picture is dropped, and a video is identical on every machine.
        .skip_frames(false)
        .background_detection(false)
        .num_threads(1)
}

impl PictureWriter for Mp4Writer {
    fn write(&mut self, picture: &Frame, _name: Option<&str>) -> Result<()> {
        let Some((file, muxer)) = &mut self.open else {
            return Err(misused(format!("{} is already complete", self.path.display())));
        };
        let frame = self.wanted.of(picture)?;
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let (y, chroma) = frame.pixels().split_at(width * height);
        let (u, v) = chroma.split_at(chroma.len() / 2);
        let yuv = YUVSlices::new((y, u, v), (width, height), (width, width / 2, width / 2));
        let stream =
            self.encoder.encode(&yuv).map_err(|error| encoder_error("failed to encode a picture as H.264", error))?;
        let keyframe = stream.frame_type() == FrameType::IDR;
        let (sps, pps) = split_units(&stream, &mut self.coded);
        let sample_entry = if sps.is_empty() || self.written > 0 {
            None
        } else {
            let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
            Some(SampleEntry::Avc1(build_avc1_box(&sps, &pps, &config).map_err(|error| mux_error(error.into()))?))
        };
        if self.coded.is_empty() {
            return Err(Error::new(ErrorKind::Internal, "the H.264 encoder returned no picture"));
        }
        file.write_all(&self.coded).map_err(|error| write_error(&self.path, error))?;
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry,
            keyframe,
            timescale: self.rate.frames,
            duration: self.rate.seconds.get(),
            composition_time_offset: None,
            data_offset: self.position,
            data_size: self.coded.len(),
        };
        muxer.append_sample(&sample).map_err(mux_error)?;
        self.position += self.coded.len() as u64;
        self.written += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let Some((mut file, mut muxer)) = self.open.take().filter(|_| self.written > 0) else {
            return Err(misused(format!("no picture was written to {}", self.path.display())));
        };
        let boxes = muxer.finalize().map_err(mux_error)?;
        for (offset, bytes) in boxes.offset_and_bytes_pairs() {
            let written = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes));
            written.map_err(|error| write_error(&self.path, error))?;
        }
        file.commit()
    }
}

/// Writes the units of a picture with their lengths into `coded`; returns the parameter sets, which go into the index.
fn split_units(stream: &EncodedBitStream<'_>, coded: &mut Vec<u8>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    coded.clear();
    for layer in (0..stream.num_layers()).filter_map(|layer| stream.layer(layer)) {
        for unit in (0..layer.nal_count()).filter_map(|unit| layer.nal_unit(unit)) {
            let unit = without_start_code(unit);
            match unit.first().map(|header| header & 0x1f) {
                Some(7) => sps.push(unit.to_vec()),
                Some(8) => pps.push(unit.to_vec()),
                _ => {
                    coded.extend_from_slice(&(unit.len() as u32).to_be_bytes());
                    coded.extend_from_slice(unit);
                }
            }
        }
    }
    (sps, pps)
}

fn without_start_code(unit: &[u8]) -> &[u8] {
    unit.strip_prefix(&[0, 0, 0, 1]).or_else(|| unit.strip_prefix(&[0, 0, 1])).unwrap_or(unit)
}

fn encoder_error(what: &str, error: openh264::Error) -> Error {
    Error::new(ErrorKind::Device, what).with_source(error)
}

fn mux_error(error: MuxError) -> Error {
    Error::new(ErrorKind::Internal, "failed to write the index of the MP4").with_source(error)
}

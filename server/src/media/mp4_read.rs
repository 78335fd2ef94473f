//! Reads H.264 from an `.mp4`, in presentation order.
//!
//! The tables of the whole file are checked when it is opened: a truncated file is refused before the first frame, and
//! no sample outside of the file is read.

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};

use dreamframe::frame::{ColorSpace, Frame, FrameId, FramePool, PixelFormat, Timestamp, YuvMatrix, YuvRange};
use dreamframe::transport::h264::{SequenceSet, check_h264, check_set};
use dreamframe::{Error, ErrorKind, Result};
use openh264::OpenH264API;
use openh264::decoder::{DecodeOptions, DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};
use shiguredo_mp4::{BaseBox, TrackKind};

use super::{FrameReader, Rate, assumed_color, broken, unsupported};

/// The largest table of contents that is read: hours of video have a few megabytes.
const MAX_CONTENTS: usize = 64 << 20;

/// The largest encoded frame that is read.
const MAX_SAMPLE: usize = 64 << 20;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Reads the first video track of a file.
pub(crate) struct Mp4Reader<R> {
    file: R,
    samples: Vec<Sample>,
    next: usize,
    length_bytes: usize,
    size: (u32, u32),
    color: ColorSpace,
    max_side: u32,
    rate: Option<Rate>,
    decoder: Decoder,
    // An encoded frame in the form of the file, and in that of the decoder.
    coded: Vec<u8>,
    annex_b: Vec<u8>,
    // Frames that the decoder returned together, at the end.
    ready: VecDeque<Frame>,
    given: u64,
    pool: FramePool,
}

impl<R> std::fmt::Debug for Mp4Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mp4Reader")
            .field("samples", &self.samples.len())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The position of an encoded frame.
#[derive(Debug, Clone, Copy)]
struct Sample {
    offset: u64,
    size: usize,
}

/// The parsed table of contents.
struct Contents {
    samples: Vec<Sample>,
    rate: Option<Rate>,
    length_bytes: usize,
    sps: SequenceSet,
    // Parameter sets with start codes.
    parameters: Vec<u8>,
}

impl<R: Read + Seek> Mp4Reader<R> {
    /// Reads the table of contents and starts the decoder, for pictures of up to `max_side` pixels a side.
    pub(crate) fn new(mut file: R, max_side: u32) -> Result<Self> {
        let contents = contents(&mut file, max_side)?;
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let failed = |error| Error::new(ErrorKind::Device, "failed to start the H.264 decoder").with_source(error);
        let mut decoder = Decoder::with_api_config(OpenH264API::from_source(), config).map_err(failed)?;
        decoder
            .decode(&contents.parameters)
            .map_err(|error| broken("invalid H.264 parameter sets").with_source(error))?;
        let Contents { samples, rate, length_bytes, sps, .. } = contents;
        let (coded, annex_b) = (Vec::new(), Vec::new());
        let (next, given, ready) = (0, 0, VecDeque::new());
        let pool = FramePool::new(4);
        let (size, color) = ((sps.width, sps.height), color(&sps));
        Ok(Self {
            file,
            samples,
            next,
            length_bytes,
            size,
            color,
            max_side,
            rate,
            decoder,
            coded,
            annex_b,
            ready,
            given,
            pool,
        })
    }

    /// Decodes the next sample; the decoder keeps a frame back while an earlier one may still come.
    fn decode_next(&mut self, sample: Sample) -> Result<Option<Frame>> {
        let number = self.next;
        self.next += 1;
        self.coded.resize(sample.size, 0);
        let read = self.file.seek(SeekFrom::Start(sample.offset)).and_then(|_| self.file.read_exact(&mut self.coded));
        read.map_err(|error| Error::new(ErrorKind::Io, format!("failed to read frame {number}")).with_source(error))?;
        to_annex_b(&self.coded, self.length_bytes, &mut self.annex_b).ok_or_else(|| {
            broken(format!("frame {number}: got units of another length, expected {} bytes in total", sample.size))
        })?;
        // A set may come between frames as well.
        check_h264(&self.annex_b, self.max_side).map_err(|error| error.within(format!("frame {number}")))?;
        let decoded = self
            .decoder
            .decode_with_options(&self.annex_b, DecodeOptions::new())
            .map_err(|error| broken(format!("failed to decode frame {number}")).with_source(error))?;
        decoded.map(|decoded| copy(&decoded, &self.pool, self.color)).transpose()
    }

    /// Takes the frames that the decoder still keeps.
    fn drain(&mut self) -> Result<()> {
        let rest = self
            .decoder
            .flush_remaining()
            .map_err(|error| broken("failed to decode the last frames").with_source(error))?;
        for decoded in rest {
            self.ready.push_back(copy(&decoded, &self.pool, self.color)?);
        }
        Ok(())
    }
}

impl<R: Read + Seek + Send> FrameReader for Mp4Reader<R> {
    fn next(&mut self) -> Result<Option<Frame>> {
        let mut frame = self.ready.pop_front();
        while frame.is_none() {
            if let Some(&sample) = self.samples.get(self.next) {
                frame = self.decode_next(sample)?;
            } else if self.next == self.samples.len() {
                // One past the end: the decoder is empty from now on.
                self.next += 1;
                self.drain()?;
                frame = self.ready.pop_front();
            } else if self.given < self.samples.len() as u64 {
                let (given, all) = (self.given, self.samples.len());
                return Err(broken(format!("decoded frames: got {given}, expected {all}")));
            } else {
                return Ok(None);
            }
        }
        if let Some(frame) = &mut frame {
            frame.set_id(FrameId(self.given));
            if let Some(rate) = self.rate {
                let seconds = u128::from(self.given) * u128::from(rate.seconds.get());
                let nanos = seconds * 1_000_000_000 / u128::from(rate.frames.get());
                frame.set_timestamp(Timestamp(u64::try_from(nanos).unwrap_or(u64::MAX)));
            }
            self.given += 1;
        }
        Ok(frame)
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn len(&self) -> Option<usize> {
        Some(self.samples.len())
    }

    fn rate(&self) -> Option<Rate> {
        self.rate
    }
}

/// Reads and checks the table of contents.
fn contents(file: &mut (impl Read + Seek), max_side: u32) -> Result<Contents> {
    let file_len = file.seek(SeekFrom::End(0)).map_err(read_error)?;
    let mut demuxer = read_contents(file, file_len)?;
    let failed = |error| broken("the file is damaged, or not an MP4").with_source(error);
    let tracks = demuxer.tracks().map_err(failed)?;
    let Some(track) = tracks.iter().find(|track| track.kind == TrackKind::Video) else {
        return Err(broken(format!("video track: missing, got {} other tracks", tracks.len())));
    };
    let (track_id, timescale) = (track.track_id, u64::from(track.timescale.get()));
    let (mut samples, mut duration, mut sum) = (Vec::new(), 0_u64, 0_u64);
    let mut entry = None;
    while let Some(sample) = demuxer.next_sample().map_err(failed)? {
        if sample.track.track_id != track_id {
            continue;
        }
        entry = entry.or_else(|| sample.sample_entry.cloned());
        let (offset, size) = (sample.data_offset, sample.data_size);
        let end = offset.checked_add(size as u64);
        // Frames do not share bytes, so together they cannot be more than the file: no table can ask for more memory.
        sum = sum.saturating_add(size as u64);
        if end.is_none_or(|end| end > file_len) || sum > file_len {
            let number = samples.len();
            return Err(broken(format!(
                "frame {number}: got {size} bytes from byte {offset}, expected an end of at most {file_len}; the file is truncated"
            )));
        }
        if size > MAX_SAMPLE {
            let number = samples.len();
            return Err(broken(format!("frame {number}: got {size} bytes, expected at most {MAX_SAMPLE}")));
        }
        duration = duration.saturating_add(sample.duration.into());
        samples.push(Sample { offset, size });
    }
    let Some(entry) = entry else {
        return Err(broken("video track: got no frames, expected at least one; fragmented files are not supported"));
    };
    let (length_bytes, sps, parameters) = parameters(&entry, max_side)?;
    let rate = timescale.checked_mul(samples.len() as u64).and_then(|frames| Rate::new(frames, duration));
    Ok(Contents { samples, rate, length_bytes, sps, parameters })
}

/// Feeds the demuxer with the data that it requests.
fn read_contents(file: &mut (impl Read + Seek), file_len: u64) -> Result<Mp4FileDemuxer> {
    let mut demuxer = Mp4FileDemuxer::new();
    let mut bytes = Vec::new();
    while let Some(required) = demuxer.required_input() {
        let rest = file_len.saturating_sub(required.position);
        if rest == 0 {
            return Err(broken(format!(
                "table of contents (moov): missing before the end at {file_len}; the file is truncated"
            )));
        }
        let wanted = required.size.map_or(rest, |size| (size as u64).min(rest));
        if wanted > MAX_CONTENTS as u64 {
            return Err(broken(format!("table of contents: got {wanted} bytes, expected at most {MAX_CONTENTS}")));
        }
        bytes.resize(wanted as usize, 0);
        file.seek(SeekFrom::Start(required.position)).map_err(read_error)?;
        file.read_exact(&mut bytes).map_err(read_error)?;
        // A header at the very end is shorter than the longest header that is asked for; zeros after it change nothing.
        if required.size.is_some_and(|size| size <= HEADER_BYTES) {
            bytes.resize(HEADER_BYTES.max(bytes.len()), 0);
        } else if required.size.is_some_and(|size| size as u64 > rest) {
            return Err(broken(format!(
                "box at byte {}: got an end after that of the file ({file_len})",
                required.position
            )));
        }
        demuxer.handle_input(Input { position: required.position, data: &bytes });
    }
    Ok(demuxer)
}

/// The longest header of a box.
const HEADER_BYTES: usize = shiguredo_mp4::BoxHeader::MAX_SIZE;

fn read_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "failed to read the file").with_source(error)
}

/// The parameter sets of an H.264 track, checked as far as they can be without decoding.
fn parameters(entry: &SampleEntry, max_side: u32) -> Result<(usize, SequenceSet, Vec<u8>)> {
    // Only avc1: the others name themselves in the error.
    let avc = if let SampleEntry::Avc1(avc) = entry {
        &avc.avcc_box
    } else {
        return Err(unsupported(format!("video codec: got {}, expected H.264 (avc1)", entry.box_type())));
    };
    let Some(sps) = avc.sps_list.first().and_then(|sps| SequenceSet::parse(sps)) else {
        return Err(broken("H.264 parameter set: missing or invalid"));
    };
    if sps.chroma_format_idc != 1 || sps.bit_depth != 8 || sps.interlaced {
        let what = format!("chroma format {}, {} bits", sps.chroma_format_idc, sps.bit_depth);
        let interlaced = if sps.interlaced { ", interlaced" } else { "" };
        return Err(unsupported(format!("video format: got {what}{interlaced}, expected progressive 8-bit 4:2:0")));
    }
    if sps.width == 0 || sps.height == 0 {
        let size = format!("{}x{}", sps.width, sps.height);
        return Err(broken(format!("video: got {size}, expected sides of at least 1")));
    }
    for set in &avc.sps_list {
        check_set(set, max_side)?;
    }
    let mut parameters = Vec::new();
    for nal in avc.sps_list.iter().chain(&avc.pps_list) {
        parameters.extend_from_slice(&START_CODE);
        parameters.extend_from_slice(nal);
    }
    Ok((usize::from(avc.length_size_minus_one.get()) + 1, sps, parameters))
}

/// Puts start codes in place of the lengths before each unit; `None` if the lengths do not add up.
fn to_annex_b(mut coded: &[u8], length_bytes: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    while !coded.is_empty() {
        let (length, rest) = coded.split_at_checked(length_bytes)?;
        let length = length.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(unit);
        coded = rest;
    }
    Some(())
}

/// The colour space of a video, by its parameter sets and the assumptions of players.
fn color(sps: &SequenceSet) -> ColorSpace {
    let mut color = assumed_color(sps.height);
    if let Some(signal) = sps.signal {
        color.range = if signal.full_range { YuvRange::Full } else { YuvRange::Limited };
        // 1 is BT.709; 4, 5 and 6 are BT.601 or equal to it within the precision of 8 bits.
        match signal.matrix {
            Some(1) => color.matrix = YuvMatrix::Bt709,
            Some(4..=6) => color.matrix = YuvMatrix::Bt601,
            _ => {}
        }
    }
    color
}

/// Copies a decoded frame out of the decoder's memory.
fn copy(decoded: &DecodedYUV<'_>, pool: &FramePool, color: ColorSpace) -> Result<Frame> {
    let (width, height) = decoded.dimensions();
    let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
    let mut frame = pool.frame(PixelFormat::I420, side(width), side(height))?;
    frame.set_color(color);
    let (y, u, v) = decoded.strides();
    let mut view = frame.view_mut();
    for (plane, (pixels, stride)) in [(decoded.y(), y), (decoded.u(), u), (decoded.v(), v)].into_iter().enumerate() {
        for (to, from) in view.rows_mut(plane).zip(pixels.chunks(stride.max(1))) {
            let from = from.get(..to.len()).ok_or_else(|| broken("the decoder returned a frame that is too short"))?;
            to.copy_from_slice(from);
        }
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_start_codes_and_wrong_ones_are_refused() {
        let mut out = Vec::new();
        to_annex_b(&[0, 2, 7, 8, 0, 1, 9], 2, &mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 1, 7, 8, 0, 0, 0, 1, 9]);
        assert_eq!(to_annex_b(&[0, 3, 7, 8], 2, &mut out), None);
        assert_eq!(to_annex_b(&[255, 255, 255, 255, 1], 4, &mut out), None);
        assert_eq!(to_annex_b(&[0], 2, &mut out), None);
    }

    #[test]
    fn a_larger_size_in_the_middle_of_a_film_is_refused() {
        // 4096x2304, by a set that takes the place of what the encoder says of itself in the first frame.
        let set = [0x67, 0x42, 0xc0, 0x33, 0xda, 0x00, 0x40, 0x00, 0x48, 0x64];
        let mut video = crate::media::CLIP.to_vec();
        let at = video.windows(3).position(|bytes| bytes == [0x06, 0x05, 0xff]).unwrap();
        video[at..at + set.len()].copy_from_slice(&set);
        let mut reader = Mp4Reader::new(std::io::Cursor::new(video), 1920).unwrap();
        let refused = reader.next().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(refused.to_string().contains("4096x2304, expected at most 1920x1920"), "{refused}");
    }
}

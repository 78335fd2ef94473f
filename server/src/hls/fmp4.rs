//! Fragmented MP4 of a video track, and a track of sound where there is any: the initialization section, and media
//! segments.

use std::num::NonZeroU32;

use bytes::Bytes;
use dreamframe::{Error, ErrorKind, Result};
use shiguredo_mp4::boxes::{MfhdBox, MoofBox, SampleEntry, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample};
use shiguredo_mp4::mux::{Fmp4SegmentMuxer, MuxError, Sample};
use shiguredo_mp4::{Encode, SampleFlags, TrackKind};

use crate::media::coded::{ParameterSets, TIMESCALE};
use crate::sound::Format;

/// Bytes of the header of `mdat`.
const HEADER: usize = 8;

/// The number of the video's track, which the muxer counts first, and of that of the sound.
const VIDEO: u32 = 1;
const SOUND: u32 = 2;

/// A picture, or a packet of sound, of a segment.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// With lengths before its units, if it is a picture.
    pub(super) data: Bytes,
    /// In units of [`TIMESCALE`], or in samples of the sound.
    pub(super) duration: u32,
    /// Whether playing can start with it.
    pub(super) key: bool,
}

/// A part of one track.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    /// When it begins, in the units of its pieces.
    pub(super) start: u64,
    pub(super) pieces: Vec<Piece>,
}

impl Run {
    fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.data.len()).sum()
    }
}

/// Creates the initialization section.
pub(super) fn init(sets: &ParameterSets, sound: Option<&Format>) -> Result<Bytes> {
    let sample = |track_kind, entry: SampleEntry, timescale, data_offset| Sample {
        track_kind,
        sample_entry: Some(entry),
        keyframe: true,
        timescale,
        duration: 1,
        composition_time_offset: None,
        data_offset,
        data_size: 1,
    };
    let timescale = NonZeroU32::new(TIMESCALE).unwrap_or(NonZeroU32::MIN);
    let mut samples = vec![sample(TrackKind::Video, sets.sample_entry()?, timescale, 0)];
    if let Some(format) = sound {
        samples.push(sample(TrackKind::Audio, format.sample_entry()?, format.timescale(), 1));
    }
    // The muxer learns the tracks from samples; the segment of those samples is dropped.
    let mut muxer = Fmp4SegmentMuxer::new().map_err(failed)?;
    muxer.create_media_segment_metadata(&samples).map_err(failed)?;
    Ok(muxer.init_segment_bytes().map_err(failed)?.into())
}

/// Makes segment number `sequence` of pictures, and sound if there is any.
pub(super) fn segment(sequence: u32, video: &Run, sound: &Run) -> Result<Bytes> {
    let payload = video.len() + sound.len();
    let size = u32::try_from(payload + HEADER);
    let size = size.map_err(|_| {
        Error::new(ErrorKind::Internal, format!("segment: got {payload} bytes, expected less than 4 GB"))
    })?;
    // The offset is from the first byte of `moof`, whose length does not depend on it.
    let moof_len = moof(sequence, video, sound, 0).encode_to_vec().map_err(unencodable)?.len();
    let mut bytes = moof(sequence, video, sound, moof_len + HEADER).encode_to_vec().map_err(unencodable)?;
    bytes.reserve(payload + HEADER);
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    video.pieces.iter().chain(&sound.pieces).for_each(|piece| bytes.extend_from_slice(&piece.data));
    Ok(bytes.into())
}

fn moof(sequence_number: u32, video: &Run, sound: &Run, offset: usize) -> MoofBox {
    let mut traf_boxes = vec![traf(VIDEO, video, offset)];
    if !sound.pieces.is_empty() {
        traf_boxes.push(traf(SOUND, sound, offset + video.len()));
    }
    MoofBox { mfhd_box: MfhdBox { sequence_number }, traf_boxes, unknown_boxes: Vec::new() }
}

fn traf(track_id: u32, run: &Run, offset: usize) -> TrafBox {
    let samples = run.pieces.iter().map(|piece| TrunSample {
        duration: Some(piece.duration),
        size: Some(piece.data.len() as u32),
        // A key frame depends on none (2), and is one from which playing can start.
        flags: Some(if piece.key {
            SampleFlags::from_fields(0, 2, 0, 0, 0, false, 0)
        } else {
            SampleFlags::from_fields(0, 1, 0, 0, 0, true, 0)
        }),
        composition_time_offset: None,
    });
    let data_offset = Some(i32::try_from(offset).unwrap_or(i32::MAX));
    let trun = TrunBox { data_offset, first_sample_flags: None, samples: samples.collect() };
    let header = TfhdBox {
        track_id,
        base_data_offset: None,
        sample_description_index: None,
        default_sample_duration: None,
        default_sample_size: None,
        default_sample_flags: None,
        duration_is_empty: false,
        default_base_is_moof: true,
    };
    TrafBox {
        tfhd_box: header,
        tfdt_box: Some(TfdtBox { version: 1, base_media_decode_time: run.start }),
        trun_boxes: vec![trun],
        unknown_boxes: Vec::new(),
    }
}

fn failed(error: MuxError) -> Error {
    Error::new(ErrorKind::Internal, "failed to write the header of a fragmented MP4").with_source(error)
}

fn unencodable(error: shiguredo_mp4::Error) -> Error {
    Error::new(ErrorKind::Internal, "failed to write a segment of a fragmented MP4").with_source(error)
}

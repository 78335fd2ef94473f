//! Fragmented MP4 of one video track: the initialization section, and media segments.

use std::num::NonZeroU32;

use bytes::Bytes;
use dreamframe::{Error, ErrorKind, Result};
use shiguredo_mp4::boxes::{MfhdBox, MoofBox, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample};
use shiguredo_mp4::mux::{Fmp4SegmentMuxer, MuxError, Sample};
use shiguredo_mp4::{Encode, SampleFlags, TrackKind};

use crate::media::coded::{ParameterSets, TIMESCALE};

/// Bytes of the header of `mdat`.
const HEADER: usize = 8;

/// The only track.
const TRACK: u32 = 1;

/// A picture of a segment.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// With lengths before its units.
    pub(super) units: Vec<u8>,
    /// In units of [`TIMESCALE`].
    pub(super) duration: u32,
    pub(super) key: bool,
}

/// Creates the initialization section.
pub(super) fn init(sets: &ParameterSets) -> Result<Bytes> {
    let timescale = NonZeroU32::new(TIMESCALE).unwrap_or(NonZeroU32::MIN);
    let sample = Sample {
        track_kind: TrackKind::Video,
        sample_entry: Some(sets.sample_entry()?),
        keyframe: true,
        timescale,
        duration: 1,
        composition_time_offset: None,
        data_offset: 0,
        data_size: 1,
    };
    // The muxer learns the track from a sample; the segment of that sample is dropped.
    let mut muxer = Fmp4SegmentMuxer::new().map_err(failed)?;
    muxer.create_media_segment_metadata(&[sample]).map_err(failed)?;
    Ok(muxer.init_segment_bytes().map_err(failed)?.into())
}

/// Makes segment number `sequence` of pictures of which the first is shown at `start`, in units of [`TIMESCALE`].
pub(super) fn segment(sequence: u32, start: u64, pieces: &[Piece]) -> Result<Bytes> {
    let payload: usize = pieces.iter().map(|piece| piece.units.len()).sum();
    let size = u32::try_from(payload + HEADER);
    let size = size.map_err(|_| {
        Error::new(ErrorKind::Internal, format!("segment: got {payload} bytes, expected less than 4 GB"))
    })?;
    // The offset is from the first byte of `moof`, whose length does not depend on it.
    let moof_len = moof(sequence, start, pieces, 0).encode_to_vec().map_err(unencodable)?.len();
    let offset = i32::try_from(moof_len + HEADER).unwrap_or(i32::MAX);
    let mut bytes = moof(sequence, start, pieces, offset).encode_to_vec().map_err(unencodable)?;
    bytes.reserve(payload + HEADER);
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(b"mdat");
    pieces.iter().for_each(|piece| bytes.extend_from_slice(&piece.units));
    Ok(bytes.into())
}

fn moof(sequence_number: u32, start: u64, pieces: &[Piece], data_offset: i32) -> MoofBox {
    let samples = pieces.iter().map(|piece| TrunSample {
        duration: Some(piece.duration),
        size: Some(piece.units.len() as u32),
        // A key frame depends on none (2), and is one from which playing can start.
        flags: Some(if piece.key {
            SampleFlags::from_fields(0, 2, 0, 0, 0, false, 0)
        } else {
            SampleFlags::from_fields(0, 1, 0, 0, 0, true, 0)
        }),
        composition_time_offset: None,
    });
    let run = TrunBox { data_offset: Some(data_offset), first_sample_flags: None, samples: samples.collect() };
    let header = TfhdBox {
        track_id: TRACK,
        base_data_offset: None,
        sample_description_index: None,
        default_sample_duration: None,
        default_sample_size: None,
        default_sample_flags: None,
        duration_is_empty: false,
        default_base_is_moof: true,
    };
    let track = TrafBox {
        tfhd_box: header,
        tfdt_box: Some(TfdtBox { version: 1, base_media_decode_time: start }),
        trun_boxes: vec![run],
        unknown_boxes: Vec::new(),
    };
    MoofBox { mfhd_box: MfhdBox { sequence_number }, traf_boxes: vec![track], unknown_boxes: Vec::new() }
}

fn failed(error: MuxError) -> Error {
    Error::new(ErrorKind::Internal, "failed to write the header of a fragmented MP4").with_source(error)
}

fn unencodable(error: shiguredo_mp4::Error) -> Error {
    Error::new(ErrorKind::Internal, "failed to write a segment of a fragmented MP4").with_source(error)
}

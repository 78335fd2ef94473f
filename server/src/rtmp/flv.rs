//! FLV tags: the contents of RTMP's video and audio messages.
//!
//! Names and layout are those of Adobe's FLV specification, section E.4; the longer header with a four-letter codec is
//! that of Enhanced RTMP.

use bytes::Bytes;
use dreamframe::transport::h264::ParameterSets;

use super::amf::{self, Value};
use crate::sound::{AAC_SILENCE_STEREO, Format, MAX_PACKET};

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// AVC, in the lower half of a video tag's first byte.
const AVC: u8 = 7;
/// Set in the first byte of a video tag that names its codec by four letters.
const EXTENDED: u8 = 0x80;

/// The reason for ignoring a video tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// It is truncated, or its lengths are inconsistent.
    #[error("invalid video tag")]
    Broken,
    /// It is not H.264.
    #[error("video codec: got another one, expected H.264")]
    OtherCodec,
    /// Something other than a parameter set, or more sets than are kept.
    #[error("H.264 parameter sets: expected at most 32 sets, of at most 4096 bytes each and 16384 together")]
    ParameterSets,
}

/// An encoded picture from a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Annex B, with the parameter sets before a key frame.
    pub data: Bytes,
    /// Whether the tag calls it a key frame.
    pub key: bool,
    /// Composition time: milliseconds from decoding to display; nonzero if a publisher uses B-frames.
    pub delay: i32,
}

/// Reads the video of one publisher.
#[derive(Debug, Default)]
pub struct VideoReader {
    length_bytes: usize,
    sets: ParameterSets,
}

impl VideoReader {
    /// Reads one tag; `None` for those without a picture.
    ///
    /// # Errors
    ///
    /// See [`FlvError`]; the next tag may be valid again.
    pub fn read(&mut self, tag: &[u8]) -> Result<Option<Picture>, FlvError> {
        let (&first, rest) = tag.split_first().ok_or(FlvError::Broken)?;
        let key = first >> 4 & 7 == 1;
        // The packet type: 0 parameter sets, 1 a picture with its delay, 3 one without.
        let (carries, rest) = if first & EXTENDED == 0 {
            if first & 0x0F != AVC {
                return Err(FlvError::OtherCodec);
            }
            let (&carries, rest) = rest.split_first().ok_or(FlvError::Broken)?;
            if carries == 0 { (0, rest.get(3..).ok_or(FlvError::Broken)?) } else { (carries, rest) }
        } else {
            let rest = rest.strip_prefix(b"avc1").ok_or(FlvError::OtherCodec)?;
            (first & 0x0F, rest)
        };
        match carries {
            0 => self.configure(rest).map(|()| None),
            1 => {
                let (delay, units) = rest.split_first_chunk::<3>().ok_or(FlvError::Broken)?;
                let [a, b, c] = *delay;
                let delay = i32::from_be_bytes([a, b, c, 0]) >> 8;
                self.picture(units, key, delay)
            }
            3 if first & EXTENDED != 0 => self.picture(rest, key, 0),
            _ => Ok(None),
        }
    }

    /// Stores the sets of an `AVCDecoderConfigurationRecord`.
    fn configure(&mut self, record: &[u8]) -> Result<(), FlvError> {
        let (head, mut rest) = record.split_first_chunk::<5>().ok_or(FlvError::Broken)?;
        let [_, _, _, _, lengths] = *head;
        let mut sets = ParameterSets::default();
        for mask in [0x1F, 0xFF] {
            let (&count, after) = rest.split_first().ok_or(FlvError::Broken)?;
            rest = after;
            for _ in 0..count & mask {
                let unit = take_unit(&mut rest, 2).ok_or(FlvError::Broken)?;
                sets.add(unit).ok_or(FlvError::ParameterSets)?;
            }
        }
        self.length_bytes = usize::from(lengths & 3) + 1;
        self.sets = sets;
        Ok(())
    }

    fn picture(&self, mut units: &[u8], key: bool, delay: i32) -> Result<Option<Picture>, FlvError> {
        // Without the sets nothing can be decoded.
        if self.length_bytes == 0 {
            return Ok(None);
        }
        let mut data = Vec::with_capacity(units.len() + 256);
        if key {
            self.sets.write(&mut data);
        }
        let begin = data.len();
        while !units.is_empty() {
            let unit = take_unit(&mut units, self.length_bytes).ok_or(FlvError::Broken)?;
            if !unit.is_empty() {
                data.extend_from_slice(&START_CODE);
                data.extend_from_slice(unit);
            }
        }
        // Parameter sets alone, or units without bytes, are not a picture.
        Ok((data.len() > begin).then(|| Picture { data: data.into(), key, delay }))
    }
}

/// Reads a unit with its length before it.
fn take_unit<'a>(rest: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let (length, after) = rest.split_at_checked(length_bytes)?;
    let length = length.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    let (unit, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(unit)
}

/// Writes the tag with the parameter sets, which precedes the first picture.
pub(super) fn video_header(record: &[u8]) -> Bytes {
    [&[0x10 | AVC, 0, 0, 0, 0], record].concat().into()
}

/// Writes the tag of a picture whose units have their lengths before them.
pub(super) fn video_tag(units: &[u8], key: bool) -> Bytes {
    let first = if key { 0x10 } else { 0x20 } | AVC;
    [&[first, 1, 0, 0, 0], units].concat().into()
}

/// The upper half of the first byte of a tag of AAC, and of one that names its codec by four letters.
const AAC: u8 = 10;
const EXTENDED_AUDIO: u8 = 9;

/// The first byte of an AAC tag, whatever its rate and channels are.
const AAC_TAG: u8 = 0xAF;

/// The four letters of Opus and AAC.
const OPUS: &str = "Opus";
const MP4A: &str = "mp4a";

/// Samples of an AAC frame, and the samples of a second of silence.
const AAC_FRAME: u64 = 1024;
pub(super) const AAC_RATE: u32 = 44_100;

/// The names under which both sides of a connection list codecs (Enhanced RTMP), and the flag of one that is passed on.
const CODECS: &str = "fourCcList";
const AUDIO_CODECS: &str = "audioFourCcInfoMap";
const FORWARDED: u8 = 4;
/// The flags of codecs that the peer decodes or passes on.
const ACCEPTED: u8 = 1 | FORWARDED;

/// Returns the properties by which a peer learns that Opus may be sent.
pub(super) fn codecs() -> [(String, Value); 2] {
    let list = ["avc1", MP4A, OPUS].map(|name| Value::Text(name.to_owned()));
    let flags = [MP4A, OPUS].map(|name| (name.to_owned(), Value::Number(FORWARDED.into())));
    [(CODECS.to_owned(), Value::Array(list.into())), (AUDIO_CODECS.to_owned(), Value::Object(flags.into()))]
}

/// Returns whether the peer that sent these properties accepts Opus.
pub(super) fn accepts_opus(properties: &Value) -> bool {
    let is_meant = |name: &str| name == OPUS || name == "*";
    let listed = match properties.get(CODECS) {
        Some(Value::Array(names)) => names.iter().filter_map(Value::text).any(is_meant),
        _ => false,
    };
    let flagged = match properties.get(AUDIO_CODECS) {
        Some(Value::Object(flags)) => flags.iter().any(|(name, flags)| {
            // A number that is no flag is 0.
            is_meant(name) && flags.number().is_some_and(|flags| flags as u8 & ACCEPTED != 0)
        }),
        _ => false,
    };
    listed || flagged
}

/// Reads the sound of one publisher.
#[derive(Debug, Default)]
pub(super) struct AudioReader {
    format: Option<Format>,
}

impl AudioReader {
    /// Reads one tag; `None` for those without sound.
    ///
    /// # Errors
    ///
    /// The reason why the sound is not used.
    pub(super) fn read(&mut self, tag: &Bytes) -> Result<Option<(Format, Bytes)>, AudioError> {
        let (&first, rest) = tag.split_first().ok_or(AudioError::Broken)?;
        let (kind, codec, from) = match first >> 4 {
            AAC => (*rest.first().ok_or(AudioError::Broken)?, MP4A, 2),
            EXTENDED_AUDIO => {
                let name = rest.get(..4).ok_or(AudioError::Broken)?;
                let known = [MP4A, OPUS].into_iter().find(|codec| codec.as_bytes() == name);
                (first & 0x0F, known.ok_or(AudioError::OtherCodec)?, 5)
            }
            _ => return Err(AudioError::OtherCodec),
        };
        let body = tag.slice(from..);
        match kind {
            0 if codec == MP4A => {
                self.format = None;
                self.format = Some(Format::aac(&body).map_err(|_| AudioError::OtherCodec)?);
                Ok(None)
            }
            0 => {
                self.format = Some(Format::Opus);
                Ok(None)
            }
            1 if body.len() > MAX_PACKET => Err(AudioError::Broken),
            1 => Ok(self.format.clone().filter(|_| !body.is_empty()).map(|format| (format, body))),
            _ => Ok(None),
        }
    }
}

/// The reason for ignoring an audio tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AudioError {
    /// It is truncated, or longer than any packet.
    #[error("invalid audio tag")]
    Broken,
    #[error("audio codec: got another one, expected AAC-LC or Opus")]
    OtherCodec,
}

/// Writes the tag that describes the sound.
pub(super) fn audio_header(format: &Format) -> Bytes {
    match format.config() {
        Some(config) => [&[AAC_TAG, 0][..], &config].concat().into(),
        None => [&[EXTENDED_AUDIO << 4], OPUS.as_bytes(), OPUS_HEAD].concat().into(),
    }
}

/// Writes the tag of a packet of sound.
pub(super) fn audio_tag(format: &Format, data: &[u8]) -> Bytes {
    match format {
        Format::Aac(_) => [&[AAC_TAG, 1], data].concat().into(),
        Format::Opus => [&[EXTENDED_AUDIO << 4 | 1], OPUS.as_bytes(), data].concat().into(),
    }
}

/// The identification header of Opus (RFC 7845, section 5.1): version 1, two channels, nothing skipped, 48 kHz, no gain.
const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x00\x00\x80\xBB\x00\x00\x00\x00\x00";

/// Writes the tag that describes silence: AAC-LC, 44.1 kHz, stereo (`AudioSpecificConfig`, ISO 14496-3, 1.6.2.1).
pub(super) fn silence_header() -> Bytes {
    Bytes::from_static(&[AAC_TAG, 0, 0x12, 0x10])
}

/// Writes a frame of silence.
pub(super) fn silence() -> Bytes {
    [&[AAC_TAG, 1][..], &AAC_SILENCE_STEREO].concat().into()
}

/// Returns when silence number `frame` starts, in milliseconds.
pub(super) fn silence_at(frame: u64) -> u32 {
    (frame.wrapping_mul(AAC_FRAME * 1000) / u64::from(AAC_RATE)) as u32
}

/// Writes the metadata message; `sound` is `None` for silence.
pub(super) fn metadata((width, height): (u16, u16), sound: Option<&Format>) -> Bytes {
    let codec = if sound == Some(&Format::Opus) { u32::from_be_bytes(*b"Opus") } else { AAC.into() };
    let number = |name: &str, value: f64| (name.to_owned(), Value::Number(value));
    let properties = vec![
        number("width", width.into()),
        number("height", height.into()),
        number("videocodecid", AVC.into()),
        number("audiocodecid", codec.into()),
        number("audiosamplerate", sound.map_or(AAC_RATE, Format::rate).into()),
        ("stereo".to_owned(), Value::Boolean(true)),
        ("encoder".to_owned(), Value::Text(concat!("dreamframe ", env!("CARGO_PKG_VERSION")).to_owned())),
    ];
    let text = |text: &str| Value::Text(text.to_owned());
    amf::write(&[text("@setDataFrame"), text("onMetaData"), Value::Object(properties)]).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::coded::CodedPicture;

    // Of the bundled clip.
    const SPS: [u8; 25] = [
        0x67, 0x42, 0xC0, 0x1E, 0xD9, 0x00, 0xA0, 0x2F, 0xF9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00,
        0x03, 0x00, 0x32, 0x0F, 0x16, 0x2E, 0x48,
    ];
    const PPS: [u8; 4] = [0x68, 0xCE, 0x3C, 0x80];

    fn annex_b(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&START_CODE, *unit].concat()).collect()
    }

    #[test]
    fn units_of_no_length_are_no_picture() {
        let mut reader = VideoReader { length_bytes: 4, ..VideoReader::default() };
        assert!(reader.sets.keep(&SPS) && reader.sets.keep(&PPS));
        for units in [&[][..], &[0; 4], &[0; 8]] {
            for first in [0x17, 0x27] {
                let tag = [&[first, 1, 0, 0, 0], units].concat();
                assert_eq!(reader.read(&tag), Ok(None), "{tag:?}");
            }
        }
        let picture = reader.read(&[0x27, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x41]).unwrap().unwrap();
        assert_eq!(picture.data, annex_b(&[&[0x41]]));
    }

    #[test]
    fn the_sets_are_read_with_lengths_of_two_bytes_and_nothing_comes_before_them() {
        let mut reader = VideoReader::default();
        assert_eq!(reader.read(&[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]), Ok(None));
        let record = [&[1, 0x42, 0xC0, 0x1E, 0xFD, 0xE1, 0, 25], &SPS[..], &[1, 0, 4], &PPS].concat();
        assert_eq!(reader.read(&[&[0x17, 0, 0, 0, 0], &record[..]].concat()), Ok(None));
        let picture = reader.read(&[0x17, 1, 0xFF, 0xFF, 0xFE, 0, 2, 0x65, 9, 0, 1, 0x06]).unwrap().unwrap();
        assert_eq!(picture.data, annex_b(&[&SPS, &PPS, &[0x65, 9], &[0x06]]));
        assert_eq!((picture.key, picture.delay), (true, -2));
        assert_eq!(reader.read(&[0x17, 1, 0, 0, 0, 0, 9, 0x65]), Err(FlvError::Broken));
        assert_eq!(reader.read(&[0x12, 0]), Err(FlvError::OtherCodec));
        assert_eq!(reader.read(&[0x17, 2, 0, 0, 0]), Ok(None));
    }

    #[test]
    fn the_longer_header_is_read_and_another_codec_in_it_refused() {
        let mut reader = VideoReader::default();
        let record = [&[1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 25], &SPS[..], &[1, 0, 4], &PPS].concat();
        assert_eq!(reader.read(&[b"\x90avc1", &record[..]].concat()), Ok(None));
        let inter = reader.read(b"\xA3avc1\0\0\0\x02\x41\x01").unwrap().unwrap();
        assert_eq!((inter.data.as_ref(), inter.key), (&annex_b(&[&[0x41, 1]])[..], false));
        let key = reader.read(b"\x91avc1\0\0\x28\0\0\0\x02\x65\x01").unwrap().unwrap();
        assert_eq!((key.key, key.delay), (true, 40));
        assert_eq!(reader.read(b"\x90hvc1\0"), Err(FlvError::OtherCodec));
    }

    proptest! {
        #[test]
        fn written_units_round_trip(
            units in prop::collection::vec(prop::collection::vec(4..255_u8, 1..60), 1..5),
            key in any::<bool>(),
        ) {
            let kind = if key { 0x65 } else { 0x41 };
            let units: Vec<Vec<u8>> = units.into_iter().map(|unit| [&[kind], &unit[..]].concat()).collect();
            let units: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
            let sets: &[&[u8]] = if key { &[&SPS, &PPS] } else { &[] };
            let coded = annex_b(&[sets, &units].concat());
            let picture = CodedPicture::new(&coded).unwrap();
            let mut reader = VideoReader::default();
            let sets = CodedPicture::new(&annex_b(&[&SPS, &PPS])).unwrap().sets.unwrap();
            prop_assert_eq!(sets.size().unwrap(), (640, 360));
            reader.read(&video_header(&sets.record().unwrap())).unwrap();
            let read = reader.read(&video_tag(&picture.units, key)).unwrap().unwrap();
            prop_assert_eq!((read.data.as_ref(), read.key, read.delay), (&coded[..], key, 0));
            prop_assert_eq!(picture.sets.is_some(), key);
        }

        #[test]
        fn no_bytes_make_it_panic(
            tags in prop::collection::vec(
                (prop_oneof![Just(0x17_u8), Just(0x27), Just(0x90), any::<u8>()], 0..4_u8, prop::collection::vec(any::<u8>(), 0..60)),
                0..6,
            ),
        ) {
            let mut reader = VideoReader::default();
            for (first, carries, rest) in tags {
                let _ = reader.read(&[&[first, carries], &rest[..]].concat());
                let _ = reader.read(&[&[first], &b"avc1"[..], &rest].concat());
            }
        }
    }

    #[test]
    fn parameter_sets_have_bounds() {
        let record = |sets: &[Vec<u8>]| {
            let mut tag = vec![0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE0 | sets.len() as u8];
            for set in sets {
                tag.extend_from_slice(&(set.len() as u16).to_be_bytes());
                tag.extend_from_slice(set);
            }
            [&tag[..], &[1, 0, 4], &PPS].concat()
        };
        // One that is too long, too many, too many bytes in total, and a unit that is not a set.
        let long = [&SPS[..], &[7; 5000]].concat();
        let much: Vec<_> =
            (0..20_u8).map(|at| [&[0x67, 66, 0, 31, 0, 0x80 | at << 2][..], &[7; 4000]].concat()).collect();
        for sets in [&[long][..], &much, &[vec![0x65; 400]]] {
            let mut reader = VideoReader::default();
            assert!(reader.read(&record(sets)).is_err(), "{} sets", sets.len());
            // None of it is stored: without the sets there is no picture.
            assert_eq!(reader.read(&[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]), Ok(None));
        }
        assert_eq!(VideoReader::default().read(&record(&[SPS.to_vec()])), Ok(None));
    }

    #[test]
    fn written_sound_round_trips_and_other_codecs_are_refused() {
        for format in [Format::Opus, Format::aac(&[0x11, 0x88]).unwrap()] {
            let mut reader = AudioReader::default();
            assert_eq!(reader.read(&audio_tag(&format, &[7])), Ok(None), "without its description");
            assert_eq!(reader.read(&audio_header(&format)), Ok(None));
            let data = Bytes::from_static(&[1, 2, 3]);
            assert_eq!(reader.read(&audio_tag(&format, &data)), Ok(Some((format.clone(), data))));
            assert_eq!(reader.read(&audio_tag(&format, &[])), Ok(None));
            assert_eq!(reader.read(&audio_tag(&format, &[0; MAX_PACKET + 1])), Err(AudioError::Broken));
        }
        let refused = |tag: &'static [u8]| AudioReader::default().read(&Bytes::from_static(tag));
        for tag in [&[0x2F, 1, 2][..], &[0xAF, 0, 0x2B, 0x92, 8, 0], b"\x91fLaC\x01"] {
            assert_eq!(refused(tag), Err(AudioError::OtherCodec), "{tag:x?}");
        }
        for tag in [&[][..], &[0xAF], b"\x91Op"] {
            assert_eq!(refused(tag), Err(AudioError::Broken), "{tag:x?}");
        }
    }

    #[test]
    fn a_peer_says_whether_it_accepts_opus() {
        assert!(accepts_opus(&Value::Object(codecs().into())));
        let with = |name: &str, value| Value::Object(vec![(name.to_owned(), value)]);
        let flags = |flags| with(AUDIO_CODECS, with("*", Value::Number(flags)));
        assert!(accepts_opus(&flags(1.0)) && accepts_opus(&flags(6.0)) && !accepts_opus(&flags(2.0)));
        let list = |name: &str| with(CODECS, Value::Array(vec![Value::Null, Value::Text(name.to_owned())]));
        assert!(accepts_opus(&list("*")) && !accepts_opus(&list("mp4a")));
        assert!(!accepts_opus(&Value::Null) && !accepts_opus(&with(CODECS, Value::Null)));
    }

    #[test]
    fn silence_keeps_time_for_days() {
        assert_eq!((silence_at(0), silence_at(1), silence_at(44_100)), (0, 23, 1_024_000));
    }
}

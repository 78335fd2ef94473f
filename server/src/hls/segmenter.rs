//! Cuts a stream of encoded pictures, with their sound, into segments. No clock and no thread: times are those of the
//! pictures.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dreamframe::Result;
use dreamframe::frame::Timestamp;
use dreamframe::transport::AccessUnit;

use super::fmp4::{self, Piece, Run};
use crate::media::coded::{CodedPicture, ParameterSets, ticks};
use crate::sound::{self, Format, Sound};

/// A key frame from this age on ends the segment, so that one that is slightly early does not wait for another second.
const SHORTEST: Duration = Duration::from_millis(900);

/// Pictures farther apart than this are separated by a discontinuity.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// The duration of a picture without a successor.
const LAST: Duration = Duration::from_millis(100);

/// Bytes of a segment: far more than a second at any rate that browsers get.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// The most packets of sound that wait for the end of their segment: more than three seconds before it and two in it, of
/// 10 ms.
const MOST_SOUNDS: usize = 600;

/// The description of the tracks of some segments.
#[derive(Debug)]
pub(super) struct Init {
    pub(super) number: u64,
    pub(super) data: Bytes,
}

/// The formats of the tracks.
#[derive(Debug, PartialEq, Eq)]
struct Tracks {
    video: ParameterSets,
    sound: Option<Format>,
}

/// About a second of video.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) init: Arc<Init>,
    pub(super) data: Bytes,
    pub(super) duration: Duration,
    /// When its first picture was taken.
    pub(super) began: SystemTime,
    /// Whether it starts after a discontinuity.
    pub(super) discontinuity: bool,
}

/// Makes segments, numbered one after another.
#[derive(Debug)]
pub(super) struct Segmenter {
    // A time on the clock of the pictures, and the same in wall-clock time.
    origin: (Timestamp, SystemTime),
    next: u64,
    known: Option<(Tracks, Arc<Init>)>,
    open: Vec<AccessUnit>,
    bytes: usize,
    sounds: VecDeque<Sound>,
    broken: bool,
}

impl Segmenter {
    /// Starts with segment `number`; `origin` is the wall-clock time of the zero of the pictures' clock.
    pub(super) fn new(number: u64, origin: (Timestamp, SystemTime)) -> Self {
        Self { origin, next: number, known: None, open: Vec::new(), bytes: 0, sounds: VecDeque::new(), broken: false }
    }

    /// Returns the number of the next segment.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Takes the next picture; returns the segment that ends before it.
    pub(super) fn push(&mut self, mut unit: AccessUnit) -> Result<Option<Segment>> {
        let mut ended = None;
        if let (Some(first), Some(last)) = (self.open.first(), self.open.last()) {
            // Times increase strictly: a picture of no duration is invalid.
            unit.at = unit.at.max(Timestamp(last.at.0 + STEP));
            let (whole, gap) = (between(first.at, unit.at), between(last.at, unit.at));
            if gap > LONGEST_GAP || self.bytes + unit.data.len() > MAX_BYTES {
                let end = Timestamp(last.at.0 + (LAST.min(gap)).as_nanos() as u64);
                ended = self.close(end)?;
                self.broken = true;
            } else if unit.key && (whole >= SHORTEST || self.changes(&unit)?) {
                ended = self.close(unit.at)?;
            }
        }
        if unit.key || !self.open.is_empty() {
            self.bytes += unit.data.len();
            self.open.push(unit);
        }
        Ok(ended)
    }

    /// Takes the next packet of sound, which may be heard later than pictures that follow.
    pub(super) fn push_sound(&mut self, sound: Sound) {
        if self.sounds.len() == MOST_SOUNDS {
            self.sounds.pop_front();
        }
        self.sounds.push_back(sound);
    }

    /// Removes the sound until `end`, and returns it as a part of its track, with its format. A segment has sound of one
    /// format.
    fn take_sound(&mut self, start: Timestamp, end: Timestamp) -> (Option<Format>, Run) {
        let count = self.sounds.partition_point(|sound| sound.at() < end);
        let mut sounds: Vec<Sound> = self.sounds.drain(..count).collect();
        if self.known.is_none() || self.broken {
            // Later segments may have packets that arrived after the end of their own.
            sounds.retain(|sound| sound.at() >= start);
        }
        let Some(format) = sounds.first().map(|first| first.format.clone()) else { return (None, Run::default()) };
        sounds.retain(|sound| sound.format == format);
        let origin = sound::ticks(self.origin.0.0, format.rate());
        let starts: Vec<u64> = sounds.iter().map(|sound| sound.start).collect();
        let piece = |(at, sound): (usize, &Sound)| {
            // A gap makes the packet before it longer.
            let duration = starts.get(at + 1).map_or(sound.samples.into(), |next| next.saturating_sub(sound.start));
            Piece { data: sound.data.clone(), duration: u32::try_from(duration).unwrap_or(u32::MAX), key: true }
        };
        let pieces = sounds.iter().enumerate().map(piece).collect();
        let start = starts.first().map_or(0, |first| first.saturating_sub(origin));
        (Some(format), Run { start, pieces })
    }

    /// Whether a key frame has other parameter sets than the pictures before.
    fn changes(&self, unit: &AccessUnit) -> Result<bool> {
        let sets = CodedPicture::new(&unit.data)?.sets;
        let first = self.open.first().map(|first| CodedPicture::new(&first.data)).transpose()?;
        Ok(sets.is_some() && first.is_some_and(|first| first.sets != sets))
    }

    fn close(&mut self, end: Timestamp) -> Result<Option<Segment>> {
        self.bytes = 0;
        let open = std::mem::take(&mut self.open);
        let Some(first) = open.first() else { return Ok(None) };
        let since = |at: Timestamp| ticks(at.0.saturating_sub(self.origin.0.0));
        let ends = open.iter().skip(1).map(|unit| unit.at).chain([end]);
        let mut video = Run { start: since(first.at), pieces: Vec::with_capacity(open.len()) };
        let mut sets = None;
        for (unit, end) in open.iter().zip(ends) {
            let picture = CodedPicture::new(&unit.data)?;
            sets = sets.or(picture.sets);
            let duration = u32::try_from(since(end).saturating_sub(since(unit.at))).unwrap_or(u32::MAX);
            video.pieces.push(Piece { data: picture.units.into(), duration, key: unit.key });
        }
        let (format, sound) = self.take_sound(first.at, end);
        let sets = sets.or_else(|| self.known.as_ref().map(|(known, _)| known.video.clone()));
        let Some(sets) = sets else { return Ok(None) };
        let tracks = Tracks { video: sets, sound: format };
        if self.known.as_ref().is_none_or(|(known, _)| *known != tracks) {
            let data = fmp4::init(&tracks.video, tracks.sound.as_ref())?;
            self.broken |= self.known.is_some();
            self.known = Some((tracks, Arc::new(Init { number: self.next, data })));
        }
        let Some((_, init)) = &self.known else { return Ok(None) };
        // The crate's own numbers are those of the playlist; they only have to increase.
        let sequence = self.next as u32;
        let segment = Segment {
            number: self.next,
            init: Arc::clone(init),
            data: fmp4::segment(sequence, &video, &sound)?,
            duration: between(first.at, end),
            began: self.origin.1 + between(self.origin.0, first.at),
            discontinuity: std::mem::take(&mut self.broken),
        };
        self.next += 1;
        Ok(Some(segment))
    }
}

/// The minimum interval between two pictures: slightly more than a tick of [`TIMESCALE`](crate::media::coded::TIMESCALE).
const STEP: u64 = 12_000;

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_nanos(to.0.saturating_sub(from.0))
}

#[cfg(test)]
mod tests {
    use shiguredo_mp4::TrackKind;
    use shiguredo_mp4::demux::Fmp4SegmentDemuxer;

    use super::*;
    use crate::media::coded::TIMESCALE;
    use crate::media::coded::testing::{ffprobe, steady, units};
    use crate::sound::testing::{heard, placed, tone};

    fn segments(units: Vec<AccessUnit>) -> Vec<Segment> {
        let mut segmenter = Segmenter::new(5, (Timestamp(0), SystemTime::UNIX_EPOCH));
        units.into_iter().filter_map(|unit| segmenter.push(unit).unwrap()).collect()
    }

    /// The durations of a segment's samples, in ticks.
    fn durations(segment: &Segment) -> Vec<u32> {
        let mut demuxer = Fmp4SegmentDemuxer::new();
        demuxer.handle_init_segment(&segment.init.data).unwrap();
        let samples = demuxer.handle_media_segment(&segment.data).unwrap();
        assert!(samples[0].keyframe && samples.iter().skip(1).all(|sample| !sample.keyframe));
        let end = samples.last().map(|sample| sample.data_offset as usize + sample.data_size);
        assert_eq!(end, Some(segment.data.len()), "the samples fill the segment");
        samples.iter().map(|sample| sample.duration).collect()
    }

    #[test]
    fn segments_are_whole_numbered_and_as_long_as_their_pictures_say() {
        // 30 pictures per second, with intervals that are not a whole number of ticks.
        let times: Vec<_> = (0..100).map(|at| (at * 1000 / 30, at % 30 == 0)).collect();
        let segments = segments(units(64, &times));
        let numbers: Vec<_> = segments.iter().map(|segment| (segment.number, segment.init.number)).collect();
        assert_eq!(numbers, [(5, 5), (6, 5), (7, 5)]);
        for (at, segment) in segments.iter().enumerate() {
            assert_eq!(segment.duration, Duration::from_secs(1));
            assert_eq!(segment.began, SystemTime::UNIX_EPOCH + Duration::from_secs(at as u64));
            let durations = durations(segment);
            assert_eq!((durations.len(), durations.iter().sum::<u32>()), (30, TIMESCALE));
        }
    }

    #[test]
    fn irregular_pictures_keep_their_times_and_early_key_frames_wait() {
        let times = [
            (0, true),
            (10, false),
            (400, true),
            (410, false),
            (700, false),
            (1300, true),
            (1310, false),
            (2300, true),
        ];
        let segments = segments(units(64, &times));
        let ticks = |millis: u32| millis * 90;
        let mut demuxer = Fmp4SegmentDemuxer::new();
        demuxer.handle_init_segment(&segments[0].init.data).unwrap();
        let first = demuxer.handle_media_segment(&segments[0].data).unwrap();
        let durations_of_first: Vec<u32> = first.iter().map(|sample| sample.duration).collect();
        assert_eq!(durations_of_first, [10, 390, 10, 290, 600].map(ticks));
        assert_eq!(durations(&segments[1]), [10, 990].map(ticks));
        assert_eq!(segments.len(), 2);
    }

    #[test]
    fn a_gap_and_another_size_are_discontinuities() {
        let mut all = units(64, &steady(35, 33, 30));
        let later = |units: Vec<AccessUnit>, by: u64| {
            units.into_iter().map(move |mut unit| {
                unit.at.0 += by * 1_000_000_000;
                unit
            })
        };
        all.extend(later(units(64, &steady(35, 33, 30)), 60));
        all.extend(later(units(128, &steady(35, 33, 30)), 62));
        let segments = segments(all);
        let of = |segment: &Segment| (segment.number, segment.init.number, segment.discontinuity);
        let said: Vec<_> = segments.iter().map(of).collect();
        assert_eq!(said, [(5, 5, false), (6, 5, false), (7, 5, true), (8, 5, false), (9, 9, true)]);
        assert_eq!(segments[1].duration, Duration::from_millis(4 * 33 + 100), "the rest before the gap");
    }

    #[test]
    fn non_increasing_times_make_short_pictures() {
        let mut all = units(64, &steady(31, 33, 30));
        all[3].at = Timestamp(0);
        all[4].at = Timestamp(0);
        assert!(durations(&segments(all)[0]).iter().all(|&duration| duration > 0));
    }

    #[test]
    fn a_segment_without_end_is_cut_off() {
        let mut segmenter = Segmenter::new(0, (Timestamp(0), SystemTime::UNIX_EPOCH));
        let mut all = units(64, &steady(2, 33, 30));
        all[1].data = [&all[1].data[..], &vec![1; 1 << 20]].concat().into();
        let mut held = 0;
        for at in 0..20 {
            let mut unit = all[at.min(1)].clone();
            unit.at.0 = at as u64 * 33_000_000;
            segmenter.push(unit).unwrap();
            held = held.max(segmenter.open.iter().map(|unit| unit.data.len()).sum());
        }
        assert!((1..=MAX_BYTES).contains(&held), "{held}");
    }

    /// Packets of 20 ms from `from` to `to`, in milliseconds.
    fn sounds(format: &Format, from: u64, to: u64) -> Vec<Sound> {
        let sound = |at: u64| Sound {
            format: format.clone(),
            data: Bytes::from(format!("{at:05}")),
            start: at * u64::from(format.rate()) / 1000,
            samples: format.rate() / 50,
        };
        (from..to).step_by(20).map(sound).collect()
    }

    #[test]
    fn a_segment_has_the_sound_of_its_time_and_another_format_is_a_discontinuity() {
        let mut segmenter = Segmenter::new(0, (Timestamp(0), SystemTime::UNIX_EPOCH));
        let aac = Format::aac(&[0x11, 0x90]).unwrap();
        // Silent from the third second on, and AAC in the fifth. Each arrives 300 ms before its pictures.
        let mut all = [sounds(&Format::Opus, 400, 2000), sounds(&aac, 4000, 5000)].concat().into_iter().peekable();
        let mut made = Vec::new();
        for unit in units(64, &steady(127, 40, 25)) {
            while let Some(sound) = all.next_if(|sound| sound.at().0 <= unit.at.0 + 300_000_000) {
                segmenter.push_sound(sound);
            }
            made.extend(segmenter.push(unit).unwrap());
        }
        let of = |segment: &Segment| {
            let mut demuxer = Fmp4SegmentDemuxer::new();
            demuxer.handle_init_segment(&segment.init.data).unwrap();
            let samples = demuxer.handle_media_segment(&segment.data).unwrap();
            let is_sound = |sample: &&shiguredo_mp4::demux::Sample<'_>| sample.track.kind == TrackKind::Audio;
            let heard: Vec<_> = samples.iter().filter(is_sound).collect();
            let first = heard.first().map(|first| {
                let at = first.data_offset as usize;
                (first.timestamp, String::from_utf8_lossy(&segment.data[at..at + first.data_size]).into_owned())
            });
            (segment.init.number, segment.discontinuity, heard.len(), first)
        };
        let first = |ticks: u64, name: &str| Some((ticks, name.to_owned()));
        assert_eq!(
            made.iter().map(of).collect::<Vec<_>>(),
            [
                (0, false, 30, first(19_200, "00400")),
                (0, false, 50, first(48_000, "01000")),
                (2, true, 0, None),
                (2, false, 0, None),
                (4, true, 50, first(192_000, "04000")),
            ]
        );
    }

    #[test]
    fn ffmpeg_hears_the_sound_with_its_pictures() {
        for encoder in ["libopus", "aac"] {
            // The tone arrives in the second second, and is heard 400 ms later.
            let Some(packets) = tone(encoder, 4, 1, Timestamp(0)) else { return };
            let mut segmenter = Segmenter::new(0, (Timestamp(0), SystemTime::UNIX_EPOCH));
            placed(packets, Duration::from_millis(400)).into_iter().for_each(|sound| segmenter.push_sound(sound));
            let mut whole = Vec::new();
            for unit in units(64, &steady(100, 40, 25)) {
                let Some(segment) = segmenter.push(unit).unwrap() else { continue };
                if whole.is_empty() {
                    whole.extend_from_slice(&segment.init.data);
                }
                assert_eq!(segment.init.number, 0);
                whole.extend_from_slice(&segment.data);
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("whole.mp4");
            std::fs::write(&path, whole).unwrap();
            let Some(said) = ffprobe(&path, "stream=start_time,nb_read_frames") else { return };
            assert_eq!(said, "0.000000,75");
            let (first, last) = heard(&path).unwrap();
            assert!((first - 1.4).abs() < 0.04 && (last - 2.4).abs() < 0.05, "{encoder}: from {first} to {last}");
        }
    }

    #[test]
    fn ffprobe_reads_the_segments() {
        let segments = segments(units(96, &steady(91, 33, 30)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.mp4");
        let mut whole = segments[0].init.data.to_vec();
        segments.iter().for_each(|segment| whole.extend_from_slice(&segment.data));
        std::fs::write(&path, whole).unwrap();
        if let Some(said) = ffprobe(&path, "stream=codec_name,profile,width,height,nb_read_frames") {
            assert_eq!(said, "h264,Constrained Baseline,96,96,90");
        }
    }
}

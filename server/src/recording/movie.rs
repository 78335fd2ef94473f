//! Writes an MP4 file of encoded pictures and their sound, with the index in front.

use std::num::NonZeroU32;
use std::time::Duration;

use dreamframe::transport::AccessUnit;
use dreamframe::{Error, ErrorKind, Result};
use shiguredo_mp4::TrackKind;
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, MuxError, Sample, estimate_maximum_moov_box_size};

use crate::media::coded::{CodedPicture, TIMESCALE, ticks};
use crate::sound::{self, Format, Sound};

/// The duration of a picture that is the only one.
const ALONE: Duration = Duration::from_millis(100);

/// The time after which sound and pictures alternate in the file. The space for the index is estimated for few changes.
const INTERLEAVE: Duration = Duration::from_millis(500);

/// A picture or a packet of sound of the file.
#[derive(Debug)]
struct Part {
    entry: Option<SampleEntry>,
    data: Vec<u8>,
    key: bool,
    /// In the units of its track.
    duration: u32,
}

/// A track, each part with its time in nanoseconds.
#[derive(Debug)]
struct Track {
    kind: TrackKind,
    timescale: NonZeroU32,
    parts: std::vec::IntoIter<(u64, Part)>,
}

/// Creates a file of pictures of which the first is a key frame, with the sound that begins before the last ends.
///
/// # Errors
///
/// `NotFound` without pictures.
pub(super) fn movie(units: &[AccessUnit], sounds: &[Sound]) -> Result<Vec<u8>> {
    let Some(first) = units.first() else {
        return Err(Error::new(ErrorKind::NotFound, "no pictures to record"));
    };
    let (pictures, end) = pictures(first.at.0, units)?;
    let mut tracks = vec![pictures];
    tracks.extend(sound(first.at.0, end, sounds)?);
    let counts: Vec<usize> = tracks.iter().map(|track| track.parts.len()).collect();
    let options = Mp4FileMuxerOptions {
        reserved_moov_box_size: estimate_maximum_moov_box_size(&counts),
        ..Mp4FileMuxerOptions::default()
    };
    let mut muxer = Mp4FileMuxer::with_options(options).map_err(failed)?;
    let mut file = muxer.initial_boxes_bytes().to_vec();
    let step = INTERLEAVE.as_nanos() as u64;
    let mut until = step;
    while tracks.iter().any(|track| track.parts.len() > 0) {
        for track in &mut tracks {
            while track.parts.as_slice().first().is_some_and(|(at, _)| *at < until)
                && let Some((_, part)) = track.parts.next()
            {
                let sample = Sample {
                    track_kind: track.kind,
                    sample_entry: part.entry,
                    keyframe: part.key,
                    timescale: track.timescale,
                    duration: part.duration,
                    composition_time_offset: None,
                    data_offset: file.len() as u64,
                    data_size: part.data.len(),
                };
                file.extend_from_slice(&part.data);
                muxer.append_sample(&sample).map_err(failed)?;
            }
        }
        until = until.saturating_add(step);
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

/// Makes the track of pictures from `origin` on; returns when the last ends, in nanoseconds after that.
fn pictures(origin: u64, units: &[AccessUnit]) -> Result<(Track, u64)> {
    let since = |unit: &AccessUnit| unit.at.0.saturating_sub(origin);
    let (mut time, mut duration) = (ALONE.as_nanos() as u64, ticks(ALONE.as_nanos() as u64));
    let mut known = None;
    let mut parts = Vec::with_capacity(units.len());
    for (at, unit) in units.iter().enumerate() {
        let picture = CodedPicture::new(&unit.data)?;
        // The last picture has the duration of the one before it.
        if let Some(next) = units.get(at + 1) {
            duration = ticks(since(next)).saturating_sub(ticks(since(unit))).max(1);
            time = since(next).saturating_sub(since(unit));
        }
        // Repeated only if it changes.
        let new = picture.sets.filter(|sets| known.as_ref() != Some(sets));
        let entry = new.as_ref().map(|sets| sets.sample_entry()).transpose()?;
        known = new.or(known);
        let duration = u32::try_from(duration).unwrap_or(u32::MAX);
        parts.push((since(unit), Part { entry, data: picture.units, key: unit.key, duration }));
    }
    let end = units.last().map_or(0, since) + time;
    let timescale = NonZeroU32::new(TIMESCALE).unwrap_or(NonZeroU32::MIN);
    Ok((Track { kind: TrackKind::Video, timescale, parts: parts.into_iter() }, end))
}

/// Makes the track of the sound that is heard within `end` nanoseconds from `origin` on; `None` without any. It has one
/// format: that of the last packet.
fn sound(origin: u64, end: u64, sounds: &[Sound]) -> Result<Option<Track>> {
    let is_heard = |sound: &&Sound| sound.end().0 > origin && sound.at().0 < origin.saturating_add(end);
    let Some(format) = sounds.iter().rfind(is_heard).map(|last| &last.format) else { return Ok(None) };
    let sounds: Vec<&Sound> = sounds.iter().filter(is_heard).filter(|sound| sound.format == *format).collect();
    let zero = sound::ticks(origin, format.rate());
    let since = |sound: &Sound| sound.start.saturating_sub(zero);
    let mut parts = Vec::with_capacity(sounds.len() + 1);
    let mut entry = Some(format.sample_entry()?);
    // A track begins with the file: what is missing before the first packet is one long packet of silence.
    if let Some(first) = sounds.first()
        && since(first) > 0
    {
        let data = format.silence().unwrap_or(&first.data).to_vec();
        parts.push((0, Part { entry: entry.take(), data, key: true, duration: duration(since(first)) }));
    }
    for (at, sound) in sounds.iter().enumerate() {
        // A gap makes the packet before it longer, and one that began before the file is shorter.
        let ends = sounds.get(at + 1).map_or(sound.start + u64::from(sound.samples), |next| next.start);
        let duration = duration(ends.saturating_sub(zero).saturating_sub(since(sound)));
        let part = Part { entry: entry.take(), data: sound.data.to_vec(), key: true, duration };
        parts.push((sound.at().0.saturating_sub(origin), part));
    }
    Ok(Some(Track { kind: TrackKind::Audio, timescale: Format::timescale(format), parts: parts.into_iter() }))
}

fn duration(ticks: u64) -> u32 {
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

fn failed(error: MuxError) -> Error {
    Error::new(ErrorKind::Internal, "failed to write the index of a recording").with_source(error)
}

#[cfg(test)]
mod tests {
    use dreamframe::frame::Timestamp;

    use super::*;
    use crate::media::coded::testing::{ffprobe, steady, units};
    use crate::sound::testing::{heard, placed, run, tone};

    #[test]
    fn a_recording_has_all_pictures_and_its_index_in_front() {
        let file = movie(&units(96, &steady(45, 40, 20)), &[]).unwrap();
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
    fn sound_is_heard_with_its_pictures() {
        const SECOND: u64 = 1_000_000_000;
        // The tone is heard in the third second, 250 ms after it arrives; the first picture is shown at 1 s, or where no
        // sound was heard yet, at 0 s.
        for (encoder, codec) in [("libopus", "opus"), ("aac", "aac")] {
            let Some(packets) = tone(encoder, 4, 2, Timestamp(0)) else { return };
            for (from, begins) in [(SECOND, 1.25), (0, 2.25)] {
                let sounds = placed(packets.clone(), Duration::from_millis(250));
                let mut units = units(64, &steady(75, 40, 25));
                units.iter_mut().for_each(|unit| unit.at.0 += from);
                let file = movie(&units, &sounds).unwrap();
                let at = |name: &[u8]| file.windows(4).position(|four| four == name).unwrap();
                assert!(at(b"moov") < at(b"mdat"), "browsers play it while it loads");
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("last.mp4");
                std::fs::write(&path, &file).unwrap();
                let Some(said) = ffprobe(&path, "stream=codec_name,start_time,nb_read_frames") else { return };
                assert_eq!(said, "h264,0.000000,75");
                let wanted = ["-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0"];
                let said = run("ffprobe", &[&wanted[..], &[path.to_str().unwrap()]].concat()).unwrap();
                assert_eq!(String::from_utf8_lossy(&said).trim(), codec);
                let (first, last) = heard(&path).unwrap();
                // AAC is 1024 samples late in itself.
                assert!((first - begins).abs() < 0.04, "{encoder} from {from}: {first} instead of {begins}");
                let ends = f64::min(begins + 1.0, 3.0);
                assert!((last - ends).abs() < 0.05, "{encoder} from {from}: {last} instead of {ends}");
            }
        }
    }

    #[test]
    fn one_picture_is_a_film_and_none_is_not() {
        assert!(movie(&units(64, &steady(1, 40, 1)), &[]).is_ok());
        assert_eq!(movie(&[], &[]).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

//! Fuzzing entry points: pictures and sound at any times, and requests for files.

use std::time::{Duration, SystemTime};

use dreamframe::frame::Timestamp;
use dreamframe::transport::AccessUnit;

use super::playlist::Window;
use super::segmenter::{MAX_BYTES, Segmenter};
use crate::sound::{Format, Sound};

/// Passes pictures to the segments of a stream, each after a packet of sound that begins `sound` samples after its
/// place, and requests the file `name` and those of the playlist.
///
/// # Panics
///
/// If segments are not numbered one after another, a file of the playlist is missing, or a segment is longer than
/// announced.
pub fn hls(units: Vec<(AccessUnit, Option<u32>)>, name: &str) {
    let mut segmenter = Segmenter::new(5, (Timestamp(0), SystemTime::UNIX_EPOCH));
    let mut window = Window::default();
    for (unit, sound) in units {
        if let Some(later) = sound {
            let start = unit.at.0 / 20_833 + u64::from(later);
            segmenter.push_sound(Sound { format: Format::Opus, data: vec![later as u8].into(), start, samples: 960 });
        }
        let (number, largest) = (segmenter.next_number(), MAX_BYTES + unit.data.len());
        // Pictures that cannot be read end the segments of a stream.
        let Ok(segment) = segmenter.push(unit) else { break };
        let Some(segment) = segment else { continue };
        assert_eq!((segment.number, segmenter.next_number()), (number, number + 1));
        assert!(segment.duration > Duration::ZERO && segment.data.len() < 2 * largest);
        window.push(segment);
        check(&window, name);
    }
}

fn check(window: &Window, name: &str) {
    let playlist = window.playlist().expect("there is a segment");
    let value = |name: &str| playlist.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let target: f64 = value("#EXT-X-TARGETDURATION").and_then(|text| text.parse().ok()).expect("a target duration");
    for line in playlist.lines() {
        if let Some(seconds) = line.strip_prefix("#EXTINF:") {
            let seconds: f64 = seconds.trim_end_matches(',').parse().expect("a duration");
            assert!(seconds.round() <= target, "{seconds} of at most {target}");
        }
        let init = line.strip_prefix("#EXT-X-MAP:URI=\"").and_then(|rest| rest.strip_suffix('"'));
        let file = init.unwrap_or(line);
        if !file.starts_with('#') {
            assert!(window.file(file).is_some_and(|(data, _)| !data.is_empty()), "{file}");
        }
    }
    assert!(window.file(name).is_none() || name.starts_with("seg_") || name.starts_with("init_"));
}

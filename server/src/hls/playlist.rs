//! The available segments, and the playlist that lists them.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::segmenter::Segment;
use crate::ids::iso;

/// Segments that are listed.
const LISTED: usize = 6;

/// Segments that stay available after that for slow readers.
const KEPT: usize = LISTED + 3;

/// The newest segments of a stream.
#[derive(Debug, Default)]
pub(super) struct Window {
    segments: VecDeque<Segment>,
    // The number of discontinuities that are no longer listed.
    discontinuities: u64,
    // Of the longest segment so far, since it may not become less.
    target: Duration,
}

impl Window {
    /// Adds a segment, and removes the oldest.
    pub(super) fn push(&mut self, segment: Segment) {
        self.target = self.target.max(segment.duration);
        self.segments.push_back(segment);
        if let Some(unlisted) = self.segments.len().checked_sub(LISTED + 1) {
            self.discontinuities += u64::from(self.segments[unlisted].discontinuity);
        }
        while self.segments.len() > KEPT {
            self.segments.pop_front();
        }
    }

    /// Returns the file of a name that the playlist has or had a moment ago, and its type.
    pub(super) fn file(&self, name: &str) -> Option<(Bytes, &'static str)> {
        let number = |name: &str| name.parse::<u64>().ok().filter(|number| number.to_string() == name);
        if let Some(name) = name.strip_prefix("seg_").and_then(|name| name.strip_suffix(".m4s")) {
            let number = number(name)?;
            let segment = self.segments.iter().find(|segment| segment.number == number)?;
            return Some((segment.data.clone(), "video/iso.segment"));
        }
        let number = number(name.strip_prefix("init_")?.strip_suffix(".mp4")?)?;
        let segment = self.segments.iter().find(|segment| segment.init.number == number)?;
        Some((segment.init.data.clone(), "video/mp4"))
    }

    /// Lists the segments (RFC 8216); `None` before the first.
    pub(super) fn playlist(&self) -> Option<String> {
        let listed = self.segments.range(self.segments.len().saturating_sub(LISTED)..);
        let first = listed.clone().next()?.number;
        // A segment's duration, rounded, may not be more than this.
        let target = (self.target.as_secs_f64().round() as u64).max(1);
        let mut text = String::with_capacity(1024);
        let _ = write!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n#EXT-X-INDEPENDENT-SEGMENTS\n",
            self.discontinuities
        );
        let mut init = None;
        for segment in listed {
            if segment.discontinuity {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if init != Some(segment.init.number) {
                init = Some(segment.init.number);
                let _ = writeln!(text, "#EXT-X-MAP:URI=\"init_{}.mp4\"", segment.init.number);
            }
            let began = segment.began.duration_since(UNIX_EPOCH).unwrap_or_default();
            let date = iso(u64::try_from(began.as_millis()).unwrap_or(u64::MAX));
            let seconds = segment.duration.as_secs_f64();
            let _ =
                writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:{seconds:.5},\nseg_{}.m4s", segment.number);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::segmenter::Init;
    use super::*;

    fn segment(number: u64, init: u64, millis: u64, discontinuity: bool) -> Segment {
        Segment {
            number,
            init: Arc::new(Init { number: init, data: Bytes::from(format!("init {init}")) }),
            data: Bytes::from(format!("segment {number}")),
            duration: Duration::from_millis(millis),
            began: UNIX_EPOCH + Duration::from_millis(1_770_113_472_345),
            discontinuity,
        }
    }

    #[test]
    fn a_playlist_has_what_a_player_needs() {
        let mut window = Window::default();
        assert_eq!(window.playlist(), None);
        window.push(segment(7, 7, 1000, false));
        window.push(segment(8, 8, 1600, true));
        assert_eq!(
            window.playlist().unwrap(),
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"init_7.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-02-03T10:11:12.345Z\n#EXTINF:1.00000,\nseg_7.m4s\n#EXT-X-DISCONTINUITY\n\
             #EXT-X-MAP:URI=\"init_8.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-02-03T10:11:12.345Z\n#EXTINF:1.60000,\nseg_8.m4s\n"
        );
    }

    #[test]
    fn the_window_slides_and_its_last_segments_stay_a_while() {
        let mut window = Window::default();
        for number in 0..20 {
            window.push(segment(number, 0, 1000, number == 9));
        }
        let text = window.playlist().unwrap();
        assert_eq!(text.matches("#EXTINF").count(), 6);
        assert!(text.contains("MEDIA-SEQUENCE:14\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n"), "{text}");
        assert_eq!(window.file("seg_11.m4s"), Some((Bytes::from("segment 11"), "video/iso.segment")));
        assert_eq!(window.file("seg_10.m4s"), None);
        assert_eq!(window.file("init_0.mp4"), Some((Bytes::from("init 0"), "video/mp4")));
        for name in
            ["", "seg_", "seg_+14.m4s", "seg_014.m4s", "../seg_14.m4s", "seg_14.m4s/", "init_1.mp4", "init_0.m4s"]
        {
            assert_eq!(window.file(name), None, "{name}");
        }
    }
}

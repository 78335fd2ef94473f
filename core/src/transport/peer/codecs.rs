//! Codec negotiation: the codecs that are offered, and the one that is used.

use crate::transport::VideoCodec;
use crate::transport::sdp::Codec;

/// Ticks per second of video timestamps.
pub(super) const VIDEO_CLOCK: u32 = 90_000;
/// Ticks per second of audio timestamps.
pub(super) const AUDIO_CLOCK: u32 = 48_000;

/// The built-in video codecs, most preferred first.
const VIDEO: &[VideoCodec] = &[
    VideoCodec::H264,
    #[cfg(feature = "vp8")]
    VideoCodec::Vp8,
];

/// A codec that both sides support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// The video codec; `None` for audio.
    pub(super) video: Option<VideoCodec>,
    /// The peer's entry, whose payload type marks the packets.
    pub(super) entry: Codec,
    /// The peer's entry for retransmissions of it.
    pub(super) repair: Option<Codec>,
}

/// Chooses among a video section's codecs; of two that are equally good, the first.
pub(super) fn choose_video(offered: &[Codec]) -> Option<Choice> {
    let rank = |entry: &Codec| VIDEO.iter().position(|&c| name(c).eq_ignore_ascii_case(&entry.name));
    let (_, video, entry) = offered
        .iter()
        .filter(|c| c.clock == VIDEO_CLOCK)
        .filter_map(|entry| {
            let place = rank(entry)?;
            let video = *VIDEO.get(place)?;
            let fit = if video == VideoCodec::H264 { h264_fit(entry)? } else { 0 };
            Some(((place, fit), video, entry))
        })
        .min_by_key(|(rank, ..)| *rank)?;
    let repair = offered.iter().find(|c| repairs(c, entry.payload_type)).cloned();
    Some(Choice { video: Some(video), entry: entry.clone(), repair })
}

/// Chooses Opus among an audio section's codecs.
pub(super) fn choose_audio(offered: &[Codec]) -> Option<Choice> {
    let entry = offered.iter().find(|c| c.name.eq_ignore_ascii_case("opus") && c.clock == AUDIO_CLOCK)?;
    Some(Choice { video: None, entry: entry.clone(), repair: None })
}

/// Returns the rank of an H.264 entry, 0 best; `None` if its pictures cannot be decoded.
///
/// Non-interleaved packets (mode 1) are preferred to single ones, then baseline to main to high, since the encoder's
/// output is valid in each of them.
fn h264_fit(entry: &Codec) -> Option<usize> {
    let mode = match entry.parameter("packetization-mode").unwrap_or("0") {
        "1" => 0,
        "0" => 1,
        _ => return None,
    };
    let profile = entry.parameter("profile-level-id").unwrap_or("42000a").get(..2)?;
    let profile = [0x42, 0x4d, 0x64].iter().position(|&p| u8::from_str_radix(profile, 16) == Ok(p))?;
    Some(3 * mode + profile)
}

fn repairs(codec: &Codec, payload_type: u8) -> bool {
    codec.name.eq_ignore_ascii_case("rtx")
        && codec.clock == VIDEO_CLOCK
        && codec.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(payload_type)
}

/// The codec's name in descriptions.
pub(super) fn name(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "H264",
        VideoCodec::Vp8 => "VP8",
    }
}

/// The entries of a video offer, each followed by that of its retransmissions.
pub(super) fn video_offer() -> Vec<Codec> {
    let h264 = |profile: &str| format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}");
    let mut entries = Vec::new();
    let mut payload_type = 102;
    for &codec in VIDEO {
        let parameters = match codec {
            VideoCodec::H264 => vec![h264("42e01f"), h264("42001f")],
            VideoCodec::Vp8 => vec![String::new()],
        };
        for parameters in parameters {
            let feedback = ["nack", "nack pli", "ccm fir"].map(str::to_owned).to_vec();
            let entry = Codec {
                payload_type,
                name: name(codec).to_owned(),
                clock: VIDEO_CLOCK,
                parameters,
                feedback,
                ..Codec::default()
            };
            let repair = Codec {
                payload_type: payload_type + 1,
                name: "rtx".to_owned(),
                clock: VIDEO_CLOCK,
                parameters: format!("apt={payload_type}"),
                ..Codec::default()
            };
            entries.extend([entry, repair]);
            payload_type += 2;
        }
    }
    entries
}

/// The entry of an audio offer.
pub(super) fn audio_offer() -> Codec {
    Codec {
        payload_type: 111,
        name: "opus".to_owned(),
        clock: AUDIO_CLOCK,
        channels: 2,
        parameters: "minptime=10;useinbandfec=1".to_owned(),
        ..Codec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(payload_type: u8, parameters: &str) -> Codec {
        let (name, parameters) = ("H264".to_owned(), parameters.to_owned());
        Codec { payload_type, name, clock: VIDEO_CLOCK, parameters, ..Codec::default() }
    }

    fn chosen(offered: &[Codec]) -> Option<u8> {
        choose_video(offered).map(|c| c.entry.payload_type)
    }

    #[test]
    fn whole_packets_come_after_fragments_and_high_after_baseline() {
        let all = [
            h264(1, "packetization-mode=0;profile-level-id=42e01f"),
            h264(2, "packetization-mode=1;profile-level-id=640032"),
            h264(3, "packetization-mode=1;profile-level-id=42001f"),
            h264(4, "packetization-mode=1;profile-level-id=42e01f"),
        ];
        assert_eq!(chosen(&all), Some(3), "of two as good, the first");
        assert_eq!(chosen(&all[..2]), Some(2));
        assert_eq!(chosen(&all[..1]), Some(1));
    }

    #[test]
    fn undecodable_codecs_are_not_chosen() {
        let all = [
            h264(1, "packetization-mode=1;profile-level-id=f4001f"),
            h264(2, "packetization-mode=2;profile-level-id=42e01f"),
            h264(3, "packetization-mode=1;profile-level-id=é"),
            Codec { name: "AV1".to_owned(), ..h264(4, "") },
        ];
        assert_eq!(chosen(&all), None);
    }

    #[test]
    fn retransmissions_belong_to_the_chosen_entry() {
        let rtx = |payload_type, apt: &str| Codec { name: "rtx".to_owned(), ..h264(payload_type, apt) };
        let all = [h264(96, "packetization-mode=1"), rtx(97, "apt=98"), rtx(99, "apt=96;rtx-time=3000")];
        assert_eq!(choose_video(&all).and_then(|c| c.repair).map(|r| r.payload_type), Some(99));
    }

    #[test]
    fn everything_offered_would_be_chosen() {
        let entries = video_offer();
        for pair in entries.chunks(2) {
            let choice = choose_video(pair).expect("both of them");
            assert!(choice.repair.is_some());
        }
    }
}

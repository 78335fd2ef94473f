//! Formats of sound that outputs pass on: Opus and AAC-LC.

use std::num::NonZeroU32;

use dreamframe::{Error, ErrorKind, Result};
use shiguredo_mp4::bitstream::aac::{
    AudioSpecificConfig, ChannelConfiguration, Mp4aSampleEntryConfig, build_mp4a_box, encode_audio_specific_config,
    parse_audio_specific_config,
};
use shiguredo_mp4::bitstream::opus::{ChannelCount, OpusSampleEntryConfig, build_opus_box};
use shiguredo_mp4::boxes::SampleEntry;

/// Samples of a second of Opus, whatever rate it was made of.
pub(crate) const OPUS_RATE: u32 = 48_000;

/// The most bytes of a packet: the longest frame of AAC, and more than three of the longest frames of Opus.
pub(crate) const MAX_PACKET: usize = 8191;

/// Samples of a frame of AAC.
const AAC_FRAME: u32 = 1024;

/// The longest packet of Opus, in samples: 120 ms (RFC 6716, section 3.1).
const LONGEST_OPUS: u32 = 5760;

/// How sound is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// Opus of one or two channels, which each packet states.
    Opus,
    /// AAC-LC.
    Aac(AudioSpecificConfig),
}

impl Format {
    /// Reads the description of AAC (`AudioSpecificConfig`, ISO 14496-3, 1.6.2.1). Extensions after the description of
    /// the core are left out: decoders detect them in the frames.
    ///
    /// # Errors
    ///
    /// `Unsupported` for anything but AAC-LC with frames of 1024 samples.
    pub(crate) fn aac(config: &[u8]) -> Result<Self> {
        // Four bits from the sixth on are the number of the rate; 15 stands for one of 24 bits that follow.
        let explicit = config.first_chunk::<2>().is_some_and(|two| u16::from_be_bytes(*two) >> 7 & 15 == 15);
        let core = config.get(..if explicit { 5 } else { 2 }).unwrap_or_default();
        let config = parse_audio_specific_config(core).map_err(|error| {
            Error::new(ErrorKind::Unsupported, "audio codec: got another one, expected AAC-LC").with_source(error)
        })?;
        Ok(Self::Aac(config))
    }

    /// Returns the samples of a second.
    pub(crate) fn rate(&self) -> u32 {
        match self {
            Self::Opus => OPUS_RATE,
            Self::Aac(config) => config.sampling_frequency.hz(),
        }
    }

    /// Returns the same for a track.
    pub(crate) fn timescale(&self) -> NonZeroU32 {
        NonZeroU32::new(self.rate()).unwrap_or(NonZeroU32::MIN)
    }

    /// Returns the number of samples of a packet; `None` for an invalid one.
    pub(super) fn samples(&self, data: &[u8]) -> Option<u32> {
        match self {
            Self::Opus => opus_samples(data),
            Self::Aac(_) => (!data.is_empty()).then_some(AAC_FRAME),
        }
    }

    /// Describes the sound for a track.
    ///
    /// # Errors
    ///
    /// None of a format that [`aac`](Self::aac) accepted.
    pub(crate) fn sample_entry(&self) -> Result<SampleEntry> {
        Ok(match self {
            // Decoders make two channels of packets that have one. Nothing is left out at the start, since a stream is
            // joined anywhere.
            Self::Opus => SampleEntry::Opus(build_opus_box(&OpusSampleEntryConfig {
                channel_count: ChannelCount::Stereo,
                pre_skip: 0,
                input_sample_rate: OPUS_RATE,
                output_gain: 0,
            })),
            Self::Aac(config) => {
                let entry = Mp4aSampleEntryConfig { es_id: 1, buffer_size_db: 0, max_bitrate: 0, avg_bitrate: 0 };
                SampleEntry::Mp4a(build_mp4a_box(config, &entry).map_err(|error| {
                    Error::new(ErrorKind::Internal, "failed to describe the sound of a file").with_source(error)
                })?)
            }
        })
    }

    /// Returns the description of AAC.
    pub(crate) fn config(&self) -> Option<Vec<u8>> {
        match self {
            Self::Opus => None,
            Self::Aac(config) => Some(encode_audio_specific_config(config)),
        }
    }

    /// Returns a packet of silence, if one is known.
    pub(crate) fn silence(&self) -> Option<&'static [u8]> {
        match self {
            // 20 ms of CELT without energy.
            Self::Opus => Some(&[0xF8, 0xFF, 0xFE]),
            Self::Aac(config) => match config.channel_configuration {
                ChannelConfiguration::Mono => Some(&AAC_SILENCE_MONO),
                ChannelConfiguration::Stereo => Some(&AAC_SILENCE_STEREO),
                ChannelConfiguration::Channels3
                | ChannelConfiguration::Channels4
                | ChannelConfiguration::Channels5
                | ChannelConfiguration::FivePointOne
                | ChannelConfiguration::SevenPointOne => None,
            },
        }
    }
}

/// A frame of silence of two channels.
///
/// It is a `raw_data_block` (ISO 14496-3, 4.4.2.1) of one pair of channels that share a window without any scale factor
/// band, so that neither has a spectrum: 3 bits of the element (1), 4 of its number, 1 that the window is common, 11 of
/// that window and 2 of no mid/side stereo, twice 8 of a gain and 3 of no tools, 3 of the end (7).
pub(crate) const AAC_SILENCE_STEREO: [u8; 6] = [0x21, 0, 0, 0, 0, 0x1C];

/// The same of one channel: 3 bits of the element (0), 4 of its number, 8 of a gain, 11 of its window, 3 of no tools,
/// 3 of the end (7).
const AAC_SILENCE_MONO: [u8; 4] = [0, 0, 0, 7];

/// Returns the number of samples of a packet of Opus (RFC 6716, section 3.1).
fn opus_samples(data: &[u8]) -> Option<u32> {
    let &head = data.first()?;
    let frame = match head >> 3 {
        mode @ 0..12 => [480, 960, 1920, 2880][usize::from(mode & 3)],
        mode @ 12..16 => [480, 960][usize::from(mode & 1)],
        mode => [120, 240, 480, 960][usize::from(mode & 3)],
    };
    let count = match head & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(data.get(1)? & 63),
    };
    Some(frame * count).filter(|samples| (1..=LONGEST_OPUS).contains(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duration_of_opus_is_that_of_its_frames() {
        // SILK of 60 ms, hybrid of 10 ms, CELT of 2.5 and 20 ms, two frames, and three of 20 ms.
        let packets: [(&[u8], u32); 6] =
            [(&[0x18], 2880), (&[0x60], 480), (&[0x80], 120), (&[0xF8], 960), (&[0xF9], 1920), (&[0xFB, 3], 2880)];
        for (packet, samples) in packets {
            assert_eq!(opus_samples(packet), Some(samples), "{packet:x?}");
        }
        for packet in [&[][..], &[0xFB], &[0xFB, 0], &[0xFB, 7], &[0x1B, 63]] {
            assert_eq!(opus_samples(packet), None, "{packet:x?}");
        }
    }

    #[test]
    fn aac_lc_is_read_with_extensions_and_other_codecs_are_refused() {
        // What FFmpeg writes, with a note that there is no extension.
        let format = Format::aac(&[0x11, 0x90, 0x56, 0xE5, 0]).unwrap();
        assert_eq!((format.rate(), format.config()), (48_000, Some(vec![0x11, 0x90])));
        // A rate that has no number: 16001 Hz, one channel.
        let explicit = [0x17, 0x80, 0x1F, 0x40, 0x88];
        let format = Format::aac(&explicit).unwrap();
        assert_eq!((format.rate(), format.silence()), (16_001, Some(&AAC_SILENCE_MONO[..])));
        // HE-AAC, frames of 960 samples, channels that the frames describe, and parts.
        for refused in [&[0x2B, 0x92][..], &[0x12, 0x14], &[0x12, 0x00], &[0x12], &[], &[0x17, 0x80, 0x1F]] {
            assert_eq!(Format::aac(refused).unwrap_err().kind(), ErrorKind::Unsupported, "{refused:x?}");
        }
    }
}

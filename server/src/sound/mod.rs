//! A publisher's sound for the outputs besides WHEP: as it was encoded, at the times of the pictures.

mod format;
mod timeline;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dreamframe::frame::Timestamp;
use dreamframe::transport::{AudioHub, AudioPacket, AudioSubscription, Egress, now};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

pub(crate) use self::format::{AAC_SILENCE_STEREO, Format, MAX_PACKET, OPUS_RATE};
use self::timeline::Timeline;
pub(crate) use self::timeline::{Sound, ticks};

/// Capacity of a slow listener's queue, in packets: more than half a second.
const ROOM: usize = 32;

/// The time without a packet after which a publisher sends no more sound.
const SILENT: Duration = Duration::from_secs(2);

/// A packet from a publisher.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) format: Format,
    pub(crate) data: Bytes,
    /// When it begins, in units of 1/48000 s of the publisher's clock, which wrap.
    pub(crate) timestamp: u32,
    /// The time of arrival, on the clock of [`now`].
    pub(crate) at: Timestamp,
}

/// The sound of a stream's publisher. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SoundHub {
    /// Opus, which viewers by WHEP get too.
    opus: AudioHub,
    aac: broadcast::Sender<Packet>,
    /// The format of the newest packet of `aac`, and its arrival.
    newest: Arc<Mutex<Option<(Format, Timestamp)>>>,
}

impl SoundHub {
    /// Creates the hub of a stream whose Opus is in `opus`.
    pub(crate) fn new(opus: AudioHub) -> Self {
        Self { opus, aac: broadcast::Sender::new(ROOM), newest: Arc::default() }
    }

    /// Sends a packet to all listeners, without waiting; a slow one loses the oldest.
    pub(crate) fn send(&self, packet: Packet) {
        let Packet { format, data, timestamp, at } = packet;
        if format == Format::Opus {
            self.opus.send(AudioPacket { data, timestamp, at });
            return;
        }
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((format.clone(), at));
        // An error means that there are no listeners.
        let _ = self.aac.send(Packet { format, data, timestamp, at });
    }

    /// The format of AAC that a publisher sends at present.
    pub(crate) fn aac(&self) -> Option<Format> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        newest.filter(|(_, at)| now().since(*at) < SILENT).map(|(format, _)| format)
    }

    /// Listens from the next packet on, as late as the pictures of `egress`.
    pub(crate) fn subscribe(&self, egress: &Egress) -> SoundSubscription {
        SoundSubscription {
            opus: Some(self.opus.subscribe()),
            aac: self.aac.subscribe(),
            egress: egress.clone(),
            timeline: Timeline::default(),
        }
    }
}

/// The sound of one listener.
#[derive(Debug)]
pub(crate) struct SoundSubscription {
    // `None` once it is closed.
    opus: Option<AudioSubscription>,
    aac: broadcast::Receiver<Packet>,
    egress: Egress,
    timeline: Timeline,
}

impl SoundSubscription {
    /// Waits for the next packet, which begins after the one before. Its time may be up to the latency of the pictures
    /// from now. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Sound {
        loop {
            let packet = self.packet().await;
            let latency = Duration::from_secs_f64(self.egress.stats().age_ms.max(0.0) / 1000.0);
            if let Some(sound) = self.timeline.place(packet, latency) {
                return sound;
            }
        }
    }

    async fn packet(&mut self) -> Packet {
        loop {
            let opus = async {
                match &mut self.opus {
                    Some(opus) => opus.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                packet = opus => match packet {
                    Some(AudioPacket { data, timestamp, at }) => {
                        return Packet { format: Format::Opus, data, timestamp, at };
                    }
                    None => self.opus = None,
                },
                packet = self.aac.recv() => match packet {
                    Ok(packet) => return packet,
                    Err(RecvError::Lagged(_)) => {}
                    // The stream ends, and this listener with it.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }
}

/// Sound for tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;
    use std::process::Command;

    use dreamframe_tests::native::REQUIRE_TOOLS;
    use shiguredo_mp4::TrackKind;
    use shiguredo_mp4::boxes::SampleEntry;
    use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};

    use super::*;

    /// Runs a program of FFmpeg, and returns what it prints; `None`, with a note, if it is not installed.
    pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
        let output = match Command::new(program).args(["-v", "error"]).args(arguments).output() {
            Ok(output) => output,
            Err(error) => {
                assert!(std::env::var_os(REQUIRE_TOOLS).is_none(), "{program} cannot be started: {error}");
                eprintln!("skipped: {program} cannot be started: {error}");
                return None;
            }
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && error.is_empty(), "{program} {arguments:?}: {error}");
        Some(output.stdout)
    }

    /// `seconds` of sound that FFmpeg encodes with `encoder`: silent but for a tone in the second number `loud`. The
    /// first packet arrives at `start`. `None`, with a note, without FFmpeg.
    pub(crate) fn tone(encoder: &str, seconds: u32, loud: u32, start: Timestamp) -> Option<Vec<Packet>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.mp4");
        let source = format!("sine=f=600:r=48000:d={seconds},volume='between(t,{loud},{loud}.999)':eval=frame");
        let to = path.to_str().unwrap();
        run("ffmpeg", &["-f", "lavfi", "-i", &source, "-ac", "2", "-c:a", encoder, "-strict", "-2", to])?;
        Some(packets(&path, start))
    }

    /// The packets of an `.mp4` of sound.
    fn packets(path: &Path, start: Timestamp) -> Vec<Packet> {
        let file = std::fs::read(path).unwrap();
        let mut demuxer = Mp4FileDemuxer::new();
        while let Some(wanted) = demuxer.required_input() {
            let from = wanted.position as usize;
            let to = wanted.size.map_or(file.len(), |size| (from + size).min(file.len()));
            demuxer.handle_input(Input { position: wanted.position, data: &file[from..to] });
        }
        let mut format = Format::Opus;
        let mut packets = Vec::new();
        while let Some(sample) = demuxer.next_sample().unwrap() {
            assert_eq!(sample.track.kind, TrackKind::Audio);
            if let Some(SampleEntry::Mp4a(entry)) = sample.sample_entry {
                let config = entry.esds_box.es.dec_config_descr.dec_specific_info.as_ref().unwrap();
                format = Format::aac(&config.payload).unwrap();
            }
            let from = sample.data_offset as usize;
            let nanos = sample.timestamp * 1_000_000_000 / u64::from(sample.track.timescale.get());
            packets.push(Packet {
                format: format.clone(),
                data: file[from..from + sample.data_size].to_vec().into(),
                timestamp: ticks(nanos, OPUS_RATE) as u32,
                at: Timestamp(start.0 + nanos),
            });
        }
        packets
    }

    /// Places packets on the clock of pictures that are `latency` late.
    pub(crate) fn placed(packets: Vec<Packet>, latency: Duration) -> Vec<Sound> {
        let mut timeline = Timeline::default();
        packets.into_iter().filter_map(|packet| timeline.place(packet, latency)).collect()
    }

    /// When the tone of a file begins and ends, in seconds of its time line.
    pub(crate) fn heard(path: &Path) -> Option<(f64, f64)> {
        const RATE: f64 = 8000.0;
        // Gaps become silence.
        let arguments =
            ["-i", path.to_str().unwrap(), "-vn", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", "8000"];
        let pcm = run("ffmpeg", &[&arguments[..], &["-f", "s16le", "-"]].concat())?;
        let samples: Vec<i16> = pcm.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
        let is_loud = |sample: &i16| sample.unsigned_abs() > 500;
        let first = samples.iter().position(is_loud).expect("there is a tone");
        let last = samples.iter().rposition(is_loud).unwrap();
        Some((first as f64 / RATE, last as f64 / RATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(format: Format, timestamp: u32) -> Packet {
        Packet { format, data: Bytes::from_static(&[0xF8, 0xFF, 0xFE]), timestamp, at: now() }
    }

    #[tokio::test]
    async fn listeners_hear_both_formats_and_viewers_opus_alone() {
        let (opus, egress) = (AudioHub::default(), Egress::new(dreamframe::transport::EgressOptions::default()));
        let hub = SoundHub::new(opus.clone());
        let (mut sounds, mut viewer) = (hub.subscribe(&egress), opus.subscribe());
        assert_eq!(hub.aac(), None);
        let aac = Format::aac(&[0x12, 0x10]).unwrap();
        hub.send(packet(aac.clone(), 0));
        hub.send(packet(Format::Opus, 960));
        let heard = [sounds.next().await.format, sounds.next().await.format];
        assert!(heard.contains(&Format::Opus) && heard.contains(&aac), "{heard:?}");
        assert_eq!(hub.aac(), Some(aac));
        assert_eq!(viewer.next().await.map(|packet| packet.timestamp), Some(960));
        drop((hub, opus));
        assert!(tokio::time::timeout(Duration::from_millis(1), sounds.next()).await.is_err(), "it waits");
    }
}

//! Sends encoded pictures and audio to a peer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::rtp;
use rtc::rtp::packetizer::Payloader;
use tokio::time::sleep_until;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};

use super::clock::StreamClock;
use super::codecs::{AUDIO_CLOCK, VIDEO_CLOCK};
use super::counters::Counters;
use super::delayed::Delayed;
use super::key_requests::is_key_request;
use crate::transport::{AudioHub, Egress, VideoCodec, now};

/// The most bytes of a packet's payload: with all headers it fits any path.
const MAX_PAYLOAD: usize = 1180;

/// A track that this side sends on.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) ssrc: u32,
}

/// The playout delay that is asked for, from 0 to 0 ms: a receiver then shows a picture when it is decoded, and does not wait
/// for the time that its timestamp names.
const NO_PLAYOUT_DELAY: [u8; 3] = [0; 3];

/// Numbers the packets of one stream.
pub(super) struct Packets {
    outgoing: Outgoing,
    payload_type: u8,
    sequence: u16,
    counters: Arc<Counters>,
    /// The number of the header extension with the playout delay.
    playout_delay: Option<u8>,
}

impl Packets {
    pub(super) fn new(outgoing: Outgoing, payload_type: u8, counters: Arc<Counters>) -> Self {
        let sequence = getrandom::u32().map_or(0, |r| (r & 0x7fff) as u16);
        Self { outgoing, payload_type, sequence, counters, playout_delay: None }
    }

    /// Asks the receiver to show pictures at once, by the header extension with that number, if there is one.
    pub(super) fn with_playout_delay(self, extension: Option<u8>) -> Self {
        Self { playout_delay: extension, ..self }
    }

    /// Sends a packet; `false` when the connection is closed.
    async fn send(&mut self, clock: &mut StreamClock, timestamp: u32, marker: bool, payload: bytes::Bytes) -> bool {
        let mut header = rtp::Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.outgoing.ssrc,
            ..rtp::Header::default()
        };
        if let Some(number) = self.playout_delay {
            // The number was checked with the offer; without the extension, pictures are only shown later.
            let _ = header.set_extension(number, bytes::Bytes::from_static(&NO_PLAYOUT_DELAY));
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.counters.sent(payload.len());
        clock.sent(payload.len());
        self.outgoing.track.write_rtp(rtp::Packet { header, payload }).await.is_ok()
    }

    /// Sends the report by which the peer sets the stream's clock, when it is due.
    async fn report(&self, clock: &mut StreamClock) {
        if let Some(report) = clock.report(self.outgoing.ssrc) {
            // A lost report is followed by the next.
            let _ = self.outgoing.track.write_rtcp(vec![Box::new(report)]).await;
        }
    }
}

/// Sends an egress's pictures, from the first key frame on, until either is closed.
pub(super) async fn video(mut packets: Packets, codec: VideoCodec, egress: Egress) {
    let mut pictures = match egress.subscribe(codec) {
        Ok(pictures) => pictures,
        Err(error) => {
            tracing::warn!(%error, "a viewer cannot be sent video");
            return;
        }
    };
    drop(egress);
    let mut payloader = payloader(codec);
    let mut clock = StreamClock::new(VIDEO_CLOCK);
    let mut started = false;
    while let Some(unit) = pictures.next().await {
        started |= unit.key;
        if !started {
            continue;
        }
        let timestamp = clock.picture(unit.at);
        let Ok(payloads) = payloader.payload(MAX_PAYLOAD, &unit.data) else { continue };
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.into_iter().enumerate() {
            if !packets.send(&mut clock, timestamp, index == last, payload).await {
                return;
            }
        }
        packets.report(&mut clock).await;
    }
}

fn payloader(codec: VideoCodec) -> Box<dyn Payloader> {
    match codec {
        VideoCodec::H264 => Box::<rtp::codec::h264::H264Payloader>::default(),
        VideoCodec::Vp8 => {
            let mut payloader = rtp::codec::vp8::Vp8Payloader::default();
            payloader.enable_picture_id = true;
            Box::new(payloader)
        }
    }
}

/// Sends a hub's audio unchanged, as late as its pictures, until either is closed. `latency` returns the pictures' latency.
pub(super) async fn audio(mut packets: Packets, hub: AudioHub, latency: impl Fn() -> Duration) {
    let mut sound = hub.subscribe();
    drop(hub);
    let mut clock = StreamClock::new(AUDIO_CLOCK);
    let mut delayed = Delayed::default();
    loop {
        let due = delayed.due().map(|at| Instant::now() + at.since(now()));
        tokio::select! {
            packet = sound.next() => match packet {
                Some(packet) => delayed.put(packet, latency()),
                None => return,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                let Some((packet, at)) = delayed.take() else { continue };
                let timestamp = clock.sound(packet.timestamp, at);
                if !packets.send(&mut clock, timestamp, false, packet.data).await {
                    return;
                }
                packets.report(&mut clock).await;
            }
        }
    }
}

/// Hands a viewer's requests for key frames to the egress, until the track ends.
pub(super) async fn key_requests(outgoing: Outgoing, codec: VideoCodec, egress: Egress, counters: Arc<Counters>) {
    while let Some(event) = outgoing.track.poll().await {
        if let TrackLocalEvent::OnRtcpPacket(packets) = event
            && packets.iter().any(|p| is_key_request(p.as_ref()))
        {
            counters.key_frame_asked();
            egress.request_key_frame(codec);
        }
    }
}

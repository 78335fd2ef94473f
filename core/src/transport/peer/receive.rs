//! Forwards a peer's packets to their sinks. Nothing is decoded here, because the crate drops packets that wait.

use std::sync::Arc;
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use tokio::time::{MissedTickBehavior, interval};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::counters::Counters;
use crate::transport::{AudioHub, AudioPacket, Ingest, RtpPacket, now};

/// The interval at which the ingest checks for lost packets.
const TICK: Duration = Duration::from_millis(15);

/// Receives video until the track ends; requests key frames when the ingest needs one.
pub(super) async fn video(track: Arc<dyn TrackRemote>, payload_type: u8, ingest: Ingest, counters: Arc<Counters>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut source = None;
    loop {
        tokio::select! {
            event = track.poll() => match event {
                Some(TrackRemoteEvent::OnRtpPacket(packet)) => {
                    counters.received(packet.payload.len());
                    if packet.header.payload_type == payload_type && !packet.payload.is_empty() {
                        source = Some(packet.header.ssrc);
                        ingest.packet(RtpPacket {
                            sequence: packet.header.sequence_number,
                            timestamp: packet.header.timestamp,
                            marker: packet.header.marker,
                            payload: packet.payload,
                        });
                    }
                }
                Some(TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError) | None => return,
                Some(_) => {}
            },
            _ = tick.tick() => ingest.tick(),
        }
        if let Some(media_ssrc) = source
            && ingest.wants_key_frame()
        {
            let request = PictureLossIndication { sender_ssrc: 0, media_ssrc };
            if track.write_rtcp(vec![Box::new(request)]).await.is_err() {
                return;
            }
        }
    }
}

/// Receives audio until the track ends, and forwards it unchanged.
pub(super) async fn audio(track: Arc<dyn TrackRemote>, payload_type: u8, hub: AudioHub, counters: Arc<Counters>) {
    while let Some(event) = track.poll().await {
        if let TrackRemoteEvent::OnRtpPacket(packet) = event {
            counters.received(packet.payload.len());
            if packet.header.payload_type == payload_type && !packet.payload.is_empty() {
                let (timestamp, at) = (packet.header.timestamp, now());
                counters.heard(packet.header.sequence_number, timestamp, at);
                hub.send(AudioPacket { data: packet.payload, timestamp, at });
            }
        } else if matches!(event, TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError) {
            return;
        }
    }
}

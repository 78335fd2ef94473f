//! The task of a connection: starts what carries its media, follows its state, and closes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::statistics::StatsSelector;
use rtc::statistics::report::RTCStatsReportEntry;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::transport::DtlsTransport;
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState};

use super::connection::{Event, FAILED};
use super::options::PeerOptions;
use super::pace::Allowance;
use super::send::Packets;
use super::shared::{Shared, Video, lock};
use super::state::{Media, PeerState};
use super::{data, receive, send};
use crate::transport::{CHANNEL_LABEL, Egress, Ingest, IngestOptions};

/// Waits until the connection is to be closed.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that there are no receivers left.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// Finds the DTLS transport, by the transceivers or channels over it.
async fn dtls(connection: &dyn PeerConnection) -> Option<Arc<dyn DtlsTransport>> {
    if let Some(sctp) = connection.sctp().await {
        return Some(sctp.transport());
    }
    for sender in connection.get_senders().await {
        if let Ok(Some(transport)) = sender.transport().await {
            return Some(transport);
        }
    }
    for receiver in connection.get_receivers().await {
        if let Ok(Some(transport)) = receiver.transport().await {
            return Some(transport);
        }
    }
    None
}

/// The interval at which the crate is polled for the round trip time, and for whether the peer has closed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time for closing: it only informs the peer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most data channels that one peer may open.
const MAX_CHANNELS: usize = 16;

/// A connection's task.
pub(super) struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) media: Media,
    pub(super) connect_timeout: Duration,
    ingest: IngestOptions,
    /// The notices for the first data channel that is read.
    notices: Option<broadcast::Receiver<String>>,
    tasks: JoinSet<()>,
    channels: usize,
    allowance: Allowance,
    /// The time at which it has failed unless it is connected before.
    deadline: Option<tokio::time::Instant>,
    sending: bool,
}

impl Supervisor {
    pub(super) fn new(shared: Arc<Shared>, media: Media, options: &PeerOptions) -> Self {
        let notices = media.channel.as_ref().and_then(|c| c.notices());
        let (tasks, &PeerOptions { connect_timeout, ingest, .. }) = (JoinSet::new(), options);
        let allowance = Allowance::default();
        Self {
            shared,
            media,
            connect_timeout,
            ingest,
            notices,
            tasks,
            channels: 0,
            allowance,
            deadline: None,
            sending: false,
        }
    }

    /// Runs until the connection is over, and closes it.
    pub(super) async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut stop = self.shared.stop.subscribe();
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let last = loop {
            let deadline = self.deadline;
            let too_late = async move {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stopped(&mut stop) => break PeerState::Closed,
                () = too_late => break PeerState::Failed,
                event = events.recv() => match event {
                    Some(event) => {
                        if let Some(last) = self.event(event).await {
                            break last;
                        }
                    }
                    None => break PeerState::Closed,
                },
                _ = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                _ = look.tick(), if self.sending => {
                    if self.look().await {
                        break PeerState::Closed;
                    }
                }
            }
        };
        self.end(last).await;
    }

    /// Closes the connection; all its resources are free when the last state is sent.
    async fn end(mut self, last: PeerState) {
        self.tasks.shutdown().await;
        self.shared.end_video();
        match timeout(CLOSE_TIMEOUT, self.shared.connection.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection reported an error while closing"),
            Err(_) => tracing::debug!("closing a connection took too long"),
        }
        self.shared.states.send_replace(last);
    }

    /// Takes an event; returns the connection's last state if it is over.
    async fn event(&mut self, event: Event) -> Option<PeerState> {
        match event {
            Event::Candidate => self.shared.gathering.send_modify(|gathering| gathering.found += 1),
            Event::Gathered => self.shared.gathering.send_modify(|gathering| gathering.completed += 1),
            Event::Negotiated => {
                let deadline = tokio::time::Instant::now().checked_add(self.connect_timeout);
                self.deadline = deadline.filter(|_| !self.sending);
            }
            Event::Track(track) => self.track(track).await,
            Event::Channel(channel) => self.channel(channel).await,
            Event::State(state) => return self.state(state),
        }
        None
    }

    fn state(&mut self, state: RTCPeerConnectionState) -> Option<PeerState> {
        let next = if state == RTCPeerConnectionState::Connected {
            self.deadline = None;
            if !self.sending {
                self.sending = true;
                self.send();
            }
            PeerState::Connected
        } else if state == RTCPeerConnectionState::Disconnected {
            self.deadline = Some(tokio::time::Instant::now() + FAILED);
            PeerState::Disconnected
        } else if state == RTCPeerConnectionState::Failed {
            return Some(PeerState::Failed);
        } else if state == RTCPeerConnectionState::Closed {
            return Some(PeerState::Closed);
        } else {
            // Transitional states, at the start or in an ICE restart, which may take as long as the start.
            if self.sending && self.deadline.is_some() {
                self.deadline = tokio::time::Instant::now().checked_add(self.connect_timeout);
            }
            return None;
        };
        self.shared.states.send_if_modified(|state| std::mem::replace(state, next) != next);
        None
    }

    /// Starts the tasks that send.
    fn send(&mut self) {
        let flows = lock(&self.shared.descriptions).flows.clone();
        let outgoing = std::mem::take(&mut *lock(&self.shared.outgoing));
        let counters = &self.shared.counters;
        if let (Some(track), Some(egress), Some(choice)) = (outgoing.video, &self.media.video_out, flows.video_out)
            && let Some(codec) = choice.video
        {
            let payload_type = choice.entry.payload_type;
            self.tasks.spawn(send::key_requests(track.clone(), codec, egress.clone(), counters.clone()));
            let packets = Packets::new(track, payload_type, counters.clone()).with_playout_delay(flows.playout_delay);
            self.tasks.spawn(send::video(packets, codec, egress.clone()));
        }
        if let (Some(track), Some(hub), Some(choice)) = (outgoing.audio, &self.media.audio_out, flows.audio_out) {
            let packets = Packets::new(track, choice.entry.payload_type, counters.clone());
            let age = self.media.video_out.as_ref().map(Egress::age);
            let delay = move || age.as_ref().map_or(Duration::ZERO, |age| age());
            self.tasks.spawn(send::audio(packets, hub.clone(), delay));
        }
    }

    /// Starts to receive a track.
    async fn track(&mut self, track: Arc<dyn TrackRemote>) {
        let flows = lock(&self.shared.descriptions).flows.clone();
        let counters = self.shared.counters.clone();
        let kind = track.kind().await;
        if kind == RtpCodecKind::Video {
            if let Some(choice) = flows.video_in
                && let Some(ingest) = self.ingest(&choice)
            {
                self.tasks.spawn(receive::video(track, choice.entry.payload_type, ingest, counters));
            }
        } else if let (RtpCodecKind::Audio, Some(choice), Some(hub)) = (kind, flows.audio_in, &self.media.audio_in) {
            self.tasks.spawn(receive::audio(track, choice.entry.payload_type, hub.clone(), counters));
        }
    }

    fn ingest(&self, choice: &super::codecs::Choice) -> Option<Ingest> {
        let mut video = lock(&self.shared.video);
        if let Video::Running(ingest) = &*video {
            return Some(ingest.clone());
        }
        match Ingest::start_with(choice.video?, self.media.video_in.clone()?, self.ingest) {
            Ok(ingest) => {
                *video = Video::Running(ingest.clone());
                Some(ingest)
            }
            Err(error) => {
                tracing::warn!(%error, "a publisher's video is not decoded");
                None
            }
        }
    }

    /// Serves a data channel, or drains it if there is no handler for it.
    async fn channel(&mut self, channel: Arc<dyn DataChannel>) {
        self.channels += 1;
        if self.channels > MAX_CHANNELS {
            let _ = channel.close().await;
            return;
        }
        let read = channel.label().await.is_ok_and(|label| label == CHANNEL_LABEL);
        match &self.media.channel {
            Some(handler) if read => {
                self.tasks.spawn(data::serve(channel, handler.clone(), self.notices.take(), self.allowance.clone()));
            }
            _ => {
                self.tasks.spawn(data::ignore(channel));
            }
        }
    }

    /// Reads the round trip time; returns whether the peer has closed the connection.
    async fn look(&self) -> bool {
        let report = self.shared.connection.get_stats(Instant::now(), StatsSelector::None).await;
        let seconds = report.iter().filter_map(|entry| {
            let RTCStatsReportEntry::IceCandidatePair(pair) = entry else { return None };
            pair.nominated.then_some(pair.current_round_trip_time)
        });
        if let Some(round_trip) = seconds.filter_map(|s| Duration::try_from_secs_f64(s).ok()).find(|d| !d.is_zero()) {
            self.shared.counters.measured(round_trip);
        }
        let transport = dtls(self.shared.connection.as_ref()).await;
        match transport {
            Some(transport) => matches!(transport.state().await, Ok(RTCDtlsTransportState::Closed)),
            None => false,
        }
    }
}

//! Builds the WebRTC crate's peer connection: codecs, interceptors, addresses, timeouts.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{
    NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry, Slot, TwccReceiverBuilder,
};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::configuration::{RTCConfigurationBuilder, RTCIceServer, RTCIceTransportPolicy};
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use tokio::sync::{Mutex, mpsc};
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState,
};

use super::key_requests::KeyRequests;
use super::options::{IceServer, IceTransportPolicy, PeerOptions};
use super::sdp_normalize::{PLAYOUT_DELAY, TRANSPORT_CC};
use super::sockets::FollowingRuntime;
use super::{bind, failed};
use crate::Result;
use crate::transport::sdp::{Codec, Setup};

/// The time without packets after which the peer counts as disconnected.
const DISCONNECTED: Duration = Duration::from_secs(4);
/// The further time after which the connection has failed.
pub(super) const FAILED: Duration = Duration::from_secs(6);
/// A limit of [`failed_timeout`], since the crate adds to it.
const LONGEST_FAILED: Duration = Duration::from_secs(24 * 3600);
/// The interval of keep-alive checks.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// The interval of requests for missing packets: short enough for a picture that is waiting for them.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// How often one packet is requested.
const NACKS_PER_PACKET: u16 = 10;
/// The position of our interceptor: after all others, so that they have seen the packets that it drops.
const LAST_SLOT: usize = 14_000;

/// An event of the crate's connection.
pub(super) enum Event {
    /// The state has changed.
    State(RTCPeerConnectionState),
    /// A candidate of this side is found.
    Candidate,
    /// All candidates are gathered.
    Gathered,
    /// The first packet of a track arrived.
    Track(Arc<dyn TrackRemote>),
    /// The peer opened a data channel, or this side did.
    Channel(Arc<dyn DataChannel>),
    /// Both descriptions are set.
    Negotiated,
}

/// The required capabilities of a connection.
#[derive(Debug, Default)]
pub(super) struct Abilities {
    /// Video codecs, with those of retransmissions.
    pub(super) video: Vec<Codec>,
    /// Audio codecs.
    pub(super) audio: Vec<Codec>,
    /// Whether media is received, about which the sender needs reports.
    pub(super) receives: bool,
    /// The DTLS role, if this side answers.
    pub(super) setup: Option<Setup>,
}

/// Forwards events of the crate. Its methods run on the connection's own task and must not wait.
struct EventForwarder(mpsc::UnboundedSender<Event>);

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl EventForwarder {
    fn forward<'a>(&self, event: Event) -> Done<'a> {
        // An error means that the connection is being closed.
        let _ = self.0.send(event);
        Box::pin(std::future::ready(()))
    }
}

impl PeerConnectionEventHandler for EventForwarder {
    fn on_ice_candidate<'s, 'a>(&'s self, _: RTCPeerConnectionIceEvent) -> Done<'a>
    where
        's: 'a,
        Self: 'a,
    {
        // It is in the local description now.
        self.forward(Event::Candidate)
    }

    fn on_ice_gathering_state_change<'s, 'a>(&'s self, state: RTCIceGatheringState) -> Done<'a>
    where
        's: 'a,
        Self: 'a,
    {
        if state == RTCIceGatheringState::Complete {
            self.forward(Event::Gathered)
        } else {
            Box::pin(std::future::ready(()))
        }
    }

    fn on_connection_state_change<'s, 'a>(&'s self, state: RTCPeerConnectionState) -> Done<'a>
    where
        's: 'a,
        Self: 'a,
    {
        self.forward(Event::State(state))
    }

    fn on_data_channel<'s, 'a>(&'s self, channel: Arc<dyn DataChannel>) -> Done<'a>
    where
        's: 'a,
        Self: 'a,
    {
        self.forward(Event::Channel(channel))
    }

    fn on_track<'s, 'a>(&'s self, track: Arc<dyn TrackRemote>) -> Done<'a>
    where
        's: 'a,
        Self: 'a,
    {
        self.forward(Event::Track(track))
    }
}

/// Builds a connection, with its sockets bound. It must be closed: dropping it leaves its task running.
pub(super) async fn build(
    abilities: &Abilities,
    options: &PeerOptions,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Arc<dyn PeerConnection>> {
    static PORTS: Mutex<()> = Mutex::const_new(());
    options.check_relay()?;
    let (engine, registry) = engine(abilities)?;
    let servers = options.ice_servers.iter().map(IceServer::for_publisher).map(|server| RTCIceServer {
        urls: server.urls,
        username: server.username.unwrap_or_default(),
        credential: server.credential.unwrap_or_default(),
    });
    let mut settings = SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_timeouts(Some(DISCONNECTED), Some(failed_timeout(options.connect_timeout)), Some(KEEP_ALIVE));
    settings = match abilities.setup {
        Some(Setup::Active) => settings.with_answering_dtls_role(RTCDtlsRole::Client),
        Some(Setup::Passive | Setup::ActPass) => settings.with_answering_dtls_role(RTCDtlsRole::Server),
        None => settings,
    };
    let policy = match options.ice_transport_policy {
        IceTransportPolicy::All => RTCIceTransportPolicy::All,
        IceTransportPolicy::Relay => RTCIceTransportPolicy::Relay,
    };
    let configuration =
        RTCConfigurationBuilder::new().with_ice_servers(servers.collect()).with_ice_transport_policy(policy);
    let builder = PeerConnectionBuilder::<SocketAddr>::new()
        .with_configuration(configuration.build())
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings.build())
        .with_runtime(Arc::new(FollowingRuntime::new()))
        .with_handler(Arc::new(EventForwarder(events)));
    // A free port must be bound before the next connection looks for one.
    let _one = PORTS.lock().await;
    let connection = builder.with_udp_addrs(bind::addresses(options)?).build().await;
    Ok(Arc::new(connection.map_err(|e| failed("create a connection", e))?))
}

/// The time after which the crate gives up on a connection, in addition to [`DISCONNECTED`]. It applies both while a
/// connection is established, which may take `connect_timeout`, and when it is lost; the supervisor then waits for
/// [`FAILED`] only.
fn failed_timeout(connect_timeout: Duration) -> Duration {
    connect_timeout.saturating_sub(DISCONNECTED).saturating_add(Duration::from_secs(1)).clamp(FAILED, LONGEST_FAILED)
}

fn engine(abilities: &Abilities) -> Result<(MediaEngine, Registry)> {
    let mut engine = MediaEngine::default();
    for (codecs, kind) in [(&abilities.video, RtpCodecKind::Video), (&abilities.audio, RtpCodecKind::Audio)] {
        for codec in codecs {
            let parameters = RTCRtpCodecParameters {
                rtp_codec: rtp_codec(codec, kind, abilities.receives),
                payload_type: codec.payload_type,
            };
            engine.register_codec(parameters, kind).map_err(|e| failed("register a codec", e))?;
        }
    }
    let nacks = NackGeneratorBuilder::new().with_interval(NACK_INTERVAL).with_max_nacks_per_packet(NACKS_PER_PACKET);
    // Sender reports are this library's own: they have the times of frames, not of sending.
    let mut registry = Registry::new()
        .with(Slot::NackResponder, NackResponderBuilder::new().build())
        .with(Slot::NackGenerator, nacks.build())
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
        .with(Slot::from(LAST_SLOT), KeyRequests::default());
    let mut extend = |uri: &str, kind| {
        let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        engine.register_header_extension(extension, kind, None).map_err(|e| failed("register a header extension", e))
    };
    extend(PLAYOUT_DELAY, RtpCodecKind::Video)?;
    if abilities.receives {
        for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
            extend(TRANSPORT_CC, kind)?;
        }
        registry = registry.with(Slot::TwccReceiver, TwccReceiverBuilder::new().build());
    }
    Ok((engine, registry))
}

/// Describes a codec as the crate does.
pub(super) fn rtp_codec(codec: &Codec, kind: RtpCodecKind, receives: bool) -> RTCRtpCodec {
    let primary = !codec.name.eq_ignore_ascii_case("rtx");
    let mut feedback = Vec::new();
    if kind == RtpCodecKind::Video && primary {
        feedback.extend([("nack", ""), ("nack", "pli"), ("ccm", "fir")]);
    }
    if receives && primary {
        feedback.push(("transport-cc", ""));
    }
    let feedback = feedback.into_iter().map(|(typ, p)| RTCPFeedback { typ: typ.to_owned(), parameter: p.to_owned() });
    RTCRtpCodec {
        mime_type: format!("{kind}/{}", codec.name),
        clock_rate: codec.clock,
        channels: codec.channels,
        sdp_fmtp_line: codec.parameters.clone(),
        rtcp_feedback: feedback.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_does_not_give_up_before_the_timeout_of_the_options() {
        for seconds in [0, 1, 10, 15, 45, 3600] {
            let timeout = Duration::from_secs(seconds);
            assert!(DISCONNECTED + failed_timeout(timeout) > timeout, "{timeout:?}");
        }
        assert_eq!(failed_timeout(Duration::ZERO), FAILED);
        assert_eq!(failed_timeout(Duration::MAX), LONGEST_FAILED);
    }
}

//! The exchange of descriptions.

use std::sync::Arc;

use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use super::codecs::{self, Choice};
use super::connection::{Abilities, Event, build, rtp_codec};
use super::counters::Counters;
use super::plan::{Plan, setup};
use super::sdp_answer::CandidateRules;
use super::sdp_normalize::entries;
use super::send::Outgoing;
use super::shared::{Descriptions, Flows, Offered, Shared, lock};
use super::state::Media;
use super::supervisor::Supervisor;
use super::{
    IceTransportPolicy, Link, Peer, PeerOptions, PeerState, Refusal, failed, parse, sdp_answer, sdp_normalize,
};
use crate::transport::CHANNEL_LABEL;
use crate::transport::sdp::{Codec, Description, Direction, Kind};
use crate::{Error, ErrorKind, Result};

/// The name of the stream that all tracks of this side belong to.
const STREAM: &str = "dreamframe";

/// Creates a connection and starts its task, even if the caller is dropped meanwhile.
async fn start(abilities: Abilities, media: Media, options: &PeerOptions) -> Result<Peer> {
    let options = options.clone();
    // In a separate task: a caller that is dropped while the connection is built would leave it open forever.
    let starting = tokio::spawn(async move {
        let (events, receiver) = mpsc::unbounded_channel();
        let connection = build(&abilities, &options, events.clone()).await?;
        let shared = Arc::new(Shared {
            connection,
            events,
            states: watch::Sender::new(PeerState::Connecting),
            stop: watch::Sender::new(false),
            gathering: Default::default(),
            gather_timeout: options.gather_timeout,
            candidate_rules: CandidateRules::of(&options),
            counters: Arc::new(Counters::default()),
            descriptions: Default::default(),
            video: Default::default(),
            outgoing: Default::default(),
            public_only: abilities.setup.is_some() && options.public_ip.is_some(),
            negotiation: Default::default(),
        });
        tokio::spawn(Supervisor::new(shared.clone(), media, &options).run(receiver));
        Ok(Peer { link: Arc::new(Link { shared }) })
    });
    match starting.await {
        Ok(started) => started,
        Err(error) => Err(Error::new(ErrorKind::Internal, "failed to create a connection").with_source(error)),
    }
}

/// Answers an offer.
pub(super) async fn answer(text: &str, media: Media, options: &PeerOptions) -> Result<(Peer, String), Refusal> {
    let offer = parse(text)?;
    let plan = Plan::answering(&offer, &media)?;
    let flows = flows(&offer, &plan);
    let collect = |choice: [&Option<Choice>; 2]| -> Vec<Codec> {
        choice.into_iter().flatten().next().map(|c| entries(c).cloned().collect()).unwrap_or_default()
    };
    let abilities = Abilities {
        video: collect([&flows.video_in, &flows.video_out]),
        audio: collect([&flows.audio_in, &flows.audio_out]),
        receives: flows.video_in.is_some() || flows.audio_in.is_some(),
        setup: Some(setup(&offer)),
    };
    let peer = start(abilities, media, options).await.map_err(Refusal::Failed)?;
    let shared = &peer.link.shared;
    for (choice, kind) in [(&flows.video_out, Kind::Video), (&flows.audio_out, Kind::Audio)] {
        if let (Some(choice), Some((direction, _))) = (choice, plan.flowing(&offer, &kind)) {
            add_outgoing(shared, &kind, &choice.entry, direction).await.map_err(Refusal::Failed)?;
        }
    }
    let written = exchange(shared, &offer, &plan).await.map_err(Refusal::Failed)?;
    let answer = sdp_answer::answer(&offer, &plan, &written, shared.candidate_rules);
    if answer.len() > sdp_answer::MAX_ANSWER {
        let reason =
            format!("length of its answer: got {} bytes, expected at most {}", answer.len(), sdp_answer::MAX_ANSWER);
        return Err(Refusal::BadSdp(reason));
    }
    let local_ufrag = local_ufrag(&answer).map_err(Refusal::Failed)?;
    *lock(&shared.descriptions) =
        Descriptions { local_ufrag, remote: Some(offer.clone()), answered: Some((offer, plan)), offered: None, flows };
    // The supervisor outlives the peer.
    let _ = shared.events.send(Event::Negotiated);
    Ok((peer, answer))
}

/// Passes the peer's offer to the crate and returns its answer, with every candidate.
pub(super) async fn exchange(shared: &Shared, offer: &Description, plan: &Plan) -> Result<String> {
    let mut negotiation = shared.negotiation.lock().await;
    negotiation.taken += 1;
    let mut gathering = shared.gathering.subscribe();
    let before = gathering.borrow_and_update().completed;
    let connection = &shared.connection;
    let offer = RTCSessionDescription::offer(sdp_normalize::write(offer, plan, negotiation.taken, shared.public_only))
        .map_err(|e| failed("read an offer", e))?;
    connection.set_remote_description(offer).await.map_err(|e| failed("apply an offer", e))?;
    let answer = connection.create_answer(None).await.map_err(|e| failed("create an answer", e))?;
    connection.set_local_description(answer).await.map_err(|e| failed("apply an answer", e))?;
    let _ = timeout(shared.gather_timeout, gathering.wait_for(|gathering| gathering.completed > before)).await;
    local_description(shared).await
}

pub(super) async fn local_description(shared: &Shared) -> Result<String> {
    let description = shared.connection.local_description().await;
    description.map(|d| d.sdp).ok_or_else(|| Error::new(ErrorKind::Closed, "the connection is closed"))
}

/// Returns the flows of media for a plan.
fn flows(of: &Description, plan: &Plan) -> Flows {
    let mut flows = Flows::default();
    if let Some((direction, choice)) = plan.flowing(of, &Kind::Video) {
        flows.video_in = direction.receives().then(|| choice.clone());
        flows.video_out = direction.sends().then(|| choice.clone());
        flows.playout_delay = plan.flowing_section(of, &Kind::Video).and_then(sdp_normalize::playout_delay);
    }
    if let Some((direction, choice)) = plan.flowing(of, &Kind::Audio) {
        flows.audio_in = direction.receives().then(|| choice.clone());
        flows.audio_out = direction.sends().then(|| choice.clone());
    }
    flows
}

fn rtp_kind(kind: &Kind) -> RtpCodecKind {
    if *kind == Kind::Video { RtpCodecKind::Video } else { RtpCodecKind::Audio }
}

fn transceiver(direction: Direction) -> RTCRtpTransceiverInit {
    let direction = match direction {
        Direction::SendRecv => RTCRtpTransceiverDirection::Sendrecv,
        Direction::SendOnly => RTCRtpTransceiverDirection::Sendonly,
        Direction::RecvOnly => RTCRtpTransceiverDirection::Recvonly,
        Direction::Inactive => RTCRtpTransceiverDirection::Inactive,
    };
    RTCRtpTransceiverInit { direction, ..RTCRtpTransceiverInit::default() }
}

/// Adds a track that this side sends on.
async fn add_outgoing(shared: &Shared, kind: &Kind, codec: &Codec, direction: Direction) -> Result<()> {
    let random = getrandom::u32();
    let ssrc =
        random.map_err(|e| Error::new(ErrorKind::Io, "the system provides no random numbers").with_source(e))?.max(1);
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..RTCRtpCodingParameters::default() },
        codec: rtp_codec(codec, rtp_kind(kind), false),
        active: true,
        ..RTCRtpEncodingParameters::default()
    };
    let name = kind.to_string();
    let track = MediaStreamTrack::new(STREAM.to_owned(), name.clone(), name, rtp_kind(kind), vec![coding]);
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let added = shared
        .connection
        .add_transceiver_from_track(track.clone() as Arc<dyn TrackLocal>, Some(transceiver(direction)))
        .await;
    added.map_err(|e| failed("add a track", e))?;
    let outgoing = Some(Outgoing { track, ssrc });
    let mut tracks = lock(&shared.outgoing);
    if *kind == Kind::Video {
        tracks.video = outgoing;
    } else {
        tracks.audio = outgoing;
    }
    Ok(())
}

/// Creates an offer.
pub(super) async fn offer(media: Media, options: &PeerOptions) -> Result<(Peer, String)> {
    let video = Direction::of(media.video_out.is_some(), media.video_in.is_some());
    let audio = Direction::of(media.audio_out.is_some(), media.audio_in.is_some());
    let channel = media.channel.is_some();
    if video == Direction::Inactive && audio == Direction::Inactive && !channel {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "media: got none, expected at least one track or a data channel",
        ));
    }
    let codecs = (codecs::video_offer(), codecs::audio_offer());
    let abilities = Abilities {
        video: codecs.0.clone(),
        audio: vec![codecs.1.clone()],
        receives: video.receives() || audio.receives(),
        setup: None,
    };
    let peer = start(abilities, media, options).await?;
    let shared = &peer.link.shared;
    for (kind, direction, codec) in [(Kind::Video, video, codecs.0.first()), (Kind::Audio, audio, Some(&codecs.1))] {
        match codec {
            Some(codec) if direction.sends() => add_outgoing(shared, &kind, codec, direction).await?,
            _ if direction.receives() => {
                let added = shared.connection.add_transceiver_from_kind(rtp_kind(&kind), Some(transceiver(direction)));
                added.await.map_err(|e| failed("receive a track", e))?;
            }
            _ => {}
        }
    }
    if channel {
        let channel = shared.connection.create_data_channel(CHANNEL_LABEL, None).await;
        let channel = channel.map_err(|e| failed("open a data channel", e))?;
        let _ = shared.events.send(Event::Channel(channel));
    }
    let (written, complete) = propose(shared).await?;
    let candidates = shared.candidate_rules.apply(&written);
    if complete && candidates.is_empty() && options.ice_transport_policy == IceTransportPolicy::Relay {
        let what = "failed to allocate an address at a TURN server; check its address, user name and password";
        return Err(Error::new(ErrorKind::Io, what));
    }
    let offer = sdp_answer::offer(&written, &candidates, complete);
    let mut descriptions = lock(&shared.descriptions);
    descriptions.local_ufrag = local_ufrag(&offer)?;
    descriptions.offered = Some(Offered { candidates, complete });
    drop(descriptions);
    Ok((peer, offer))
}

/// Creates the offer with the candidates found in time; returns whether these are all.
async fn propose(shared: &Shared) -> Result<(String, bool)> {
    let mut gathering = shared.gathering.subscribe();
    let connection = &shared.connection;
    let offer = connection.create_offer(None).await.map_err(|e| failed("create an offer", e))?;
    connection.set_local_description(offer).await.map_err(|e| failed("apply an offer", e))?;
    let _ = timeout(shared.gather_timeout, gathering.wait_for(|gathering| gathering.completed > 0)).await;
    // Before the description is read, so that it has all candidates if it claims to.
    let complete = gathering.borrow().completed > 0;
    Ok((local_description(shared).await?, complete))
}

pub(super) fn local_ufrag(text: &str) -> Result<String> {
    let own = Description::parse(text).ok();
    own.and_then(|d| d.live().find_map(|s| s.ufrag.clone()))
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the local description lacks ICE credentials"))
}

/// Takes the answer to an offer.
pub(super) async fn set_answer(shared: &Shared, text: &str) -> Result<()> {
    let mut negotiation = shared.negotiation.lock().await;
    if shared.states.borrow().is_over() {
        return Err(Error::new(ErrorKind::Closed, "the connection is closed"));
    }
    if negotiation.taken > 0 {
        return Err(Error::new(ErrorKind::InvalidArgument, "the description of the peer is already set"));
    }
    let answer = parse(text)?;
    let offer = Description::parse(&local_description(shared).await?)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("the local offer: {e}")))?;
    let plan = Plan::accepting(&answer, &offer)?;
    negotiation.taken += 1;
    let normal = RTCSessionDescription::answer(sdp_normalize::write(&answer, &plan, 1, shared.public_only))
        .map_err(|e| failed("read an answer", e))?;
    {
        // Before the crate has it: the first packets may arrive immediately.
        let mut descriptions = lock(&shared.descriptions);
        descriptions.flows = flows(&answer, &plan);
        descriptions.remote = Some(answer);
    }
    let taken = shared.connection.set_remote_description(normal).await;
    taken.map_err(|e| Error::new(ErrorKind::InvalidArgument, "failed to apply the answer").with_source(e))?;
    let _ = shared.events.send(Event::Negotiated);
    Ok(())
}

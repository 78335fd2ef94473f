//! The state that a connection's handles and its task share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use webrtc::peer_connection::PeerConnection;

use super::codecs::Choice;
use super::connection::Event;
use super::counters::Counters;
use super::plan::Plan;
use super::sdp_answer::CandidateRules;
use super::send::Outgoing;
use super::state::{PeerState, PeerStats};
use crate::transport::sdp::Description;
use crate::transport::{Ingest, IngestStats};

/// The flows of media, once both descriptions are known.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows {
    pub(super) video_in: Option<Choice>,
    pub(super) video_out: Option<Choice>,
    pub(super) audio_in: Option<Choice>,
    pub(super) audio_out: Option<Choice>,
    /// The number of the header extension with the playout delay of outgoing video, if the peer knows it.
    pub(super) playout_delay: Option<u8>,
}

/// The receiver of the peer's video.
#[derive(Debug, Default)]
pub(super) enum Video {
    /// No video arrived yet.
    #[default]
    None,
    /// To be decoded.
    Running(Ingest),
    /// The video ended, with these statistics.
    Ended(IngestStats),
}

/// The descriptions of a connection.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    /// This side's ICE user name fragment.
    pub(super) local_ufrag: String,
    /// The peer's description.
    pub(super) remote: Option<Description>,
    /// The offer that this side answered, and its plan.
    pub(super) answered: Option<(Description, Plan)>,
    /// What was sent of this side's candidates, if it made the offer.
    pub(super) offered: Option<Offered>,
    pub(super) flows: Flows,
}

/// The candidates that the offer had, and those that were sent after it.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) candidates: Vec<String>,
    /// Whether their end was sent.
    pub(super) complete: bool,
}

/// The progress of gathering candidates.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gathering {
    /// The number of candidates found.
    pub(super) found: u64,
    /// How often every candidate was found: once for the start and for each ICE restart.
    pub(super) completed: u64,
}

/// The state that a connection's handles and its task share.
pub(super) struct Shared {
    pub(super) connection: Arc<dyn PeerConnection>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) states: watch::Sender<PeerState>,
    /// Set to have the task close the connection.
    pub(super) stop: watch::Sender<bool>,
    pub(super) gathering: watch::Sender<Gathering>,
    /// The longest time for gathering candidates; those gathered by then are used.
    pub(super) gather_timeout: Duration,
    pub(super) candidate_rules: CandidateRules,
    pub(super) counters: Arc<Counters>,
    pub(super) descriptions: Mutex<Descriptions>,
    pub(super) video: Mutex<Video>,
    /// The tracks that this side sends on.
    pub(super) outgoing: Mutex<OutgoingTracks>,
    /// Whether candidates of the peer that are not public addresses are left out.
    pub(super) public_only: bool,
    /// Held while descriptions are exchanged.
    pub(super) negotiation: tokio::sync::Mutex<Negotiation>,
}

/// The tracks that this side sends on.
#[derive(Default)]
pub(super) struct OutgoingTracks {
    pub(super) video: Option<Outgoing>,
    pub(super) audio: Option<Outgoing>,
}

/// The progress of the exchange of descriptions.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// The number of the peer's descriptions that were accepted.
    pub(super) taken: u64,
    /// The number of candidates that arrived after a description.
    pub(super) trickled: usize,
}

/// Locks, even after a panic: the guarded values are replaced as a whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn stats(&self) -> PeerStats {
        let mut stats = PeerStats::default();
        self.counters.fill(&mut stats);
        stats.video_in = match &*lock(&self.video) {
            Video::None => None,
            Video::Running(ingest) => Some(ingest.stats()),
            Video::Ended(stats) => Some(*stats),
        };
        let descriptions = lock(&self.descriptions);
        stats.codec_in = descriptions.flows.video_in.as_ref().and_then(|c| c.video);
        stats.codec_out = descriptions.flows.video_out.as_ref().and_then(|c| c.video);
        stats
    }

    /// Ends the decoding of the peer's video, and keeps its figures.
    pub(super) fn end_video(&self) {
        let mut video = lock(&self.video);
        if let Video::Running(ingest) = &*video {
            let stats = ingest.stats();
            *video = Video::Ended(stats);
        }
    }
}

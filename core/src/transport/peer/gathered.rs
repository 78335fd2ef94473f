//! Candidates of this side that are found after its offer.

use tokio::sync::watch;

use super::PeerState;
use super::negotiate::local_description;
use super::shared::{Shared, lock};
use crate::transport::sdp::{Candidate, Description, Fragment};

/// The most candidates of one fragment.
const MOST: usize = 16;

/// Waits for further candidates; see [`Peer::next_candidates`](super::Peer::next_candidates).
pub(super) async fn next(shared: &Shared) -> Option<Fragment> {
    let (mut gathering, mut states) = (shared.gathering.subscribe(), shared.states.subscribe());
    loop {
        // Before the description is read: what is found meanwhile is in the next one.
        let complete = gathering.borrow_and_update().completed > 0;
        let written = local_description(shared).await.ok()?;
        let unsent = unsent(shared, &written, complete);
        if unsent.is_some() || complete {
            return unsent;
        }
        tokio::select! {
            changed = gathering.changed() => changed.ok()?,
            () = over(&mut states) => return None,
        }
    }
}

/// Takes what was not sent yet of the local description `written`.
fn unsent(shared: &Shared, written: &str, complete: bool) -> Option<Fragment> {
    let mut descriptions = lock(&shared.descriptions);
    let offered = descriptions.offered.as_mut()?;
    let mut further = shared.candidate_rules.apply(written);
    further.retain(|candidate| !offered.candidates.contains(candidate));
    let complete = complete && further.len() <= MOST;
    further.truncate(MOST);
    if further.is_empty() && complete == offered.complete {
        return None;
    }
    let description = Description::parse(written).ok()?;
    let section = description.live().next()?;
    offered.candidates.extend_from_slice(&further);
    offered.complete = complete;
    let candidate = |text| Candidate { text, mid: Some(section.mid.clone()), line: None };
    let candidates = further.into_iter().map(candidate).collect();
    Some(Fragment { ufrag: section.ufrag.clone(), pwd: section.pwd.clone(), candidates, complete })
}

/// Waits until the connection is over.
async fn over(states: &mut watch::Receiver<PeerState>) {
    // Without its sender it is over, too.
    let _ = states.wait_for(|state| state.is_over()).await;
}

//! ICE restarts: new credentials and paths for a connection that stays.

use super::negotiate::{exchange, local_ufrag};
use super::sdp_answer::CandidateRules;
use super::shared::{Shared, lock};
use crate::transport::sdp::{Candidate, Description, Fragment};
use crate::{Error, ErrorKind, Result};

/// Restarts ICE with the credentials of `fragment`; see [`Peer::restart`](super::Peer::restart).
pub(super) async fn restart(shared: &Shared, fragment: &Fragment) -> Result<Option<String>> {
    if shared.states.borrow().is_over() {
        return Err(Error::new(ErrorKind::Closed, "the connection is closed"));
    }
    let (Some(ufrag), Some(pwd)) = (&fragment.ufrag, &fragment.pwd) else { return Ok(None) };
    let answered = lock(&shared.descriptions).answered.clone();
    let Some((mut offer, plan)) = answered else { return Ok(None) };
    for section in &mut offer.sections {
        section.ufrag = Some(ufrag.clone());
        section.pwd = Some(pwd.clone());
        section.candidates.clear();
    }
    if let Some(first) = offer.sections.iter_mut().find(|s| !s.rejected) {
        first.candidates = fragment.candidates.clone();
    }
    let written = exchange(shared, &offer, &plan).await?;
    let answer = fragment_of(&written, shared.candidate_rules)?;
    let mut descriptions = lock(&shared.descriptions);
    descriptions.local_ufrag = local_ufrag(&written)?;
    descriptions.remote = Some(offer.clone());
    descriptions.answered = Some((offer, plan));
    Ok(Some(answer.to_string()))
}

/// Creates the fragment of a description: credentials and the one best candidate, since some clients join several incorrectly.
fn fragment_of(written: &str, rules: CandidateRules) -> Result<Fragment> {
    let lost = || Error::new(ErrorKind::Internal, "failed to read the local description");
    let description = Description::parse(written).map_err(|_| lost())?;
    let section = description.live().next().ok_or_else(lost)?;
    let best = rules.apply(written).into_iter().next();
    Ok(Fragment {
        ufrag: section.ufrag.clone(),
        pwd: section.pwd.clone(),
        candidates: best
            .map(|text| Candidate { text, mid: Some(section.mid.clone()), line: None })
            .into_iter()
            .collect(),
        complete: true,
    })
}

//! Fuzzing entry points: descriptions of a peer.

use std::sync::Arc;

use super::plan::{Plan, Use};
use super::sdp_answer::{self, CandidateRules};
use super::{Media, PeerOptions, parse, sdp_normalize};
use crate::error::Error;
use crate::frame::FrameView;
use crate::transport::sdp::{Description, Section};
use crate::transport::{AudioHub, Egress, EgressOptions, FrameSink};

/// Ignores frames.
#[derive(Debug)]
struct NoFrames;

impl FrameSink for NoFrames {
    fn frame(&self, _: &FrameView<'_>) {}

    fn refused(&self, _: &Error) {}
}

/// Reads an offer, plans its answer, and writes both what the WebRTC crate is given and what the peer is answered, from
/// what the crate would write. Returns whether the offer is accepted.
///
/// # Panics
///
/// If what is written cannot be read, or does not have the sections of the offer.
pub fn answer(text: &str, sends: bool, receives: bool) -> bool {
    let Ok(offer) = parse(text) else { return false };
    let media = Media {
        video_in: receives.then(|| Arc::new(NoFrames) as Arc<dyn FrameSink>),
        video_out: sends.then(|| Egress::new(EgressOptions::default())),
        audio_in: receives.then(AudioHub::default),
        audio_out: sends.then(AudioHub::default),
        channel: None,
    };
    let plan = match Plan::answering(&offer, &media) {
        Ok(plan) => plan,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            return false;
        }
    };
    for public_only in [false, true] {
        check_normal(&sdp_normalize::write(&offer, &plan, 1, public_only), &offer, &plan);
    }
    let written = sdp_normalize::write(&offer, &plan, 1, false);
    let rules = CandidateRules::of(&PeerOptions::default());
    let answer = sdp_answer::answer(&offer, &plan, &written, rules);
    check_lines(&answer);
    // Longer ones are refused.
    if answer.len() <= sdp_answer::MAX_ANSWER {
        check_answer(&answer, &offer, &plan);
    }
    true
}

/// Checks that each line is an attribute of its own: nothing of the peer's text begins another.
fn check_lines(text: &str) {
    assert!(text.ends_with("\r\n"));
    for line in text.split_terminator("\r\n") {
        let is_field = line.as_bytes().get(1) == Some(&b'=') && line.as_bytes()[0].is_ascii_lowercase();
        assert!(is_field && !line.contains(['\r', '\n']), "{line:?}");
    }
}

fn check_normal(written: &str, offer: &Description, plan: &Plan) {
    check_lines(written);
    let normal = Description::parse(written).expect("a normalized description is read again");
    let used = |(section, used): (&Section, &Use)| {
        matches!(used, Use::Flows(..) | Use::Data).then(|| (section.mid.clone(), section.kind.clone()))
    };
    let used: Vec<_> = offer.sections.iter().zip(&plan.uses).filter_map(used).collect();
    let written: Vec<_> = normal.sections.iter().map(|section| (section.mid.clone(), section.kind.clone())).collect();
    assert_eq!(written, used);
    assert!(normal.sections.iter().all(|section| !section.rejected));
}

fn check_answer(answer: &str, offer: &Description, plan: &Plan) {
    let read = Description::parse(answer).expect("an answer is read again");
    assert_eq!(read.sections.len(), offer.sections.len());
    for ((ours, theirs), used) in read.sections.iter().zip(&offer.sections).zip(&plan.uses) {
        assert_eq!((&ours.kind, ours.rejected), (&theirs.kind, *used == Use::Rejected));
    }
}

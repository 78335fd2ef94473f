//! Decides about each section of a peer's description.

use super::Refusal;
use super::codecs::{Choice, choose_audio, choose_video};
use super::state::Media;
use crate::transport::sdp::{Codec, Description, Direction, Kind, Section, Setup};
use crate::{Error, ErrorKind, Result};

/// The decision about a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Use {
    /// Media flows, this way as this side sees it.
    Flows(Direction, Choice),
    /// Data channels.
    Data,
    /// It stays for the bundle, but nothing flows.
    Idle,
    /// It is rejected.
    Rejected,
}

/// The decisions about all sections, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) uses: Vec<Use>,
}

impl Plan {
    /// Plans the answer to an offer.
    pub(super) fn answering(offer: &Description, media: &Media) -> Result<Self, Refusal> {
        for (kind, what) in [(Kind::Video, "video"), (Kind::Audio, "audio"), (Kind::Data, "data")] {
            let count = offer.live().filter(|s| s.kind == kind).count();
            if count > 1 {
                return Err(Refusal::TooManyTracks(format!("got {count} sections of {what}, expected at most 1")));
            }
        }
        let apart = offer.live().count() > 1 && !offer.live().all(|s| offer.bundle.contains(&s.mid));
        if apart {
            return Err(Refusal::BadSdp(
                "media sections: got separate ones, expected them bundled (a=group:BUNDLE)".to_owned(),
            ));
        }
        let uses = offer.sections.iter().map(|s| answer_section(s, media)).collect::<Result<Vec<_>, _>>()?;
        let mut plan = Self { uses };
        plan.part_sources(offer);
        if !plan.uses.iter().any(|u| matches!(u, Use::Flows(..) | Use::Data)) {
            let offered = offer.sections.iter().map(describe).collect::<Vec<_>>().join(", ");
            return Err(Refusal::NoCommonCodec(format!("got {offered}, which this side does not support")));
        }
        Ok(plan)
    }

    /// Plans by the answer to this side's offer.
    pub(super) fn accepting(answer: &Description, offer: &Description) -> Result<Self> {
        let mids = |d: &Description| d.sections.iter().map(|s| (s.mid.clone(), s.kind.clone())).collect::<Vec<_>>();
        if mids(answer) != mids(offer) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "media sections of the answer: expected those of the offer",
            ));
        }
        let uses = answer.sections.iter().zip(&offer.sections).map(|(theirs, ours)| accept_section(theirs, ours));
        let plan = Self { uses: uses.collect::<Result<_>>()? };
        let flowing: Vec<_> =
            answer.sections.iter().zip(&plan.uses).filter(|(_, u)| matches!(u, Use::Flows(..))).collect();
        if flowing.len() > 1 && flowing.iter().any(|(s, u)| s.sources.is_empty() && receives(u)) {
            let reason = "the answer has no a=ssrc lines, which distinguish audio and video";
            return Err(Error::new(ErrorKind::Unsupported, reason));
        }
        if !plan.uses.iter().any(|u| matches!(u, Use::Flows(..) | Use::Data)) {
            return Err(Error::new(ErrorKind::Unsupported, "the peer rejected every media section of the offer"));
        }
        Ok(plan)
    }

    /// Without declared sources, packets of two sections cannot be distinguished: video has precedence over audio.
    fn part_sources(&mut self, offer: &Description) {
        let undeclared = |(section, used): (&Section, &Use)| section.sources.is_empty() && receives(used);
        let flowing = self.uses.iter().filter(|u| matches!(u, Use::Flows(..))).count();
        if flowing > 1 && offer.sections.iter().zip(&self.uses).any(undeclared) {
            tracing::debug!("audio is disabled: the offer does not declare the sources of its media");
            for (section, used) in offer.sections.iter().zip(&mut self.uses) {
                if section.kind == Kind::Audio && matches!(used, Use::Flows(..)) {
                    *used = Use::Idle;
                }
            }
        }
    }

    /// The choice for the section of a kind that flows, and its direction.
    pub(super) fn flowing<'a>(&'a self, of: &'a Description, kind: &Kind) -> Option<(Direction, &'a Choice)> {
        of.sections.iter().zip(&self.uses).find_map(|(section, used)| match used {
            Use::Flows(direction, choice) if section.kind == *kind => Some((*direction, choice)),
            Use::Flows(..) | Use::Data | Use::Idle | Use::Rejected => None,
        })
    }

    /// Returns the section of `of` of that kind that flows.
    pub(super) fn flowing_section<'a>(&self, of: &'a Description, kind: &Kind) -> Option<&'a Section> {
        let flows = |(section, used): &(&Section, &Use)| section.kind == *kind && matches!(used, Use::Flows(..));
        of.sections.iter().zip(&self.uses).find(flows).map(|(section, _)| section)
    }
}

fn answer_section(section: &Section, media: &Media) -> Result<Use, Refusal> {
    if section.rejected {
        return Ok(Use::Rejected);
    }
    let flow = |sends: bool, receives: bool| {
        Direction::of(section.direction.receives() && sends, section.direction.sends() && receives)
    };
    match &section.kind {
        Kind::Video => {
            let direction = flow(media.video_out.is_some(), media.video_in.is_some());
            if direction == Direction::Inactive {
                return Ok(Use::Idle);
            }
            let choice = choose_video(&section.codecs).ok_or_else(|| no_common(section))?;
            Ok(Use::Flows(direction, choice))
        }
        Kind::Audio => {
            let direction = flow(media.audio_out.is_some(), media.audio_in.is_some());
            match choose_audio(&section.codecs) {
                Some(choice) if direction != Direction::Inactive => Ok(Use::Flows(direction, choice)),
                _ => Ok(Use::Idle),
            }
        }
        Kind::Data => Ok(Use::Data),
        Kind::Other(_) | Kind::Session => Ok(Use::Rejected),
    }
}

fn receives(used: &Use) -> bool {
    matches!(used, Use::Flows(direction, _) if direction.receives())
}

/// Decides about a section of an answer; the peer may leave an offered section unused.
fn accept_section(theirs: &Section, ours: &Section) -> Result<Use> {
    if theirs.rejected {
        return Ok(Use::Rejected);
    }
    let ours_sends = ours.direction.sends() && theirs.direction.receives();
    let ours_receives = ours.direction.receives() && theirs.direction.sends();
    let direction = Direction::of(ours_sends, ours_receives);
    let offered = |c: &&Codec| ours.codecs.iter().any(|o| o.payload_type == c.payload_type);
    let codecs: Vec<_> = theirs.codecs.iter().filter(offered).cloned().collect();
    let choice = match &theirs.kind {
        Kind::Data => return Ok(Use::Data),
        Kind::Video => choose_video(&codecs),
        Kind::Audio => choose_audio(&codecs),
        Kind::Other(_) | Kind::Session => None,
    };
    match choice {
        _ if direction == Direction::Inactive => Ok(Use::Idle),
        Some(choice) => Ok(Use::Flows(direction, choice)),
        None => {
            Err(Error::new(ErrorKind::Unsupported, format!("the answer has no codec of the offer for {}", theirs.kind)))
        }
    }
}

fn no_common(section: &Section) -> Refusal {
    let offered = section.codecs.iter().map(summary).filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", ");
    Refusal::NoCommonCodec(format!("video: got {offered}, expected H264 (baseline, main or high)"))
}

fn summary(codec: &Codec) -> String {
    if codec.name.eq_ignore_ascii_case("rtx") { String::new() } else { codec.name.clone() }
}

fn describe(section: &Section) -> String {
    format!("{} ({})", section.kind, section.direction.name())
}

/// The DTLS role of this side: passive, if the peer allows it.
pub(super) fn setup(offer: &Description) -> Setup {
    match offer.live().find_map(|s| s.setup) {
        Some(Setup::Passive) => Setup::Active,
        Some(Setup::Active | Setup::ActPass) | None => Setup::Passive,
    }
}

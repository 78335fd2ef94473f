//! Which members of a group share a pass, and when: a state machine without threads and without a clock.
//!
//! One pass of a group runs at a time. Members that arrive meanwhile wait for its end, and the ones that have waited
//! longest run in the next pass. Before that, the first of them waits for members whose next frame is expected soon.

use std::time::Duration;

use super::combination::{Combination, MOST_MEMBERS};

/// How many frames of a member need the same constants before others are computed with them: constants that change with
/// every frame, as in a transition, would be out of date when they are ready.
const STEADY: u32 = 4;
/// The longest wait for others, as a part of the interval between the frames of the member that waits.
const PART_OF_INTERVAL: u32 = 4;
/// A longer interval is a pause, from which no next frame is predicted. No member waits for a pass that takes longer: its
/// device may hang.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// After so many waits in a row without another member, a member waits only once in [`RETRY`] frames.
const PATIENCE: u32 = 4;
const RETRY: u64 = 32;

/// The number of a member, which is not used again.
pub(super) type MemberId = u64;

/// What a member does that arrives with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It runs alone, whatever others do.
    Alone,
    /// It runs alone, in a pass of the group, which must be [finished](Scheduler::finish).
    Lead,
    /// It copies its frame to its buffers, and [waits](Scheduler::wait).
    Queue,
}

/// What a waiting member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for a change, or until a point in time.
    Wait(Option<Duration>),
    /// It runs the pass of these members, itself among them, which must be [finished](Scheduler::finish).
    Lead(Batch),
    /// Another member ran the pass; whether that succeeded.
    Done(bool),
}

/// The members of a pass, those that have waited longest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Batch {
    members: [MemberId; MOST_MEMBERS],
    len: usize,
}

impl Batch {
    pub(super) fn of(members: impl IntoIterator<Item = MemberId>) -> Self {
        let mut batch = Self::default();
        for (place, member) in batch.members.iter_mut().zip(members) {
            *place = member;
            batch.len += 1;
        }
        batch
    }

    pub(super) fn members(&self) -> &[MemberId] {
        &self.members[..self.len]
    }
}

/// The members of a group.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    members: Vec<Member>,
    /// When the pass began that runs.
    busy_since: Option<Duration>,
    /// When the last pass ended.
    freed_at: Duration,
    /// The number of members that have waited so far.
    waited: u64,
}

#[derive(Debug)]
struct Member {
    id: MemberId,
    /// Members of one owner never have frames at the same time.
    owner: u64,
    /// The longest wait for others.
    limit: Duration,
    /// The id of the constants of its last frame, and the number of frames in a row that had them.
    constants: u64,
    steady: u32,
    /// When its last frame arrived.
    last: Option<Duration>,
    /// The interval between its last frames.
    interval: Option<Duration>,
    frames: u64,
    /// The number of waits in a row without another member.
    in_vain: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Has no frame.
    Away,
    /// Copies its frame to its buffers, to wait then.
    Coming,
    /// Waits since then; the one with the lowest number has waited longest.
    Waiting { number: u64, since: Duration },
    /// Is part of the pass that runs.
    Running,
    /// The pass has ended, and the member has not noticed yet; whether it succeeded.
    Done(bool),
}

impl Member {
    fn note(&mut self, constants: u64, now: Duration) {
        self.steady = if self.constants == constants { self.steady.saturating_add(1) } else { 1 };
        self.constants = constants;
        let interval = self.last.map(|last| now.saturating_sub(last)).filter(|interval| *interval <= LONGEST_INTERVAL);
        self.interval = match (self.interval, interval) {
            (Some(before), Some(interval)) => Some((before + interval) / 2),
            (None, Some(interval)) => Some(interval),
            (_, None) => None,
        };
        self.last = Some(now);
        self.frames += 1;
    }

    /// Whether frames are expected from it.
    fn is_active(&self, now: Duration) -> bool {
        let expected = || Some(now <= self.last? + 2 * self.interval?);
        self.phase != Phase::Away || expected().unwrap_or(false)
    }

    /// Whether its next frame is expected by `deadline`.
    fn is_due(&self, now: Duration, deadline: Duration) -> bool {
        let due = || Some(self.last? + self.interval? <= deadline);
        self.phase == Phase::Coming || self.is_active(now) && due().unwrap_or(false)
    }

    /// How long it waits for others.
    fn bound(&self) -> Duration {
        let longest = self.interval.map_or(Duration::ZERO, |interval| self.limit.min(interval / PART_OF_INTERVAL));
        let is_patient = self.in_vain < PATIENCE || self.frames.is_multiple_of(RETRY);
        if is_patient { longest } else { Duration::ZERO }
    }

    /// Since when it waits, with its number.
    fn waiting(&self) -> Option<(u64, Duration)> {
        match self.phase {
            Phase::Waiting { number, since } => Some((number, since)),
            Phase::Away | Phase::Coming | Phase::Running | Phase::Done(_) => None,
        }
    }
}

impl Scheduler {
    /// Adds a member, one of `owner`, which waits for others at most `limit`. Allocates.
    pub(super) fn join(&mut self, id: MemberId, owner: u64, limit: Duration) {
        let (last, interval, phase) = (None, None, Phase::Away);
        let member = Member { id, owner, limit, constants: 0, steady: 0, last, interval, frames: 0, in_vain: 0, phase };
        self.members.push(member);
    }

    /// Removes a member.
    pub(super) fn leave(&mut self, id: MemberId) {
        self.members.retain(|member| member.id != id);
    }

    /// Returns the number of members.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns the ids of the constants in use.
    pub(super) fn uses(&self, constants: u64) -> bool {
        self.members.iter().any(|member| member.constants == constants)
    }

    /// A frame of a member arrives, with these constants. `is_ready` returns whether a combination's constants are
    /// computed.
    pub(super) fn arrive(
        &mut self,
        id: MemberId,
        constants: u64,
        now: Duration,
        is_ready: impl Fn(Combination) -> bool,
    ) -> Arrival {
        let Some(index) = self.index(id) else { return Arrival::Alone };
        self.members[index].note(constants, now);
        self.members[index].phase = Phase::Away;
        if self.is_stuck(now) {
            return Arrival::Alone;
        }
        let member = &self.members[index];
        let is_expected = |other: &Member| other.is_active(now) && is_ready(member.pair(other));
        if !self.others(member).any(is_expected) {
            return Arrival::Alone;
        }
        let is_queued = |other: &Member| other.phase == Phase::Coming || other.waiting().is_some();
        let is_awaited = self.busy_since.is_some() || self.members.iter().any(is_queued);
        if is_awaited || self.expects(member, now, now + member.bound(), &is_ready) {
            self.members[index].phase = Phase::Coming;
            return Arrival::Queue;
        }
        self.members[index].phase = Phase::Running;
        self.busy_since = Some(now);
        Arrival::Lead
    }

    /// A member waits, whose frame is in its member.
    pub(super) fn wait(&mut self, id: MemberId, now: Duration) {
        let number = self.waited;
        if let Some(index) = self.index(id) {
            self.members[index].phase = Phase::Waiting { number, since: now };
            self.waited += 1;
        }
    }

    /// Returns what a waiting member does now.
    pub(super) fn turn(&mut self, id: MemberId, now: Duration, is_ready: impl Fn(Combination) -> bool) -> Turn {
        // A member that is not known runs alone.
        let Some(index) = self.index(id) else { return Turn::Done(false) };
        match self.members[index].phase {
            Phase::Done(succeeded) => {
                self.members[index].phase = Phase::Away;
                return Turn::Done(succeeded);
            }
            Phase::Away | Phase::Coming => return Turn::Done(false),
            Phase::Running | Phase::Waiting { .. } => {}
        }
        if self.is_stuck(now) {
            self.members[index].phase = Phase::Away;
            return Turn::Done(false);
        }
        if let Some(since) = self.busy_since {
            return Turn::Wait(Some(since + LONGEST_INTERVAL));
        }
        let queue = self.queue();
        let Some((first, since)) = queue
            .members()
            .first()
            .and_then(|&id| self.member(id))
            .and_then(|member| Some((member, member.waiting()?.1)))
        else {
            return Turn::Wait(None);
        };
        let deadline = since.max(self.freed_at) + first.bound();
        let is_full = queue.len == MOST_MEMBERS;
        if !is_full && now < deadline && self.expects(first, now, deadline, &is_ready) {
            return Turn::Wait(Some(deadline));
        }
        let mut pass = queue;
        while pass.len > 1 && !is_ready(self.combination(&pass)) {
            pass.len -= 1;
        }
        if !pass.members().contains(&id) {
            return Turn::Wait(None);
        }
        if pass.len == 1 && now >= deadline && first.bound() > Duration::ZERO {
            self.members[index].in_vain = self.members[index].in_vain.saturating_add(1);
        }
        for member in self.members.iter_mut().filter(|member| pass.members().contains(&member.id)) {
            member.phase = Phase::Running;
        }
        self.busy_since = Some(now);
        Turn::Lead(pass)
    }

    /// The pass of `batch` has ended, which the member `lead` ran.
    pub(super) fn finish(&mut self, batch: &Batch, lead: MemberId, succeeded: bool, now: Duration) {
        (self.busy_since, self.freed_at) = (None, now);
        let in_pass = |member: &&mut Member| member.phase == Phase::Running && batch.members().contains(&member.id);
        for member in self.members.iter_mut().filter(in_pass) {
            member.phase = if member.id == lead { Phase::Away } else { Phase::Done(succeeded) };
            if succeeded && batch.len > 1 {
                member.in_vain = 0;
            }
        }
    }

    /// A member does not wait after all.
    pub(super) fn withdraw(&mut self, id: MemberId) {
        if let Some(index) = self.index(id) {
            self.members[index].phase = Phase::Away;
        }
    }

    /// Returns the members that wait, as many as one pass has, those that have waited longest first.
    pub(super) fn queue(&self) -> Batch {
        let mut queue = Batch::default();
        let mut after = None;
        while queue.len < MOST_MEMBERS {
            let later = self.members.iter().filter_map(|member| Some((member.waiting()?.0, member.id)));
            let Some((number, id)) = later.filter(|(number, _)| after.is_none_or(|after| *number > after)).min() else {
                break;
            };
            queue.members[queue.len] = id;
            queue.len += 1;
            after = Some(number);
        }
        queue
    }

    /// Returns the constants of these members.
    pub(super) fn combination(&self, batch: &Batch) -> Combination {
        Combination::of(batch.members().iter().filter_map(|&id| self.constants(id)))
    }

    /// Returns the constants of a member's last frame.
    pub(super) fn constants(&self, id: MemberId) -> Option<u64> {
        self.member(id).map(|member| member.constants)
    }

    /// Calls `want` with the constants of each two members, one of them `id`, that could share a pass.
    pub(super) fn pairs(&self, id: MemberId, now: Duration, mut want: impl FnMut(Combination)) {
        let Some(member) = self.member(id).filter(|member| member.steady >= STEADY) else { return };
        for other in self.others(member).filter(|other| other.steady >= STEADY && other.is_active(now)) {
            want(member.pair(other));
        }
    }

    /// Returns whether a member that could share a pass with `member`, and does not wait, is expected by `deadline`.
    fn expects(
        &self,
        member: &Member,
        now: Duration,
        deadline: Duration,
        is_ready: impl Fn(Combination) -> bool,
    ) -> bool {
        // An owner has one frame at a time.
        let waits = |owner| self.members.iter().any(|member| member.owner == owner && member.waiting().is_some());
        let mut others = self.others(member).filter(|other| !waits(other.owner));
        deadline > now && others.any(|other| other.is_due(now, deadline) && is_ready(member.pair(other)))
    }

    /// Whether the pass that runs takes too long to wait for it.
    fn is_stuck(&self, now: Duration) -> bool {
        self.busy_since.is_some_and(|since| now >= since + LONGEST_INTERVAL)
    }

    fn others<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(|other| other.owner != member.owner)
    }

    fn index(&self, id: MemberId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }

    fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

impl Member {
    /// Returns the constants of this member and another one.
    fn pair(&self, other: &Self) -> Combination {
        Combination::of([self.constants, other.constants])
    }
}

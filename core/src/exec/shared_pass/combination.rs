//! The constants of the members of a pass, and what is prepared for them.

use std::fmt;
use std::sync::{Arc, Weak};

use super::ConstantInputs;
use crate::exec::{Constants, Network};

/// The most members of a pass.
pub(super) const MOST_MEMBERS: usize = 4;
/// The most combinations whose constants are kept.
const MOST_COMBINATIONS: usize = 16;
/// The most combinations that are waiting to be prepared.
const MOST_WANTED: usize = 8;

/// The ids of the constants of the members of a pass, in ascending order: that of their rows in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Combination {
    ids: [u64; MOST_MEMBERS],
    len: usize,
}

impl Combination {
    /// Returns the combination of these constants, at most [`MOST_MEMBERS`].
    pub(super) fn of(constants: impl IntoIterator<Item = u64>) -> Self {
        let mut combination = Self::default();
        for (place, id) in combination.ids.iter_mut().zip(constants) {
            *place = id;
            combination.len += 1;
        }
        combination.ids[..combination.len].sort_unstable();
        combination
    }

    pub(super) fn ids(&self) -> &[u64] {
        &self.ids[..self.len]
    }
}

/// A network for the rows of a combination, and its constants.
#[derive(Debug)]
pub(super) struct ReadyPass {
    pub(super) network: Arc<dyn Network>,
    pub(super) constants: Constants,
}

/// A combination that is to be prepared, with the inputs of its constants in their order.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    pub(super) combination: Combination,
    pub(super) inputs: [Weak<ConstantInputs>; MOST_MEMBERS],
}

/// What is known of a combination.
#[derive(Debug)]
struct Known {
    combination: Combination,
    state: State,
    /// When it was last used, as a number that grows with each use.
    used: u64,
}

#[derive(Debug)]
enum State {
    /// Its constants are being computed.
    Preparing,
    Ready(Arc<ReadyPass>),
    /// They cannot be computed, or a pass with them failed.
    Refused,
}

/// The combinations of a group. Only [`next`](Self::next), [`prepared`](Self::prepared) and [`forget`](Self::forget),
/// which frames do not call, allocate and free memory.
pub(super) struct Combinations {
    known: Vec<Known>,
    wanted: Vec<Wanted>,
    uses: u64,
}

/// What is no longer needed, to be dropped without a lock.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Dropped(#[allow(dead_code, reason = "only dropped")] Vec<Known>);

impl fmt::Debug for Combinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combinations")
            .field("known", &self.known)
            .field("wanted", &self.wanted.len())
            .finish_non_exhaustive()
    }
}

impl Combinations {
    pub(super) fn new() -> Self {
        Self { known: Vec::new(), wanted: Vec::with_capacity(MOST_WANTED), uses: 0 }
    }

    /// Returns whether a pass of `combination` can run.
    pub(super) fn is_ready(&self, combination: Combination) -> bool {
        self.known.iter().any(|known| known.combination == combination && matches!(known.state, State::Ready(_)))
    }

    /// Returns what runs a pass of `combination`, if it is ready.
    pub(super) fn get(&mut self, combination: Combination) -> Option<Arc<ReadyPass>> {
        self.uses += 1;
        let known = self.known.iter_mut().find(|known| known.combination == combination)?;
        known.used = self.uses;
        match &known.state {
            State::Ready(ready) => Some(Arc::clone(ready)),
            State::Preparing | State::Refused => None,
        }
    }

    /// Asks for `combination` to be prepared, unless it is known. Returns whether there is something new to do.
    pub(super) fn want(
        &mut self,
        combination: Combination,
        inputs_of: impl Fn(u64) -> Option<Weak<ConstantInputs>>,
    ) -> bool {
        let is_known = self.known.iter().any(|known| known.combination == combination)
            || self.wanted.iter().any(|wanted| wanted.combination == combination);
        if is_known || self.wanted.len() == MOST_WANTED {
            return false;
        }
        let mut wanted = Wanted { combination, ..Wanted::default() };
        for (place, &id) in wanted.inputs.iter_mut().zip(combination.ids()) {
            let Some(inputs) = inputs_of(id) else { return false };
            *place = inputs;
        }
        self.wanted.push(wanted);
        true
    }

    /// Returns the next combination to be prepared, with those that it replaces.
    pub(super) fn next(&mut self) -> Option<(Wanted, Dropped)> {
        if self.wanted.is_empty() {
            return None;
        }
        let wanted = self.wanted.remove(0);
        let mut dropped = Vec::new();
        while self.known.len() >= MOST_COMBINATIONS {
            let oldest =
                self.known.iter().enumerate().min_by_key(|(_, known)| known.used).map_or(0, |(index, _)| index);
            dropped.push(self.known.swap_remove(oldest));
        }
        self.uses += 1;
        self.known.push(Known { combination: wanted.combination, state: State::Preparing, used: self.uses });
        Some((wanted, Dropped(dropped)))
    }

    /// Stores what was prepared for `combination`; `None` if that failed.
    pub(super) fn prepared(&mut self, combination: Combination, ready: Option<Arc<ReadyPass>>) {
        if let Some(known) = self.known.iter_mut().find(|known| known.combination == combination) {
            known.state = ready.map_or(State::Refused, State::Ready);
        }
    }

    /// Runs no more passes of `combination`.
    pub(super) fn refuse(&mut self, combination: Combination) {
        self.prepared(combination, None);
    }

    /// Removes the combinations with constants that are not `in_use`.
    pub(super) fn forget(&mut self, in_use: impl Fn(u64) -> bool) -> Dropped {
        let is_used = |combination: &Combination| combination.ids().iter().all(|&id| in_use(id));
        self.wanted.retain(|wanted| is_used(&wanted.combination));
        let (kept, dropped) =
            std::mem::take(&mut self.known).into_iter().partition(|known| is_used(&known.combination));
        self.known = kept;
        Dropped(dropped)
    }
}

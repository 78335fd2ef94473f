//! Cached attention: keys and values of earlier frames, stored between runs.

use std::any::Any;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::net::Program;

/// Maximum number of earlier frames of a run.
pub const MOST_PAST_FRAMES: usize = 4;

/// The keys and values of one frame, for all layers with cached attention; valid for the network that created it. They
/// are in the executor's own format and memory.
pub struct FrameKeys(Box<dyn Any + Send + Sync>);

impl FrameKeys {
    /// Wraps the executor's own type.
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// Returns the executor's own type, if it is `T`.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }

    /// Returns the executor's own type for writing, if it is `T`.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.0.downcast_mut()
    }
}

impl fmt::Debug for FrameKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameKeys").finish_non_exhaustive()
    }
}

/// How tokens of earlier frames are injected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Injection {
    /// The share of the earlier token, in 0..1; 0 for no injection.
    pub strength: f32,
    /// The least cosine of two tokens of which one is injected.
    pub threshold: f32,
}

impl Injection {
    /// No injection.
    pub const NONE: Self = Self { strength: 0.0, threshold: 1.0 };
}

impl Default for Injection {
    fn default() -> Self {
        Self::NONE
    }
}

/// The cached frames of a run, and the destination of its own keys and values. The order of frames does not matter:
/// keys have no position.
#[derive(Debug, Default)]
pub struct Past<'a> {
    /// Memory of the cached frames, at most [`MOST_PAST_FRAMES`], created by the network's
    /// [`frame_keys`](super::Network::frame_keys).
    pub frames: &'a mut [FrameKeys],
    /// Number of those, from the first on, that contain a frame; the others are not read.
    pub filled: usize,
    /// The index of the one that this run overwrites with its own, after reading it.
    pub keep: Option<usize>,
    /// How tokens are injected; used by programs with feature injection only.
    pub injection: Injection,
    /// For merging the run's own tokens with those that the frame `keep` contains, if it does: a random permutation of
    /// the numbers below twice the [tokens](crate::net::Program::most_cached_tokens) of the largest layer; none to overwrite
    /// them. The program must be one that [merges tokens](crate::net::Program::merges_tokens).
    ///
    /// In each layer of `n` tokens the numbers below `2 * n` count in this order: those below `n` are the tokens that are
    /// kept, the others the run's own. Each of the first `n` is merged into the token with the most similar keys among the
    /// others, as the mean of that one and all that are merged into it. The others are kept.
    pub order: Option<&'a [u32]>,
}

impl<'a> Past<'a> {
    /// Returns the same frames for a shorter time.
    pub fn reborrow(&mut self) -> Past<'_> {
        Past { frames: &mut *self.frames, ..*self }
    }

    /// Returns the order in which tokens are merged, if they are to be.
    pub fn merged(&self) -> Option<&'a [u32]> {
        self.order.filter(|_| self.keep.is_some_and(|keep| keep < self.filled))
    }

    /// Checks the indices for a run of `program`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for more frames than the maximum, an index out of range, or an order for merging of another length,
    /// or for a program that does not merge tokens.
    pub fn check(&self, program: &Program) -> Result<()> {
        let (len, filled) = (self.frames.len(), self.filled);
        let text = if len > MOST_PAST_FRAMES {
            format!("earlier frames: got {len}, expected at most {MOST_PAST_FRAMES}")
        } else if filled > len {
            format!("filled earlier frames: got {filled}, expected at most {len}")
        } else if let Some(keep) = self.keep.filter(|&keep| keep >= len) {
            format!("earlier frame to overwrite: got {keep}, expected less than {len}")
        } else if let Some(text) = self.order.and_then(|order| misfit(order, program)) {
            text
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }
}

/// Returns what is wrong with the order in which tokens of `program` are merged.
fn misfit(order: &[u32], program: &Program) -> Option<String> {
    let expected = 2 * program.most_cached_tokens();
    if !program.merges_tokens() {
        return Some("order of merged tokens: got one, expected none for a program that merges no tokens".to_owned());
    }
    (order.len() != expected)
        .then(|| format!("order of merged tokens: got {} numbers, expected {expected}", order.len()))
}

/// Writes the numbers of `order` below the length of `to` into it, in order, as far as there are so many.
pub(super) fn merge_order(order: &[u32], to: &mut [u32]) {
    let below = to.len();
    let numbers = order.iter().filter(|&&number| (number as usize) < below);
    to.iter_mut().zip(numbers).for_each(|(to, &number)| *to = number);
}

//! Cached attention: keys and values of earlier frames, stored between runs.

use std::any::Any;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};

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

/// The cached frames of a run, and the destination of its own keys and values. The order of frames does not matter:
/// keys have no position.
#[derive(Debug)]
pub struct Past<'a> {
    /// Memory of the cached frames, at most [`MOST_PAST_FRAMES`], created by the network's
    /// [`frame_keys`](super::Network::frame_keys).
    pub frames: &'a mut [FrameKeys],
    /// Number of those, from the first on, that contain a frame; the others are not read.
    pub filled: usize,
    /// The index of the one that this run overwrites with its own, after reading it.
    pub keep: Option<usize>,
}

impl Past<'_> {
    /// Returns the same frames for a shorter time.
    pub fn reborrow(&mut self) -> Past<'_> {
        Past { frames: &mut *self.frames, filled: self.filled, keep: self.keep }
    }

    /// Checks the indices.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for more frames than the maximum, or an index out of range.
    pub fn check(&self) -> Result<()> {
        let (len, filled) = (self.frames.len(), self.filled);
        let text = if len > MOST_PAST_FRAMES {
            format!("earlier frames: got {len}, expected at most {MOST_PAST_FRAMES}")
        } else if filled > len {
            format!("filled earlier frames: got {filled}, expected at most {len}")
        } else if let Some(keep) = self.keep.filter(|&keep| keep >= len) {
            format!("earlier frame to overwrite: got {keep}, expected less than {len}")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }
}

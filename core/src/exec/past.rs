//! What attention looks back to: keys and values of earlier frames, kept between runs.

use std::any::Any;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The most frames that a run looks back to.
pub const MOST_PAST_FRAMES: usize = 4;

/// Keeps the keys and values of one frame, of every layer that looks back; belongs to the network that made it. Its numbers
/// are stored as the executor stores them, and never leave it.
pub struct FrameKeys(Box<dyn Any + Send + Sync>);

impl FrameKeys {
    /// Wraps an executor's own form.
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The executor's own form, if `T` is it.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }

    /// The executor's own form, to write, if `T` is it.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.0.downcast_mut()
    }
}

impl fmt::Debug for FrameKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameKeys").finish_non_exhaustive()
    }
}

/// Says which frames a run looks back to, and where it leaves its own keys and values. Their order does not matter: keys
/// have no position.
#[derive(Debug)]
pub struct Past<'a> {
    /// Room for the frames that are kept, at most [`MOST_PAST_FRAMES`]; made by the network's
    /// [`frame_keys`](super::Network::frame_keys).
    pub frames: &'a mut [FrameKeys],
    /// How many of them, from the first on, hold a frame; the others are not read.
    pub filled: usize,
    /// Which one this run overwrites with its own, after it has looked at it.
    pub keep: Option<usize>,
}

impl Past<'_> {
    /// Returns the same frames for a shorter time.
    pub fn reborrow(&mut self) -> Past<'_> {
        Past { frames: &mut *self.frames, filled: self.filled, keep: self.keep }
    }

    /// Refuses numbers that name no frame.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for more frames than a run looks back to, or a frame that there is not.
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

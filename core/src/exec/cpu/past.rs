//! Keys and values of earlier frames, in the layout of attention.

#![allow(unsafe_code, reason = "shares addresses with threads")]

use super::span::Aligned;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{FrameKeys, Injection, MOST_PAST_FRAMES, Past};
use crate::net::Program;

/// The keys and values of one frame: those of each layer with cached attention, concatenated.
pub(super) struct CachedKeys {
    /// The network that created it.
    network: u64,
    elements: Aligned,
}

/// The addresses of all cached frames of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct PastAt<'a> {
    frames: [*mut u8; MOST_PAST_FRAMES],
    filled: usize,
    keep: Option<usize>,
    pub(super) injection: Injection,
    /// The order in which the run's own tokens are merged with those of the frame that is their destination; `None` if
    /// they overwrite them.
    pub(super) merged: Option<&'a [u32]>,
}

// SAFETY: addresses, as `Span`s are.
unsafe impl Sync for PastAt<'_> {}

impl<'a> PastAt<'a> {
    /// No cached frames.
    pub(super) const NONE: Self = Self {
        frames: [std::ptr::null_mut(); MOST_PAST_FRAMES],
        filled: 0,
        keep: None,
        injection: Injection::NONE,
        merged: None,
    };

    /// Returns the frames of `past`, which `network`, a program's, must have created.
    pub(super) fn new(past: &mut Past<'a>, network: u64, program: &Program) -> Result<Self> {
        past.check(program)?;
        let Past { filled, keep, injection, .. } = *past;
        let mut at = Self { filled, keep, injection, merged: past.merged(), ..Self::NONE };
        for (address, frame) in at.frames.iter_mut().zip(past.frames.iter_mut()) {
            let frame = frame.get_mut::<CachedKeys>().filter(|frame| frame.network == network);
            let another = || Error::new(ErrorKind::InvalidArgument, "the earlier frames belong to another network");
            *address = frame.ok_or_else(another)?.elements.ptr_mut();
        }
        Ok(at)
    }

    /// Returns the addresses for a layer whose keys and values are at the offset `bytes`.
    pub(super) fn layer(self, bytes: usize) -> Self {
        Self { frames: self.frames.map(|frame| frame.wrapping_add(bytes)), ..self }
    }

    /// Returns the frames to attend to.
    pub(super) fn frames(&self) -> &[*mut u8] {
        self.frames.get(..self.filled).unwrap_or_default()
    }

    /// Returns the destination of the run's own keys and values.
    pub(super) fn keep(&self) -> Option<*mut u8> {
        self.frames.get(self.keep?).copied()
    }
}

/// Allocates memory for a frame of `bytes`.
pub(super) fn allocate(bytes: usize, network: u64) -> Result<FrameKeys> {
    let elements = Aligned::zeroed_bytes(bytes).ok_or_else(|| {
        let text = format!("failed to allocate {bytes} bytes for keys and values of a frame");
        Error::new(ErrorKind::OutOfMemory, text)
    })?;
    Ok(FrameKeys::new(CachedKeys { network, elements }))
}

/// Returns the memory of a frame.
#[cfg(test)]
pub(super) fn memory(frame: &FrameKeys) -> &[u8] {
    frame.get::<CachedKeys>().map_or(&[], |keys| keys.elements.bytes())
}

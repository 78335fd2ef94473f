//! The memory that frames write, taken when a pipeline is made, so that frames take none.

use super::codec::Codec;
use super::unet::UnetNetworks;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::memory;

/// What a frame needs memory for, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameMemory {
    /// Scratch memory of the networks, which run one after the other.
    pub(crate) arena: usize,
    /// A picture as the networks see it; there are two.
    pub(crate) picture: usize,
    /// A latent; there are two.
    pub(crate) latent: usize,
}

impl FrameMemory {
    pub(super) fn of(codec: &Codec, unet: &UnetNetworks, pixels: usize) -> Self {
        let arena = codec.encoder.arena_len().max(codec.decoder.arena_len()).max(unet.arena_len());
        Self { arena, picture: pixels * 3, latent: codec.latent.len() }
    }

    /// Refuses what does not fit beside the memory of `base`, which stays until this one is there.
    pub(super) fn require(self, base: Option<Self>) -> Result<()> {
        let grown =
            |len: fn(&Self) -> usize| if base.is_some_and(|old| len(&self) <= len(&old)) { 0 } else { len(&self) };
        let numbers = grown(|memory| memory.arena)
            .saturating_add(grown(|memory| memory.picture).saturating_mul(2))
            .saturating_add(grown(|memory| memory.latent).saturating_mul(2));
        memory::require(numbers.saturating_mul(size_of::<f32>()), "a frame of this size")
    }
}

/// A frame on its way, as the networks see it.
#[derive(Debug)]
pub(crate) struct FrameBuffers {
    /// The frame, `[height, width, 3]` in -1..1.
    pub(crate) image: Vec<f32>,
    pub(crate) latent: Vec<f32>,
    pub(crate) clean: Vec<f32>,
    /// The last picture, in the same form; what a skipped frame gives again.
    pub(crate) result: Vec<f32>,
}

impl FrameBuffers {
    /// Takes the memory that `needed` says.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn new(needed: FrameMemory) -> Result<Self> {
        let zeros = |len: usize| {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(len).map_err(|error| {
                Error::new(ErrorKind::OutOfMemory, format!("no memory for a frame's {len} numbers")).with_source(error)
            })?;
            buffer.resize(len, 0.0);
            Ok::<_, Error>(buffer)
        };
        Ok(Self {
            image: zeros(needed.picture)?,
            latent: zeros(needed.latent)?,
            clean: zeros(needed.latent)?,
            result: zeros(needed.picture)?,
        })
    }
}

//! Frames that were submitted and whose pictures were not collected.

use super::picture::PictureInfo;
use super::state::FrameTimer;
use crate::exec::Transfer;

/// The last picture that was collected, as its transfer keeps it in host memory.
#[derive(Debug)]
pub(super) struct CollectedPicture {
    pub(super) transfer: Transfer,
    /// How it was made, and its width and height in pixels; `None` before the first.
    pub(super) info: Option<(PictureInfo, (u32, u32))>,
}

/// The frames in flight: a ring of as many as the executor's queue has depth.
#[derive(Debug)]
pub(super) struct InFlight {
    frames: Vec<InFlightFrame>,
    first: usize,
    len: usize,
}

/// A frame whose picture is on its way to the host.
#[derive(Debug)]
pub(super) struct InFlightFrame {
    /// How the picture was made, without the timings, which are known when it is collected; `None` if the device lost it.
    pub(super) info: Option<PictureInfo>,
    /// The index of the picture in the engine's state.
    pub(super) picture: usize,
    pub(super) transfer: Transfer,
    pub(super) timer: FrameTimer,
}

impl CollectedPicture {
    pub(super) fn new() -> Self {
        Self { transfer: Transfer::new(), info: None }
    }
}

impl InFlight {
    /// Returns a ring for `depth` frames.
    pub(super) fn new(depth: usize) -> Self {
        let frame = || InFlightFrame { info: None, picture: 0, transfer: Transfer::new(), timer: FrameTimer::new() };
        Self { frames: (0..depth.max(1)).map(|_| frame()).collect(), first: 0, len: 0 }
    }

    /// Returns how many frames are in flight.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many frames may be in flight.
    pub(super) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Returns the memory of the next frame, which is not in flight before [`push`](Self::push); `None` if there are as
    /// many in flight as may be.
    pub(super) fn next(&mut self) -> Option<&mut InFlightFrame> {
        let index = (self.first + self.len) % self.frames.len();
        if self.len == self.frames.len() { None } else { self.frames.get_mut(index) }
    }

    /// Puts the [next](Self::next) frame in flight.
    pub(super) fn push(&mut self) {
        self.len = (self.len + 1).min(self.frames.len());
    }

    /// Drops the pictures of all frames in flight, which stay there.
    pub(super) fn lose(&mut self) {
        self.frames.iter_mut().for_each(|frame| frame.info = None);
    }

    /// Takes the oldest frame out of flight; its memory stays as it is until the next is pushed.
    pub(super) fn pop(&mut self) -> Option<&mut InFlightFrame> {
        if self.len == 0 {
            return None;
        }
        let oldest = self.first;
        self.first = (self.first + 1) % self.frames.len();
        self.len -= 1;
        self.frames.get_mut(oldest)
    }
}

//! Keys and values of earlier frames for cached attention: a ring buffer for each call of the UNet.

use crate::engine::pipeline::Pipeline;
use crate::error::Result;
use crate::exec::{FrameKeys, MOST_PAST_FRAMES, Network, Past, Queue};

/// The name in error messages.
const WHAT: &str = "cached attention";

/// Keys and values of earlier frames for each call of the UNet; empty without cached attention.
#[derive(Debug, Default)]
pub(crate) struct AttentionCache {
    calls: Vec<Ring>,
    /// Whether it adopts frames of the cache that it replaces.
    goes_on: bool,
}

/// The frames of one call. A row attends to the same row of earlier frames, which was at the same stage.
#[derive(Debug)]
struct Ring {
    frames: Vec<FrameKeys>,
    /// Number of those, from the first, that contain a frame.
    filled: usize,
    /// The index of the next one to write.
    next: usize,
    /// Number of runs so far.
    clock: u64,
}

impl AttentionCache {
    /// Allocates what `pipeline` needs to replace `base`; `None` if nothing changes.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed, before any of them is allocated.
    pub(super) fn replacing(queue: &dyn Queue, base: Option<&Pipeline>, pipeline: &Pipeline) -> Result<Option<Self>> {
        let (before, room) = (base.map_or(0, Pipeline::cached_frames), pipeline.cached_frames());
        let goes_on = base.is_some_and(|base| pipeline.shares_unet(base));
        if room == before && (goes_on || room == 0) {
            return Ok(None);
        }
        let more = if goes_on { room.saturating_sub(before) } else { room };
        let networks = if room == 0 { &[] } else { pipeline.components.unet().networks() };
        queue.require(pipeline.cached_frame_bytes().saturating_mul(more), WHAT)?;
        let calls = networks.iter().map(|network| Ring::new(&**network, more)).collect::<Result<_>>()?;
        Ok(Some(Self { calls, goes_on }))
    }

    /// Swaps with `old`, and adopts up to `room` of its newest frames if they stay valid. Neither allocates nor
    /// frees: what is no longer needed is left in `old`.
    pub(super) fn swap(&mut self, old: &mut Self, room: usize) {
        if self.goes_on {
            self.calls.iter_mut().zip(&mut old.calls).for_each(|(new, old)| new.take(old, room));
        }
        std::mem::swap(self, old);
    }

    /// Runs the UNet's call number `call` by `run`; every `interval`th run stores its keys and values.
    ///
    /// # Errors
    ///
    /// Those of `run`; stored frames that may be damaged are then discarded.
    pub(super) fn run(&mut self, call: usize, interval: u32, run: impl FnOnce(Past<'_>) -> Result<()>) -> Result<()> {
        match self.calls.get_mut(call) {
            Some(ring) => ring.run(interval, run),
            None => run(Past { frames: &mut [], filled: 0, keep: None }),
        }
    }
}

impl Ring {
    /// Returns a ring without frames, with memory for `room`.
    fn new(network: &dyn Network, room: usize) -> Result<Self> {
        // No later allocation when frames are added or removed.
        let mut frames = Vec::with_capacity(MOST_PAST_FRAMES);
        for _ in 0..room {
            frames.push(network.frame_keys()?);
        }
        Ok(Self { frames, filled: 0, next: 0, clock: 0 })
    }

    /// Takes the newest frames of `old`, up to `room` together with its own empty ones.
    fn take(&mut self, old: &mut Self, room: usize) {
        // The oldest first: once all are filled, that is the one to be overwritten.
        if old.filled == old.frames.len() {
            old.frames.rotate_left(old.next);
        }
        let kept = old.filled.min(room);
        old.frames[..old.filled].rotate_left(old.filled - kept);
        let taken = old.frames.len().min(room);
        // Before its own, which are empty.
        let own = self.frames.len();
        self.frames.extend(old.frames.drain(..taken));
        self.frames.rotate_left(own);
        (self.filled, self.next, self.clock) = (kept, if kept == self.frames.len() { 0 } else { kept }, old.clock);
    }

    fn run(&mut self, interval: u32, run: impl FnOnce(Past<'_>) -> Result<()>) -> Result<()> {
        self.clock += 1;
        let keep = self.clock.is_multiple_of(u64::from(interval.max(1))).then_some(self.next);
        let result = run(Past { frames: &mut self.frames, filled: self.filled, keep });
        if keep.is_some() {
            let room = self.frames.len();
            (self.filled, self.next) =
                if result.is_ok() { ((self.filled + 1).min(room), (self.next + 1) % room.max(1)) } else { (0, 0) };
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::{Error, ErrorKind};

    /// A ring of frame numbers; 0 before anything is stored.
    fn ring(room: usize) -> Ring {
        let mut frames = Vec::with_capacity(MOST_PAST_FRAMES);
        frames.extend((0..room).map(|_| FrameKeys::new(0_u64)));
        Ring { frames, filled: 0, next: 0, clock: 0 }
    }

    /// Runs once as frame `number`; returns the frames that it attends to, newest last.
    fn run(ring: &mut Ring, interval: u32, number: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        let keep = |past: Past<'_>| {
            past.check()?;
            seen = past.frames[..past.filled].iter().map(|frame| *frame.get::<u64>().unwrap()).collect();
            if let Some(keep) = past.keep {
                *past.frames[keep].get_mut::<u64>().unwrap() = number;
            }
            Ok(())
        };
        ring.run(interval, keep).unwrap();
        seen.sort_unstable();
        seen
    }

    #[test]
    fn the_oldest_frame_leaves_and_only_every_nth_is_kept() {
        let mut all = ring(2);
        assert_eq!(
            (1..=5).map(|number| run(&mut all, 1, number)).collect::<Vec<_>>(),
            [vec![], vec![1], vec![1, 2], vec![2, 3], vec![3, 4]]
        );
        let mut some = ring(2);
        (1..=9).for_each(|number| drop(run(&mut some, 3, number)));
        assert_eq!(run(&mut some, 3, 10), [6, 9]);
    }

    #[test]
    fn after_an_error_nothing_damaged_is_looked_at() {
        let mut ring = ring(2);
        (1..=3).for_each(|number| drop(run(&mut ring, 1, number)));
        assert!(ring.run(1, |_| Err(Error::new(ErrorKind::Device, "gone"))).is_err());
        assert_eq!(run(&mut ring, 1, 5), Vec::<u64>::new());
        assert_eq!(run(&mut ring, 1, 6), [5]);
    }

    proptest! {
        #[test]
        fn change_of_capacity_keeps_the_newest(first in 1..=4_usize, second in 1..=4_usize, before in 0..9_u64, after in 0..9_u64) {
            let mut old = ring(first);
            (1..=before).for_each(|number| drop(run(&mut old, 1, number)));
            let mut new = ring(second.saturating_sub(first));
            let memory = new.frames.as_ptr();
            new.take(&mut old, second);
            prop_assert_eq!((new.frames.len(), new.frames.as_ptr()), (second, memory));
            prop_assert_eq!(old.frames.len(), first.saturating_sub(second));
            let mut kept: Vec<u64> = (1..=before).collect();
            kept.drain(..kept.len().saturating_sub(first));
            for number in before + 1..=before + after + 1 {
                kept.drain(..kept.len().saturating_sub(second));
                prop_assert_eq!(&run(&mut new, 1, number), &kept);
                kept.push(number);
            }
        }
    }
}

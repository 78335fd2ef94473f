//! The frames that the UNet looks back to: a ring for each of its calls, which belongs to the engine as the arena does.

use super::pipeline::Pipeline;
use crate::error::Result;
use crate::exec::{FrameKeys, MOST_PAST_FRAMES, Network, Past, memory};
use crate::params::StreamDiffusionParams;

/// What all of it is called in messages.
const WHAT: &str = "the frames that attention looks back to";

/// The frames that each UNet call looks back to; without calls, there is nothing to look back to.
#[derive(Debug, Default)]
pub(crate) struct PastFrames {
    calls: Vec<Ring>,
    /// Whether it goes on with frames of what it replaces.
    goes_on: bool,
}

/// The frames of one call: a row sees those of the same row, which stood at the same stage.
#[derive(Debug)]
struct Ring {
    frames: Vec<FrameKeys>,
    /// How many of them, from the first on, hold a frame.
    filled: usize,
    /// Where the next one goes.
    next: usize,
    /// Runs so far.
    clock: u64,
}

impl PastFrames {
    /// Takes the memory that `pipeline` needs when it comes in the place of `base`; `None` where all stays as it is.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` with the bytes that are needed, before any of them is taken.
    pub(super) fn replacing(base: Option<&Pipeline>, pipeline: &Pipeline) -> Result<Option<Self>> {
        let (before, room) = (base.map_or(0, |base| Self::room(&base.params)), Self::room(&pipeline.params));
        let goes_on = base.is_some_and(|base| pipeline.shares_unet(base));
        if room == before && (goes_on || room == 0) {
            return Ok(None);
        }
        let more = if goes_on { room.saturating_sub(before) } else { room };
        let networks = if room == 0 { &[] } else { pipeline.pieces.unet().networks() };
        memory::require(Self::bytes_of_one(pipeline).saturating_mul(more), WHAT)?;
        let calls = networks.iter().map(|network| Ring::new(&**network, more)).collect::<Result<_>>()?;
        Ok(Some(Self { calls, goes_on }))
    }

    /// How many frames are kept with `params`.
    pub(super) fn room(params: &StreamDiffusionParams) -> usize {
        let settings = &params.cached_attention;
        if settings.enabled { settings.max_frames as usize } else { 0 }
    }

    /// Bytes of one frame that is kept; 0 where none is.
    pub(super) fn bytes_of_one(pipeline: &Pipeline) -> usize {
        let networks = pipeline.pieces.unet().networks().iter();
        networks.map(|network| network.frame_keys_bytes()).fold(0, usize::saturating_add)
    }

    /// Changes places with `old`, and takes the newest of its frames over where they go on: as many as there is `room`
    /// for. Takes no memory and gives none back: what is no longer needed is left in `old`.
    pub(super) fn swap(&mut self, old: &mut Self, room: usize) {
        if self.goes_on {
            self.calls.iter_mut().zip(&mut old.calls).for_each(|(new, old)| new.take(old, room));
        }
        std::mem::swap(self, old);
    }

    /// Runs `network`, the UNet's call number `call`, by `run`; every `interval`th run leaves its keys and values.
    ///
    /// # Errors
    ///
    /// Those of `run`; what the call looks back to is then forgotten where it may be damaged.
    pub(super) fn run(
        &mut self,
        call: usize,
        interval: u32,
        run: impl FnOnce(&mut Past<'_>) -> Result<()>,
    ) -> Result<()> {
        match self.calls.get_mut(call) {
            Some(ring) => ring.run(interval, run),
            None => run(&mut Past { frames: &mut [], filled: 0, keep: None }),
        }
    }
}

impl Ring {
    /// Nothing kept, with memory for `room` frames.
    fn new(network: &dyn Network, room: usize) -> Result<Self> {
        // Frames come and go without another allocation.
        let mut frames = Vec::with_capacity(MOST_PAST_FRAMES);
        for _ in 0..room {
            frames.push(network.frame_keys()?);
        }
        Ok(Self { frames, filled: 0, next: 0, clock: 0 })
    }

    /// Takes the newest frames of `old`, up to `room` in all with the empty ones that it has itself.
    fn take(&mut self, old: &mut Self, room: usize) {
        // The oldest first: once all are filled, that is the one to be overwritten.
        if old.filled == old.frames.len() {
            old.frames.rotate_left(old.next);
        }
        let kept = old.filled.min(room);
        old.frames[..old.filled].rotate_left(old.filled - kept);
        let taken = old.frames.len().min(room);
        // In front of its own, which are empty.
        let own = self.frames.len();
        self.frames.extend(old.frames.drain(..taken));
        self.frames.rotate_left(own);
        (self.filled, self.next, self.clock) = (kept, if kept == self.frames.len() { 0 } else { kept }, old.clock);
    }

    fn run(&mut self, interval: u32, run: impl FnOnce(&mut Past<'_>) -> Result<()>) -> Result<()> {
        self.clock += 1;
        let keep = self.clock.is_multiple_of(u64::from(interval.max(1))).then_some(self.next);
        let result = run(&mut Past { frames: &mut self.frames, filled: self.filled, keep });
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

    /// A ring of frames that hold numbers; 0 before anything is kept.
    fn ring(room: usize) -> Ring {
        let mut frames = Vec::with_capacity(MOST_PAST_FRAMES);
        frames.extend((0..room).map(|_| FrameKeys::new(0_u64)));
        Ring { frames, filled: 0, next: 0, clock: 0 }
    }

    /// Runs once as frame `number`; gives what it looks back to, the newest last.
    fn run(ring: &mut Ring, interval: u32, number: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        let keep = |past: &mut Past<'_>| {
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
        fn another_room_keeps_the_newest(first in 1..=4_usize, second in 1..=4_usize, before in 0..9_u64, after in 0..9_u64) {
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

//! Keys and values of earlier frames for cached attention: a ring buffer for each call of the UNet.

use crate::engine::pipeline::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{FrameKeys, Injection, MOST_PAST_FRAMES, Network, Past, Queue};
use crate::params::CachedAttentionConfig;
use crate::stream::noise::NoiseSource;

/// The name in error messages.
const WHAT: &str = "cached attention";

/// Keys and values of earlier frames for each call of the UNet; empty without cached attention.
#[derive(Debug, Default)]
pub(crate) struct AttentionCache {
    calls: Vec<Ring>,
    /// The order in which tokens are merged; without merging none.
    shuffle: Option<Shuffle>,
    /// Whether it adopts frames of the cache that it replaces.
    goes_on: bool,
}

/// A random order of tokens, another one for each merging.
#[derive(Debug)]
struct Shuffle {
    order: Vec<u32>,
    random: NoiseSource,
}

/// The settings of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheSettings {
    /// The interval at which frames are stored, in frames.
    pub(super) interval: u32,
    /// How tokens of earlier frames are injected.
    pub(super) injection: Injection,
}

impl From<&CachedAttentionConfig> for CacheSettings {
    fn from(params: &CachedAttentionConfig) -> Self {
        let (strength, threshold) =
            (params.feature_injection_strength as f32, params.feature_similarity_threshold as f32);
        Self { interval: params.interval, injection: Injection { strength, threshold } }
    }
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
        let merging = networks.first().filter(|network| network.program().merges_tokens());
        let seed = pipeline.params.seed.iter().next().map_or(0, |(&seed, _)| seed);
        let shuffle = merging
            .map(|network| Shuffle::new(network.program().most_cached_tokens(), NoiseSource::new(seed)))
            .transpose()?;
        Ok(Some(Self { calls, shuffle, goes_on }))
    }

    /// Swaps with `old`, and adopts up to `room` of its newest frames if they stay valid. Neither allocates nor
    /// frees: what is no longer needed is left in `old`.
    pub(super) fn swap(&mut self, old: &mut Self, room: usize) {
        if self.goes_on {
            self.calls.iter_mut().zip(&mut old.calls).for_each(|(new, old)| new.take(old, room));
        }
        std::mem::swap(self, old);
    }

    /// Drops all frames.
    pub(super) fn clear(&mut self) {
        for Ring { filled, next, clock, .. } in &mut self.calls {
            (*filled, *next, *clock) = (0, 0, 0);
        }
    }

    /// Runs the UNet's call number `call` by `run`; every so many runs store their keys and values, as `settings` say.
    ///
    /// # Errors
    ///
    /// Those of `run`; stored frames that may be damaged are then discarded.
    pub(super) fn run(
        &mut self,
        call: usize,
        settings: CacheSettings,
        run: impl FnOnce(Past<'_>) -> Result<()>,
    ) -> Result<()> {
        match self.calls.get_mut(call) {
            Some(ring) => ring.run(settings, self.shuffle.as_mut(), run),
            None => run(Past::default()),
        }
    }
}

impl Shuffle {
    /// Allocates the order of twice as many tokens.
    fn new(tokens: usize, random: NoiseSource) -> Result<Self> {
        let count = u32::try_from(2 * tokens).map_err(|_| {
            let text = format!("tokens to merge: got {tokens}, expected less than 2^31");
            Error::new(ErrorKind::Unsupported, text)
        })?;
        Ok(Self { order: (0..count).collect(), random })
    }

    /// Returns another order.
    fn next(&mut self) -> &[u32] {
        for end in (1..self.order.len()).rev() {
            // In (0, 1].
            let place = self.random.uniform() * (end + 1) as f32;
            self.order.swap(end, (place as usize).min(end));
        }
        &self.order
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

    fn run(
        &mut self,
        CacheSettings { interval, injection }: CacheSettings,
        shuffle: Option<&mut Shuffle>,
        run: impl FnOnce(Past<'_>) -> Result<()>,
    ) -> Result<()> {
        self.clock += 1;
        let keep = self.clock.is_multiple_of(u64::from(interval.max(1))).then_some(self.next);
        let merges = keep.is_some_and(|keep| keep < self.filled);
        let order = shuffle.filter(|_| merges).map(|shuffle| shuffle.next());
        let result = run(Past { frames: &mut self.frames, filled: self.filled, keep, injection, order });
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
            seen = past.frames[..past.filled].iter().map(|frame| *frame.get::<u64>().unwrap()).collect();
            if let Some(keep) = past.keep {
                *past.frames[keep].get_mut::<u64>().unwrap() = number;
            }
            Ok(())
        };
        let settings = CacheSettings { interval, injection: Injection::NONE };
        ring.run(settings, None, keep).unwrap();
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
        let settings = CacheSettings { interval: 1, injection: Injection::NONE };
        assert!(ring.run(settings, None, |_| Err(Error::new(ErrorKind::Device, "gone"))).is_err());
        assert_eq!(run(&mut ring, 1, 5), Vec::<u64>::new());
        assert_eq!(run(&mut ring, 1, 6), [5]);
    }

    #[test]
    fn each_order_of_tokens_is_another_permutation_and_follows_from_the_seed() {
        let orders = |seed| {
            let mut shuffle = Shuffle::new(50, NoiseSource::new(seed)).unwrap();
            [0; 4].map(|_| shuffle.next().to_vec())
        };
        let (some, others) = (orders(1), orders(2));
        assert_eq!(some, orders(1));
        for (i, order) in some.iter().chain(&others).enumerate() {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..100));
            assert!(some.iter().chain(&others).skip(i + 1).all(|other| other != order));
        }
    }

    #[test]
    fn orders_of_tokens_are_those_of_the_reference() {
        // Of tests/golden/generate/injection.py, the first and the fourth.
        let mut shuffle = Shuffle::new(64, NoiseSource::new(20_240_618)).unwrap();
        let orders = [0; 4].map(|_| shuffle.next()[..12].to_vec());
        assert_eq!(orders[0], [28, 19, 61, 66, 17, 46, 63, 95, 74, 43, 21, 11]);
        assert_eq!(orders[3], [94, 108, 24, 7, 106, 83, 22, 103, 56, 70, 1, 105]);
    }

    #[test]
    fn tokens_are_merged_only_with_those_of_a_stored_frame() {
        let mut shuffle = Shuffle::new(2, NoiseSource::new(1)).unwrap();
        let mut ring = ring(1);
        let mut merges = |interval| {
            let mut merges = false;
            let settings = CacheSettings { interval, injection: Injection::NONE };
            let run = |past: Past<'_>| {
                merges = past.merged().is_some();
                Ok(())
            };
            ring.run(settings, Some(&mut shuffle), run).unwrap();
            merges
        };
        assert_eq!([2, 2, 2, 2, 2, 1].map(&mut merges), [false, false, false, true, false, true]);
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

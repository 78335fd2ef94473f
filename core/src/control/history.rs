//! The embedded control images of the frames in flight, for streams in which each row uses its own frame's.

use crate::error::Result;
use crate::exec::{Buffer, Queue, View, ViewMut};

/// The last embeddings, one for each stage: the frame that enters has the newest, the one at stage `i` that of `i`
/// frames before.
#[derive(Debug, Default)]
pub struct History {
    /// Elements of one embedding.
    len: usize,
    slots: Vec<Buffer>,
    /// The slot of the frame that enters; those after it hold ever older frames.
    head: usize,
    /// Whether the other slots contain frames.
    primed: bool,
}

impl History {
    /// Allocates `stages` embeddings of `len` elements each.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub fn new(queue: &dyn Queue, len: usize, stages: usize) -> Result<Self> {
        let slots = (0..stages).map(|_| queue.buffer(len)).collect::<Result<_>>()?;
        Ok(Self { len, slots, head: 0, primed: false })
    }

    /// Takes over the frames in flight, and leaves in `old` what is not needed. Those at stages that `old` has keep
    /// their images; other stages have the newest frame's, as the stream itself does. Images of another size are
    /// dropped. A history without memory adopts all unchanged.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn take_over(&mut self, queue: &dyn Queue, old: &mut Self) -> Result<()> {
        let (stages, had, len) = (self.slots.len(), old.slots.len(), self.len);
        if self.slots.is_empty() || (len, stages) == (old.len, had) {
            std::mem::swap(self, old);
        } else if len == old.len && old.primed {
            for stage in 1..stages {
                let from = old.at(if stage < had { stage } else { 1 });
                queue.copy(from, self.slots[stage].view_mut())?;
            }
            (self.head, self.primed) = (0, true);
        }
        Ok(())
    }

    /// The slot of `stage`.
    fn slot(&self, stage: usize) -> usize {
        (self.head + if self.primed { stage } else { 0 }) % self.slots.len().max(1)
    }

    /// Drops all frames: the next one fills every stage.
    pub fn reset(&mut self) {
        self.primed = false;
    }

    /// Returns the elements for the embedding of the frame that enters; none without stages.
    pub fn newest(&mut self) -> ViewMut<'_> {
        let slot = self.slot(0);
        self.slots.get_mut(slot).map(Buffer::view_mut).unwrap_or_default()
    }

    /// Returns the embedding of the frame at `stage`; no elements without stages.
    pub fn at(&self, stage: usize) -> View<'_> {
        self.slots.get(self.slot(stage)).map(Buffer::view).unwrap_or_default()
    }

    /// Moves every frame to the next stage; the slot of the oldest is free for the next. It is not called for a frame that
    /// failed, which is thereby left out.
    ///
    /// # Errors
    ///
    /// Those of the device.
    pub fn advance(&mut self, queue: &dyn Queue) -> Result<()> {
        let stages = self.slots.len();
        if !self.primed {
            let (before, rest) = self.slots.split_at_mut(self.head.min(stages));
            if let Some((newest, after)) = rest.split_first_mut() {
                for slot in before.iter_mut().chain(after) {
                    queue.copy(newest.view(), slot.view_mut())?;
                }
            }
            self.primed = true;
        }
        self.head = (self.head + stages.saturating_sub(1)) % stages.max(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::HostQueue;

    /// Adds frame `number`; returns the frames of all stages.
    fn step(history: &mut History, number: usize) -> Vec<f32> {
        history.newest().host().unwrap().fill(number as f32);
        let seen = (0..history.slots.len()).map(|stage| history.at(stage).host().unwrap()[1]).collect();
        history.advance(&HostQueue).unwrap();
        seen
    }

    fn history(stages: usize) -> History {
        History::new(&HostQueue, 2, stages).unwrap()
    }

    fn grown(mut old: History, len: usize, stages: usize) -> History {
        let mut history = History::new(&HostQueue, len, stages).unwrap();
        history.take_over(&HostQueue, &mut old).unwrap();
        history
    }

    #[test]
    fn each_stage_has_its_own_frame_and_the_first_frame_fills_all() {
        let mut history = history(3);
        assert_eq!(step(&mut history, 1), [1.0, 1.0, 1.0]);
        assert_eq!(step(&mut history, 2), [2.0, 1.0, 1.0]);
        assert_eq!(step(&mut history, 3), [3.0, 2.0, 1.0]);
        assert_eq!(step(&mut history, 4), [4.0, 3.0, 2.0]);
        history.reset();
        assert_eq!(step(&mut history, 5), [5.0, 5.0, 5.0]);
    }

    #[test]
    fn a_frame_that_fails_is_left_out() {
        let mut history = history(3);
        step(&mut history, 1);
        step(&mut history, 2);
        history.newest().host().unwrap().fill(99.0);
        assert_eq!(step(&mut history, 3), [3.0, 2.0, 1.0]);
    }

    #[test]
    fn new_stages_have_the_newest_frame_and_old_ones_leave() {
        for first in [1, 2, 3] {
            let mut history = history(first);
            (1..=4).for_each(|number| drop(step(&mut history, number)));
            let mut history = grown(history, 2, 4);
            let expected: Vec<f32> = (0..4).map(|stage| if stage < first { 5.0 - stage as f32 } else { 4.0 }).collect();
            assert_eq!(step(&mut history, 5), expected, "{first}");
            let mut history = grown(history, 2, 2);
            assert_eq!(step(&mut history, 6), [6.0, 5.0]);
            let mut history = grown(history, 2, 1);
            assert_eq!(step(&mut history, 7), [7.0]);
        }
    }

    #[test]
    fn history_without_memory_adopts_everything() {
        let mut old = history(2);
        step(&mut old, 1);
        let mut history = History::default();
        history.take_over(&HostQueue, &mut old).unwrap();
        assert_eq!(step(&mut history, 2), [2.0, 1.0]);
    }

    #[test]
    fn embeddings_of_another_size_forget_the_frames() {
        let mut history = history(2);
        step(&mut history, 1);
        let mut history = grown(history, 3, 2);
        assert_eq!(step(&mut history, 2), [2.0, 2.0]);
    }

    #[test]
    fn no_stage_is_no_place() {
        let mut history = history(0);
        history.advance(&HostQueue).unwrap();
        assert!(history.newest().is_empty() && history.at(1).is_empty());
    }
}

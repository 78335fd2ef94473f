//! The embedded control images of the frames in flight, where each row is to have its own frame's.

use crate::error::{Error, ErrorKind, Result};

/// The last embeddings, one for each stage: the frame that enters has the newest, the one at stage `i` that of `i`
/// frames before.
#[derive(Debug, Default)]
pub struct History {
    /// Numbers of one embedding.
    len: usize,
    slots: Vec<f32>,
    /// The slot of the frame that enters; those after it hold ever older frames.
    head: usize,
    /// Whether the other slots hold anything.
    primed: bool,
}

impl History {
    /// Makes room for `stages` embeddings of `len` numbers each.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub fn with_room(len: usize, stages: usize) -> Result<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(len.saturating_mul(stages)).map_err(|error| {
            let text = format!("no memory for {stages} embedded control images of {len} numbers");
            Error::new(ErrorKind::OutOfMemory, text).with_source(error)
        })?;
        slots.resize(len * stages, 0.0);
        Ok(Self { len, slots, head: 0, primed: false })
    }

    /// Takes over the frames in flight. Those at stages that there were before keep their images; stages that come new
    /// have the newest frame's, as the stream itself does. Images of another size are forgotten. What has no room takes
    /// over all as it is.
    pub fn take_over(&mut self, old: &mut Self) {
        let (stages, had, len) = (self.stages(), old.stages(), self.len);
        if self.slots.is_empty() || (len, stages) == (old.len, had) {
            std::mem::swap(self, old);
        } else if len == old.len && old.primed {
            for stage in 1..stages {
                let from = old.slot(if stage < had { stage } else { 1 });
                self.slots[stage * len..(stage + 1) * len].copy_from_slice(&old.slots[from]);
            }
            (self.head, self.primed) = (0, true);
        }
    }

    fn stages(&self) -> usize {
        self.slots.len().checked_div(self.len).unwrap_or(0)
    }

    /// Where the embedding of `stage` lies.
    fn slot(&self, stage: usize) -> std::ops::Range<usize> {
        let stages = self.stages();
        if stages == 0 {
            return 0..0;
        }
        let slot = (self.head + if self.primed { stage } else { 0 }) % stages;
        slot * self.len..(slot + 1) * self.len
    }

    /// Forgets all frames: the next one counts for every stage.
    pub fn reset(&mut self) {
        self.primed = false;
    }

    /// Returns the place for the embedding of the frame that enters.
    pub fn newest(&mut self) -> &mut [f32] {
        let slot = self.slot(0);
        &mut self.slots[slot]
    }

    /// Returns the embedding of the frame at `stage`.
    pub fn at(&self, stage: usize) -> &[f32] {
        &self.slots[self.slot(stage)]
    }

    /// Moves every frame one stage on; the place of the oldest is free for the next. A frame that failed is left out by
    /// leaving this out.
    pub fn advance(&mut self) {
        let stages = self.stages();
        if !self.primed {
            let newest = self.slot(0);
            for stage in (0..stages).filter(|&stage| stage != self.head) {
                self.slots.copy_within(newest.clone(), stage * self.len);
            }
            self.primed = true;
        }
        self.head = (self.head + stages.saturating_sub(1)) % stages.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes frame `number` in and tells which frames the stages see.
    fn step(history: &mut History, number: usize) -> Vec<f32> {
        history.newest().fill(number as f32);
        let seen = (0..history.stages()).map(|stage| history.at(stage)[1]).collect();
        history.advance();
        seen
    }

    fn history(stages: usize) -> History {
        History::with_room(2, stages).unwrap()
    }

    fn grown(mut old: History, len: usize, stages: usize) -> History {
        let mut history = History::with_room(len, stages).unwrap();
        history.take_over(&mut old);
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
        history.newest().fill(99.0);
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
    fn without_room_of_its_own_it_takes_over_all() {
        let mut old = history(2);
        step(&mut old, 1);
        let mut history = History::default();
        history.take_over(&mut old);
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
        history.advance();
        assert!(history.newest().is_empty() && history.at(1).is_empty());
    }
}

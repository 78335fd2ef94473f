//! Pairs pictures with frames: exactly one each, in order, although pictures leave the engine later.
//!
//! A picture leaves the engine some calls after its frame entered. The first calls return pictures of copies of the
//! first frame, which fill the stream batch; at the end, and before a change of the delay, the last frame enters again
//! until all frames in flight have left. Pictures of copies are dropped. A frame that the similar-image filter skips
//! does not enter, and gets the previous picture again.

use std::collections::VecDeque;

/// Frames that entered, and whose pictures have not left yet.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// Calls of the engine so far; the engine names a picture's source by them.
    calls: u64,
    /// Pictures still to be dropped, since they are of the copies that filled the stream; `None` until it is filled.
    copies: Option<usize>,
    // Invariant: in the order of the frames.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    call: u64,
    skipped: bool,
}

/// The pictures to write after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Writes {
    /// Whether the picture belongs to the next frame.
    pub(super) new: bool,
    /// The number of frames after that which get the last written picture again.
    pub(super) repeats: usize,
}

/// The result of a call of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallResult {
    /// A picture of the frame of that call.
    Of(u64),
    /// The frame of this call itself, which did not enter the stream.
    Passed,
    /// The last picture again, since the frame of this call is too similar.
    Again,
}

impl Pairing {
    /// Whether the pictures of some frames are still to come.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Records that all pictures have left, and that the stream batch holds copies: it kept them, or the next frame
    /// will fill it.
    pub(super) fn emptied(&mut self) {
        self.copies = None;
    }

    /// Records a call with the next frame, in a stream of `delay`.
    pub(super) fn frame(&mut self, came: CallResult, delay: usize) -> Writes {
        self.waiting.push_back(Waiting { call: self.calls, skipped: came == CallResult::Again });
        self.copy(came, delay)
    }

    /// Records a call with the last frame again, in a stream of `delay`.
    pub(super) fn copy(&mut self, came: CallResult, delay: usize) -> Writes {
        let this = self.calls;
        self.calls += 1;
        let new = match came {
            CallResult::Of(call) => {
                let copies = self.copies.get_or_insert(delay);
                if *copies > 0 {
                    *copies -= 1;
                    false
                } else {
                    self.is_next(call)
                }
            }
            CallResult::Passed => self.is_next(this),
            CallResult::Again => false,
        };
        let mut repeats = 0;
        while self.waiting.pop_front_if(|next| next.skipped).is_some() {
            repeats += 1;
        }
        Writes { new, repeats }
    }

    /// Whether the next frame is the one of `call`; it is then removed.
    fn is_next(&mut self, call: u64) -> bool {
        self.waiting.pop_front_if(|next| next.call == call && !next.skipped).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Writes = Writes { new: true, repeats: 0 };
    const NONE: Writes = Writes { new: false, repeats: 0 };

    #[test]
    fn without_delay_each_call_gives_the_picture_of_its_frame() {
        let mut pairing = Pairing::default();
        for call in 0..3 {
            assert_eq!(pairing.frame(CallResult::Of(call), 0), NEW);
        }
        assert!(!pairing.waits());
    }

    #[test]
    fn with_a_delay_of_two_the_first_two_pictures_are_of_copies_and_the_last_two_come_late() {
        let mut pairing = Pairing::default();
        let frames = [CallResult::Of(0), CallResult::Of(0), CallResult::Of(0), CallResult::Of(1)]
            .map(|came| pairing.frame(came, 2));
        assert_eq!(frames, [NONE, NONE, NEW, NEW]);
        assert_eq!([CallResult::Of(2), CallResult::Of(3)].map(|came| pairing.copy(came, 2)), [NEW, NEW]);
        assert!(!pairing.waits());
    }

    #[test]
    fn after_draining_pictures_of_copies_are_dropped() {
        let mut pairing = Pairing::default();
        assert_eq!(pairing.frame(CallResult::Of(0), 1), NONE);
        assert_eq!(pairing.copy(CallResult::Of(0), 1), NEW);
        assert!(!pairing.waits());
        // The delay increases to two: the copy of call 1 is returned twice, then frame 1, which was submitted with call
        // 2.
        assert_eq!([CallResult::Of(1), CallResult::Of(1)].map(|came| pairing.frame(came, 2)), [NONE, NONE]);
        assert_eq!([CallResult::Of(2), CallResult::Of(3)].map(|came| pairing.copy(came, 2)), [NEW, NEW]);
    }

    #[test]
    fn refilled_stream_returns_copies_again() {
        let mut pairing = Pairing::default();
        assert_eq!(pairing.frame(CallResult::Of(0), 0), NEW);
        pairing.emptied();
        assert_eq!([CallResult::Of(1), CallResult::Of(1)].map(|came| pairing.frame(came, 1)), [NONE, NEW]);
        assert_eq!(pairing.copy(CallResult::Of(2), 1), NEW);
    }

    #[test]
    fn a_skipped_frame_gets_the_picture_before_it() {
        let mut pairing = Pairing::default();
        assert_eq!(pairing.frame(CallResult::Of(0), 1), NONE);
        assert_eq!(pairing.frame(CallResult::Again, 1), NONE);
        assert_eq!(pairing.frame(CallResult::Again, 1), NONE);
        assert_eq!(pairing.frame(CallResult::Of(0), 1), Writes { new: true, repeats: 2 });
        assert_eq!(pairing.copy(CallResult::Again, 1), NONE);
        assert_eq!(pairing.copy(CallResult::Of(3), 1), NEW);
        assert!(!pairing.waits());
        assert_eq!(pairing.frame(CallResult::Again, 1), Writes { new: false, repeats: 1 });
    }

    #[test]
    fn a_frame_that_is_passed_does_not_fill_the_stream() {
        let mut pairing = Pairing::default();
        assert_eq!(pairing.frame(CallResult::Passed, 1), NEW);
        assert_eq!([CallResult::Of(1), CallResult::Of(1)].map(|came| pairing.frame(came, 1)), [NONE, NEW]);
        assert_eq!(pairing.copy(CallResult::Of(2), 1), NEW);
    }
}

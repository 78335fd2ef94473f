//! The time that the stages of a frame take, on the queue of the executor.

use std::time::{Duration, Instant};

use crate::exec::{Mark, Queue};
use crate::telemetry::Timings;

/// A stage of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Stage {
    Preprocess,
    Encode,
    /// Control images, before the UNet.
    Control,
    /// ControlNets, within the time of the UNet.
    ControlInUnet,
    Unet,
    Decode,
    Postprocess,
}

/// The stages of a frame, between points of the queue. It keeps its memory for the next frame.
#[derive(Debug)]
pub(in crate::engine) struct FrameTimer {
    start: Instant,
    spans: Vec<(Stage, Mark, Mark)>,
}

impl FrameTimer {
    /// Returns a timer with memory for the spans of a frame with some ControlNets.
    pub(in crate::engine) fn new() -> Self {
        Self { start: Instant::now(), spans: Vec::with_capacity(64) }
    }

    /// Starts the time of a frame.
    pub(in crate::engine) fn start(&mut self) {
        self.start = Instant::now();
        self.spans.clear();
    }

    /// Ends a stage that began at `from`.
    pub(in crate::engine) fn end(&mut self, queue: &dyn Queue, stage: Stage, from: Mark) {
        self.spans.push((stage, from, queue.mark()));
    }

    /// Returns the time of each stage, once all are finished; that of the whole frame ends now.
    pub(in crate::engine) fn timings(&self, queue: &dyn Queue) -> Timings {
        let of = |stage: Stage| -> Duration {
            let spans = self.spans.iter().filter(|(of, ..)| *of == stage);
            spans.map(|(_, from, to)| queue.elapsed(from, to)).sum()
        };
        let within = of(Stage::ControlInUnet);
        Timings {
            preprocess: Timings::micros(of(Stage::Preprocess)),
            encode: Timings::micros(of(Stage::Encode)),
            control: Timings::micros(of(Stage::Control) + within),
            unet: Timings::micros(of(Stage::Unet).saturating_sub(within)),
            decode: Timings::micros(of(Stage::Decode)),
            postprocess: Timings::micros(of(Stage::Postprocess)),
            total: Timings::micros(self.start.elapsed()),
        }
    }
}

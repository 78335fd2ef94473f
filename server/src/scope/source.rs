//! The source of frames of a Scope session: its client's video, or none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dreamframe::frame::{FrameView, Stamp};
use dreamframe::transport::parameters::InputMode;
use dreamframe::transport::{FrameSink, now};
use dreamframe::{PixelFormat, StreamDiffusionParams, Transition};
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::channel::ControlledStream;
use crate::error::ApiResult;
use crate::streams::Stream;

/// The interval of generated frames; a slower engine takes the newest.
const PERIOD: Duration = Duration::from_millis(33);
/// The side of a generated frame, in pixels; the engine resizes it.
const SIDE: u32 = 64;

/// The frames and the parameters of a session.
#[derive(Debug)]
pub(crate) struct Source {
    stream: Arc<Stream>,
    /// Whether frames of the client are ignored.
    alone: AtomicBool,
    /// Generates frames if there is no video of the client.
    maker: Mutex<Option<Maker>>,
}

/// A task that is aborted on drop.
#[derive(Debug)]
struct Maker(AbortHandle);

impl Drop for Maker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Source {
    /// Takes frames for `stream`, from the client's video at first.
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        Self { stream, alone: AtomicBool::new(false), maker: Mutex::default() }
    }

    /// Stops generating frames.
    pub(crate) fn stop(&self) {
        *self.maker.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl FrameSink for Source {
    fn frame(&self, frame: &FrameView<'_>) {
        if !self.alone.load(Ordering::Relaxed) {
            self.stream.sink().frame(frame);
        }
    }

    fn refused(&self, error: &dreamframe::Error) {
        self.stream.sink().refused(error);
    }
}

impl ControlledStream for Source {
    fn params(&self) -> StreamDiffusionParams {
        self.stream.params()
    }

    fn update(&self, values: Map<String, Value>) -> ApiResult<StreamDiffusionParams> {
        self.stream.update_values(values)
    }

    fn transition(&self, transition: &Transition) -> ApiResult<()> {
        self.stream.transition(transition)
    }

    fn rebuild_wait(&self, values: &Map<String, Value>, now: Instant) -> Duration {
        self.stream.rebuild_wait(values, now)
    }

    fn set_paused(&self, paused: bool) {
        self.stream.set_paused(paused);
    }

    fn set_input(&self, mode: InputMode) {
        let alone = mode == InputMode::Text;
        self.alone.store(alone, Ordering::Relaxed);
        let mut maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner);
        match (alone, maker.is_some()) {
            (true, false) => *maker = Some(make_frames(self.stream.sink())),
            (false, true) => *maker = None,
            _ => {}
        }
    }

    fn notices(&self) -> broadcast::Receiver<String> {
        self.stream.subscribe_notices()
    }
}

/// Sends grey frames to `sink`; the first, noisiest step removes all of their content.
fn make_frames(sink: Arc<dyn FrameSink>) -> Maker {
    let pixels = vec![128; (SIDE * SIDE * 3) as usize];
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // Cannot fail: the buffer has the size of the format.
            let Ok(frame) = FrameView::packed(PixelFormat::Rgb8, SIDE, SIDE, &pixels) else { return };
            sink.frame(&frame.with_stamp(Stamp { timestamp: now(), ..Stamp::default() }));
        }
    });
    Maker(task.abort_handle())
}

//! HLS: segments of a stream's pictures and sound, made while they are requested, and kept in memory.
//!
//! It subscribes to the stream as a viewer does, and requests a key frame every second, since a segment starts with
//! one.

mod fmp4;
pub(crate) mod fuzz_api;
mod playlist;
mod segmenter;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dreamframe::Result;
use dreamframe::transport::{VideoCodec, now};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::playlist::Window;
use self::segmenter::Segmenter;
use crate::outputs::{Source, Subscriptions};

/// The target duration of a segment.
const SEGMENT: Duration = Duration::from_secs(1);

/// The time without a request after which there are no viewers.
const IDLE: Duration = Duration::from_secs(30);

/// The interval of checking the clock.
const TICK: Duration = Duration::from_millis(100);

/// The time for which the first request waits for the first segment: players do not retry after a 404.
const FIRST: Duration = Duration::from_secs(5);

/// The HLS form of one stream. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Hls {
    source: Source,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    // Counts segments; never closed.
    segments: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<tokio::task::AbortHandle>,
    asked: Option<Instant>,
    window: Window,
    // Segment numbers continue after a restart: players and caches may know the old ones.
    next: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hls {
    /// Makes it without viewers.
    pub(crate) fn new(source: Source) -> Self {
        Self { source, shared: Arc::new(Shared { state: Mutex::default(), segments: watch::Sender::new(0) }) }
    }

    /// Returns the playlist, and starts to make segments; `None` if none is ready in time.
    ///
    /// # Errors
    ///
    /// Those of [`Egress::subscribe`].
    pub(crate) async fn playlist(&self) -> Result<Option<String>> {
        let mut segments = self.shared.segments.subscribe();
        self.start()?;
        let wait = async {
            loop {
                segments.borrow_and_update();
                if let Some(text) = self.shared.state().window.playlist() {
                    return Some(text);
                }
                segments.changed().await.ok()?;
            }
        };
        Ok(tokio::time::timeout(FIRST, wait).await.ok().flatten())
    }

    /// Returns a file that the playlist names, and its type.
    pub(crate) fn file(&self, name: &str) -> Option<(Bytes, &'static str)> {
        let mut state = self.shared.state();
        let file = state.window.file(name)?;
        state.asked = Some(Instant::now());
        Some(file)
    }

    fn start(&self) -> Result<()> {
        let mut state = self.shared.state();
        state.asked = Some(Instant::now());
        if state.running.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let segmenter = Segmenter::new(state.next, (now(), SystemTime::now()));
        let run = run(Arc::clone(&self.shared), self.source.clone(), self.source.subscribe()?, segmenter);
        state.running = Some(tokio::spawn(run).abort_handle());
        Ok(())
    }
}

impl Drop for Hls {
    fn drop(&mut self) {
        if let Some(task) = &self.shared.state().running {
            task.abort();
        }
    }
}

/// Makes segments while they are requested.
async fn run(shared: Arc<Shared>, source: Source, (mut pictures, mut sounds): Subscriptions, mut segmenter: Segmenter) {
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut key = Instant::now();
    loop {
        tokio::select! {
            unit = pictures.next() => {
                let Some(unit) = unit else { break };
                if unit.key {
                    key = Instant::now();
                }
                match segmenter.push(unit) {
                    Ok(Some(segment)) => {
                        let mut state = shared.state();
                        state.window.push(segment);
                        state.next = segmenter.next_number();
                        drop(state);
                        shared.segments.send_modify(|count| *count += 1);
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a segment could not be written"),
                }
            }
            sound = sounds.next() => segmenter.push_sound(sound),
            _ = clock.tick() => {
                if shared.state().asked.is_none_or(|asked| asked.elapsed() > IDLE) {
                    break;
                }
            }
        }
        if key.elapsed() >= SEGMENT {
            source.egress.request_key_frame(VideoCodec::H264);
        }
    }
    let mut state = shared.state();
    state.window = Window::default();
    state.running = None;
}

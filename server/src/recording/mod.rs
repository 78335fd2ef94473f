//! Recordings: the last seconds of a stream at any time, and from a start to an end, with sound. Kept in memory, as they
//! were encoded.

mod movie;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dreamframe::Result;
use dreamframe::transport::VideoCodec;

use self::ring::{Keep, Ring};
use crate::outputs::{Source, Subscriptions};

/// The longest duration that is kept of a stream at any time.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// The maximum number of bytes kept of a stream; ten seconds at 20 Mbit/s.
const RING_BYTES: usize = 25 << 20;

/// The longest recording from one moment to another, in time and bytes.
const RECORDING: Duration = Duration::from_secs(600);
const RECORDING_BYTES: usize = 128 << 20;

/// How far apart key frames are: a recording starts with one.
const KEY_FRAMES: Duration = Duration::from_secs(2);

/// Records a stream. Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    ring: Arc<Mutex<Ring>>,
    task: tokio::task::AbortHandle,
}

impl Recorder {
    /// Keeps the last [`LONGEST`] of a stream from now on.
    ///
    /// # Errors
    ///
    /// Those of [`Egress::subscribe`].
    pub(crate) fn last_seconds(source: &Source) -> Result<Self> {
        Self::start(source, Ring::new(Keep::Newest(LONGEST), RING_BYTES))
    }

    /// Records from now on, for ten minutes or 128 MiB at most.
    ///
    /// # Errors
    ///
    /// Those of [`Egress::subscribe`].
    pub(crate) fn from_now(source: &Source) -> Result<Self> {
        Self::start(source, Ring::new(Keep::Oldest(RECORDING), RECORDING_BYTES))
    }

    fn start(source: &Source, ring: Ring) -> Result<Self> {
        let subscriptions = source.subscribe()?;
        let ring = Arc::new(Mutex::new(ring));
        let task = tokio::spawn(run(Arc::clone(&ring), source.clone(), subscriptions)).abort_handle();
        Ok(Self { ring, task })
    }

    /// Returns the last `time` as an MP4 file, from the key frame before on; all of it if less is available.
    ///
    /// # Errors
    ///
    /// `NotFound` if no picture was recorded yet.
    pub(crate) async fn movie(&self, time: Duration) -> Result<Vec<u8>> {
        let (units, sounds) = lock(&self.ring).last(time);
        let made = tokio::task::spawn_blocking(move || movie::movie(&units, &sounds)).await;
        made.unwrap_or_else(|error| Err(dreamframe::Error::new(dreamframe::ErrorKind::Internal, error.to_string())))
    }

    /// Returns whether pictures are still recorded.
    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Adds no more pictures; those recorded stay.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(ring: Arc<Mutex<Ring>>, source: Source, (mut pictures, mut sounds): Subscriptions) {
    let mut key = Instant::now();
    loop {
        tokio::select! {
            unit = pictures.next() => {
                let Some(unit) = unit else { return };
                if unit.key {
                    key = Instant::now();
                } else if key.elapsed() >= KEY_FRAMES {
                    source.egress.request_key_frame(VideoCodec::H264);
                }
                if !lock(&ring).push(unit) {
                    return;
                }
            }
            sound = sounds.next() => lock(&ring).push_sound(sound),
        }
    }
}

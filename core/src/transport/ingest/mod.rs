//! Decodes the video of one publisher to frames.

mod backlog;
mod receiver;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::backlog::Backlog;
use self::receiver::Receiver;
use super::codec::{self, Decoder};
use super::media::{AccessUnit, FrameSink, VideoCodec, now};
use super::rate::TokenBucket;
use super::rtp::limits::MAX_SIDE;
use super::rtp::{Assembled, RtpPacket};
use crate::frame::{FrameView, Stamp, Timestamp};
use crate::setters::setters;
use crate::telemetry::{Meter, Rate};
use crate::{Error, ErrorKind, Result};

/// Receives the video of one publisher and passes frames to a sink, decoded on a thread of its own.
///
/// Clones share it; the thread ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Ingest {
    hold: Arc<HandleGuard>,
}

/// Options of an [`Ingest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestOptions {
    /// The longest side of a picture in pixels, from 16 to 4096 (rounded up to 16 for H.264). Video that announces more is
    /// refused before memory is taken for it, as is H.264 with more than 4 reference frames whose pictures would have more
    /// than 64 MiB together. Default: 1920.
    pub max_side: u32,
}

setters! {
    IngestOptions:
    with_max_side, max_side: u32;
}

impl IngestOptions {
    /// The sides that [`max_side`](Self::max_side) may name.
    pub const SIDES: std::ops::RangeInclusive<u32> = 16..=4096;
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self { max_side: MAX_SIDE }
    }
}

/// Statistics of an [`Ingest`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IngestStats {
    /// Packets received.
    pub packets: Rate,
    /// Packets lost, or too late.
    pub lost: u64,
    /// Encoded pictures passed to the decoder.
    pub units: u64,
    /// Frames that were decoded.
    pub frames: Rate,
    /// Frames that were decoded but dropped, because newer ones waited.
    pub skipped: u64,
    /// Encoded pictures that could not be decoded.
    pub failed: u64,
    /// Number of key frame requests.
    pub key_frame_requests: u64,
    /// The jitter of the packets, in milliseconds, as RFC 3550 defines it.
    pub jitter_ms: f64,
    /// When the last frame was decoded, on the clock of [`now`](super::now); 0 before the first. Not serialised.
    #[serde(skip)]
    pub last_frame_at: Timestamp,
    /// The last frame's width in pixels; 0 before the first.
    pub width: u32,
    /// The last frame's height in pixels; 0 before the first.
    pub height: u32,
}

impl Ingest {
    /// Starts to decode, with the usual options.
    ///
    /// # Errors
    ///
    /// Those of [`start_with`](Self::start_with).
    pub fn start(codec: VideoCodec, sink: Arc<dyn FrameSink>) -> Result<Self> {
        Self::start_with(codec, sink, IngestOptions::default())
    }

    /// Starts to decode.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a codec that is not built in, `InvalidArgument` for options out of their range, `Device` if no
    /// thread can be started.
    pub fn start_with(codec: VideoCodec, sink: Arc<dyn FrameSink>, options: IngestOptions) -> Result<Self> {
        let sides = IngestOptions::SIDES;
        if !sides.contains(&options.max_side) {
            let (least, most) = (sides.start(), sides.end());
            let text = format!("max_side: got {}, expected {least} to {most}", options.max_side);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let decoder = codec::decoder(codec, options.max_side)?;
        let shared = Arc::new(Shared {
            receiver: Mutex::new(Receiver::new(codec)),
            backlog: Backlog::new(),
            counters: Counters::new(),
        });
        let worker = Worker {
            shared: shared.clone(),
            decoder,
            sink,
            refusals: TokenBucket::new(REFUSALS_PER_SECOND, 1),
            skipping: Skipping::default(),
        };
        let thread = Builder::new().name("dreamframe-decode".to_owned()).spawn(move || worker.run());
        thread
            .map_err(|error| Error::new(ErrorKind::Device, "failed to start the decoder thread").with_source(error))?;
        Ok(Self { hold: Arc::new(HandleGuard { shared }) })
    }

    fn shared(&self) -> &Shared {
        &self.hold.shared
    }

    /// Takes a packet, in any order. Does not wait.
    pub fn packet(&self, packet: RtpPacket) {
        self.shared().counters.packets.mark(Instant::now());
        self.receive(|receiver, now| receiver.packet(packet, now));
    }

    /// Gives up on packets that do not arrive. To be called every 10 to 20 ms.
    pub fn tick(&self) {
        self.receive(Receiver::advance);
    }

    fn receive(&self, receive: impl FnOnce(&mut Receiver, Timestamp)) {
        let mut receiver = self.shared().receiver();
        receive(&mut receiver, now());
        while let Some(assembled) = receiver.next() {
            match assembled {
                Assembled::Unit(unit) => self.access_unit(unit),
                Assembled::Damaged => self.shared().backlog.lost(),
            }
        }
    }

    /// Takes a complete encoded picture, from a source without packets.
    pub fn access_unit(&self, unit: AccessUnit) {
        if self.shared().backlog.put(unit) {
            self.shared().counters.units.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns whether to request a key frame from the publisher now; true at most every 300 ms, until one has arrived.
    pub fn wants_key_frame(&self) -> bool {
        let wants = self.shared().backlog.needs_key() && self.shared().receiver().asks(now());
        if wants {
            self.shared().counters.key_frame_requests.fetch_add(1, Ordering::Relaxed);
        }
        wants
    }

    /// Returns the statistics.
    pub fn stats(&self) -> IngestStats {
        let (counters, now) = (&self.shared().counters, Instant::now());
        let (lost, jitter_ms) = {
            let receiver = self.shared().receiver();
            (receiver.lost(), receiver.jitter_ms())
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let size = count(&counters.size);
        IngestStats {
            packets: counters.packets.rate(now),
            lost,
            units: count(&counters.units),
            frames: counters.frames.rate(now),
            skipped: count(&counters.skipped),
            failed: count(&counters.failed),
            key_frame_requests: count(&counters.key_frame_requests),
            jitter_ms,
            last_frame_at: Timestamp(count(&counters.last_frame_at)),
            width: (size >> 32) as u32,
            height: size as u32,
        }
    }
}

/// Closes the backlog, and so ends the thread, with the last handle. It is not waited for.
#[derive(Debug)]
struct HandleGuard {
    shared: Arc<Shared>,
}

impl Drop for HandleGuard {
    fn drop(&mut self) {
        self.shared.backlog.close();
    }
}

/// The state that the receiving task and the decoding thread share.
#[derive(Debug)]
struct Shared {
    /// Used by one receiving task; the lock makes concurrent calls safe.
    receiver: Mutex<Receiver>,
    backlog: Backlog,
    counters: Counters,
}

impl Shared {
    /// A panic while it was locked leaves it consistent.
    fn receiver(&self) -> MutexGuard<'_, Receiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Counters {
    packets: Meter,
    frames: Meter,
    units: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    key_frame_requests: AtomicU64,
    last_frame_at: AtomicU64,
    /// Width and height, 32 bits each.
    size: AtomicU64,
}

impl Counters {
    fn new() -> Self {
        let (start, zero) = (Instant::now(), AtomicU64::default);
        Self {
            packets: Meter::new(start),
            frames: Meter::new(start),
            units: zero(),
            skipped: zero(),
            failed: zero(),
            key_frame_requests: zero(),
            last_frame_at: zero(),
            size: zero(),
        }
    }

    fn frame(&self, frame: &FrameView<'_>) {
        self.frames.mark(Instant::now());
        self.last_frame_at.store(now().0, Ordering::Relaxed);
        self.size.store(u64::from(frame.width()) << 32 | u64::from(frame.height()), Ordering::Relaxed);
    }
}

/// The time after which a frame is passed on although newer ones wait: a decoder that falls behind still shows movement.
const LONGEST_SKIP: Duration = Duration::from_millis(100);

/// The highest rate of notifications of refused video, per second.
const REFUSALS_PER_SECOND: u32 = 1;

/// The thread that decodes.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    decoder: Box<dyn Decoder>,
    sink: Arc<dyn FrameSink>,
    /// Limits the notifications of refused video.
    refusals: TokenBucket,
    skipping: Skipping,
}

/// Decides which decoded frames are passed on.
#[derive(Debug, Default)]
struct Skipping {
    passed_at: Option<Instant>,
}

impl Skipping {
    /// Returns whether the frame that was decoded at `now` is passed on: the newest, or one after [`LONGEST_SKIP`] without any.
    fn passes(&mut self, is_newest: bool, now: Instant) -> bool {
        let is_late = self.passed_at.is_none_or(|at| now.saturating_duration_since(at) > LONGEST_SKIP);
        if is_newest || is_late {
            self.passed_at = Some(now);
        }
        is_newest || is_late
    }
}

impl Worker {
    fn run(mut self) {
        let shared = self.shared.clone();
        let Shared { backlog, counters, .. } = &*shared;
        while let Some(unit) = backlog.take() {
            // Every picture is decoded, since others depend on it; only the newest is shown, while the decoder keeps up.
            let stamp = Stamp { timestamp: unit.at, tag: 0 };
            // After a panic, the decoder and the sink are used again from the next key frame, as after an error.
            let decoded = catch_unwind(AssertUnwindSafe(|| {
                self.decoder.decode(&unit.data, &mut |frame| {
                    counters.frame(frame);
                    if self.skipping.passes(backlog.is_empty(), Instant::now()) {
                        self.sink.frame(&frame.with_stamp(stamp));
                    } else {
                        counters.skipped.fetch_add(1, Ordering::Relaxed);
                    }
                })
            }));
            let decoded = decoded.unwrap_or_else(|panic| {
                let error = Error::of_panic("the frame sink or the decoder", &*panic);
                tracing::error!(%error, "a frame was lost");
                Err(error)
            });
            if let Err(error) = decoded {
                tracing::debug!(%error, key = unit.key, "a coded picture could not be decoded");
                counters.failed.fetch_add(1, Ordering::Relaxed);
                backlog.failed();
                self.notify_refused(&error, Instant::now());
            }
        }
    }

    /// Notifies the sink of video that will not be decoded, at a bounded rate.
    fn notify_refused(&mut self, error: &Error, now: Instant) {
        if error.kind() == ErrorKind::Unsupported && self.refusals.take(now).is_ok() {
            self.sink.refused(error);
        }
    }
}

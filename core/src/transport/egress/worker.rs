//! The thread that encodes for the viewers of one codec.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::encoder_session::{EncoderSession, Shared};
use super::timing::Timing;
use crate::frame::{Frame, Timestamp};
use crate::transport::codec::{self, Converter, Encoder, Rates};
use crate::transport::media::{AccessUnit, now};
use crate::{Error, ErrorKind, Result};

/// The minimum interval between units, since two with the same timestamp would be merged.
const STEP: u64 = 1_000_000;

/// The weight of the last picture in the mean time.
const WEIGHT: f64 = 0.05;

/// The range of frame rates that an encoder is planned with.
const FRAME_RATES: (f32, f32) = (1.0, 120.0);

#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    run: Arc<EncoderSession>,
    /// What encoders start with.
    rates: Rates,
    encoder: Box<dyn Encoder>,
    converter: Converter,
    /// The time of the last unit.
    last: Timestamp,
    timing: Timing,
}

/// The next action of the encoder.
enum Next {
    /// Encode a new picture.
    Picture(Frame),
    /// Check when the last picture may be encoded again.
    Look,
    End,
}

impl Worker {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a codec that is not built in, `Device` if no thread can be started.
    pub(super) fn start(shared: &Arc<Shared>, run: &Arc<EncoderSession>) -> Result<()> {
        Self::start_with(shared, run, |rates| codec::encoder(run.codec, rates))
    }

    /// Starts one with the encoder that `make` returns.
    ///
    /// # Errors
    ///
    /// Those of `make`; `Device` if no thread can be started.
    pub(super) fn start_with(
        shared: &Arc<Shared>,
        run: &Arc<EncoderSession>,
        make: impl FnOnce(Rates) -> Result<Box<dyn Encoder>>,
    ) -> Result<()> {
        let options = &shared.options;
        let (slowest, fastest) = FRAME_RATES;
        let rates = Rates {
            bitrate: options.bitrate,
            ceiling: options.max_bitrate,
            // Not-a-number is the slowest.
            frames: options.frame_rate.max(slowest).min(fastest),
        };
        let worker = Self {
            shared: shared.clone(),
            run: run.clone(),
            rates,
            encoder: make(rates)?,
            converter: Converter::default(),
            last: Timestamp(0),
            timing: Timing::new(options.key_frame_interval),
        };
        let thread = Builder::new().name("dreamframe-encode".to_owned()).spawn(move || worker.run());
        thread
            .map_err(|error| Error::new(ErrorKind::Device, "failed to start the encoder thread").with_source(error))?;
        Ok(())
    }

    fn run(mut self) {
        let run = self.run.clone();
        let mut kept: Option<Frame> = None;
        loop {
            let wanted = run.is_key_wanted() && kept.is_some();
            let deadline = kept.as_ref().and(self.timing.repeat_at(wanted));
            let next = run.notifier.wait_until(deadline, || {
                if run.is_closed() {
                    return Some(Next::End);
                }
                let look = !wanted && kept.is_some() && run.is_key_wanted();
                run.pictures.take().map(Next::Picture).or(look.then_some(Next::Look))
            });
            match next {
                Some(Next::End) => break,
                Some(Next::Look) => {}
                Some(Next::Picture(picture)) => {
                    self.encode(&picture, false);
                    kept = Some(picture);
                }
                None => {
                    if let Some(picture) = &kept {
                        self.encode(picture, true);
                    }
                }
            }
        }
        if let Some(picture) = run.pictures.take().or(kept) {
            self.shared.kept.put(picture);
        }
    }

    /// Encodes a picture, and sends it to all viewers. `is_repeated` if it was encoded before.
    ///
    /// Units have the time of their encoding, not of their frame: a receiver takes a latency that grows, as it does when
    /// the first pictures follow a placeholder, for a slow clock of the sender, and holds pictures back.
    fn encode(&mut self, picture: &Frame, is_repeated: bool) {
        let start = Instant::now();
        let key = self.timing.begin(self.run.is_key_wanted(), start);
        if key {
            self.run.take_key_request();
        }
        // No two times are equal.
        let at = Timestamp(now().0.max(self.last.0 + STEP));
        let taken = match picture.timestamp() {
            Timestamp(0) => at,
            taken => taken.min(at),
        };
        if !is_repeated {
            self.shared.counters.age.add(at.since(taken));
        }
        let coded = self.code(picture, key, at);
        let counters = &self.shared.counters;
        let add = |counter: &AtomicU64, count| {
            counter.fetch_add(count, Ordering::Relaxed);
        };
        if key && !matches!(&coded, Ok(Some(unit)) if unit.key) {
            self.run.want_key();
        }
        match coded {
            Ok(Some(mut unit)) => {
                unit.taken = taken;
                if unit.key {
                    // Requests during the encoding are answered as well.
                    self.run.take_key_request();
                    self.timing.made_key(start);
                    add(&counters.key_frames, 1);
                }
                self.last = at;
                counters.encoded.mark(start);
                add(&counters.bytes, unit.data.len() as u64);
                self.took(start.elapsed());
                self.run.units.put(unit);
            }
            Ok(None) => add(&counters.skipped, 1),
            Err(error) => {
                tracing::debug!(%error, "a picture could not be encoded");
                add(&counters.failed, 1);
            }
        }
    }

    /// Encodes a picture. If that panics, at whatever point, the next picture is encoded by a new encoder.
    fn code(&mut self, picture: &Frame, key: bool, at: Timestamp) -> Result<Option<AccessUnit>> {
        let coded = catch_unwind(AssertUnwindSafe(|| {
            let planes = self.converter.convert(picture)?;
            let size = u64::from(planes.width()) << 32 | u64::from(planes.height());
            self.shared.counters.size.store(size, Ordering::Relaxed);
            self.encoder.set_bitrate(self.shared.bitrate.load(Ordering::Relaxed));
            self.encoder.encode(&planes, key, at)
        }));
        coded.unwrap_or_else(|panic| {
            let error = Error::of_panic("encoding", &*panic);
            tracing::error!(%error, "a picture was not encoded");
            self.run.want_key();
            self.converter = Converter::default();
            self.encoder = codec::encoder(self.run.codec, self.rates)?;
            Err(error)
        })
    }

    fn took(&self, time: Duration) {
        let mean = &self.shared.counters.encode_ms;
        let (last, new) = (f64::from_bits(mean.load(Ordering::Relaxed)), time.as_secs_f64() * 1000.0);
        let next = if last == 0.0 { new } else { last + WEIGHT * (new - last) };
        mean.store(next.to_bits(), Ordering::Relaxed);
    }
}

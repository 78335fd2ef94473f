//! Where pictures come from: a thread that draws and shows them at a steady pace.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dreamframe::transport::{Egress, now};
use dreamframe::{FrameView, PixelFormat, Stamp, Timestamp};

use super::Pattern;

/// When each numbered picture was shown.
#[derive(Debug)]
pub struct Drawn {
    times: Vec<AtomicU64>,
    count: AtomicU64,
}

impl Default for Drawn {
    fn default() -> Self {
        Self { times: (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect(), count: AtomicU64::new(0) }
    }
}

impl Drawn {
    /// Returns when the picture of a number was shown last, on the clock of [`now`]; `None` if it never was.
    pub fn at(&self, number: u16) -> Option<Timestamp> {
        let time = self.times.get(usize::from(number))?.load(Ordering::Relaxed);
        (time > 0).then_some(Timestamp(time))
    }

    /// Returns how many pictures were shown.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes the next number.
    fn next(&self, at: Timestamp) {
        let number = self.count() as usize % self.times.len();
        self.times[number].store(at.0, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Shows numbered pictures, until it is dropped.
#[derive(Debug)]
pub struct Source {
    drawn: Arc<Drawn>,
    size: Arc<Mutex<(u32, u32)>>,
    /// How far its clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts to show pictures of `size`, `rate` per second.
    pub fn start(egress: &Egress, size: (u32, u32), rate: f64, drawn: &Arc<Drawn>) -> Self {
        let mut pattern: Option<Pattern> = None;
        Self::start_with(egress, size, rate, drawn, move |number, wanted, pixels| {
            let pattern = match pattern.take() {
                Some(made) if made.size() == wanted => pattern.insert(made),
                _ => pattern.insert(Pattern::new(wanted.0, wanted.1)),
            };
            pattern.draw(number, pixels);
        })
    }

    /// Likewise, with pictures that `draw` makes of a number and a size, as packed RGBA.
    pub fn start_with(
        egress: &Egress,
        size: (u32, u32),
        rate: f64,
        drawn: &Arc<Drawn>,
        mut draw: impl FnMut(u16, (u32, u32), &mut Vec<u8>) + Send + 'static,
    ) -> Self {
        let (egress, interval) = (egress.clone(), Duration::from_secs_f64(1.0 / rate));
        let (drawn, size, stop) = (drawn.clone(), Arc::new(Mutex::new(size)), Arc::new(AtomicBool::new(false)));
        let ahead = Arc::new(AtomicI64::new(0));
        let thread = thread::spawn({
            let ahead = ahead.clone();
            let (drawn, size, stop) = (drawn.clone(), size.clone(), stop.clone());
            move || {
                let (mut pixels, mut due) = (Vec::new(), Instant::now());
                while !stop.load(Ordering::Relaxed) {
                    let wanted = *size.lock().unwrap_or_else(PoisonError::into_inner);
                    draw(drawn.count() as u16, wanted, &mut pixels);
                    show(&pixels, wanted, &egress, (&drawn, ahead.load(Ordering::Relaxed)));
                    due = (due + interval).max(Instant::now());
                    thread::sleep(due - Instant::now());
                }
            }
        });
        Self { drawn, size, ahead, stop, thread: Some(thread) }
    }

    /// Goes on with pictures of another size.
    pub fn resize(&self, width: u32, height: u32) {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = (width, height);
    }

    /// Stamps pictures with the time of a clock that is so far ahead, or behind; what [`Drawn`] records stays right.
    pub fn set_clock_ahead(&self, ms: i64) {
        self.ahead.store(ms, Ordering::Relaxed);
    }

    /// Returns how many pictures were shown.
    pub fn count(&self) -> u64 {
        self.drawn.count()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported.
            let _ = thread.join();
        }
    }
}

/// Shows the next picture; from then on it counts as taken.
fn show(pixels: &[u8], (width, height): (u32, u32), egress: &Egress, (drawn, ahead_ms): (&Drawn, i64)) {
    let Ok(view) = FrameView::packed(PixelFormat::Rgba8, width, height, pixels) else { return };
    let at = now();
    drawn.next(at);
    let timestamp = Timestamp(at.0.saturating_add_signed(ahead_ms.saturating_mul(1_000_000)));
    egress.show(&view.with_stamp(Stamp { timestamp, tag: 0 }));
}

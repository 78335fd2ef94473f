//! Frames with numbers that survive a lossy codec: sixteen squares of bits, and the same inverted below.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::frame::{Fit, FrameConverter, FrameView, PixelFormat, Timestamp};
use crate::transport::{Egress, FrameSink, now};

/// The side of a frame, and of a square in it.
pub(super) const SIDE: usize = 256;
const SQUARE: usize = 32;
const COLUMNS: usize = SIDE / SQUARE;
/// Where the squares begin.
const TOP: usize = 64;
/// Longer than anything here takes, on the busiest machine.
pub(super) const LONG: Duration = Duration::from_secs(90);

/// The bit of a square, 0 to 31.
fn bit(number: u16, square: usize) -> bool {
    let bit = number >> (square % 16) & 1 == 1;
    bit != (square >= 16)
}

/// A frame that says `number`, before a background that moves.
fn pixels(number: u16) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(SIDE * SIDE * 4);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let square = (y.wrapping_sub(TOP) / SQUARE) * COLUMNS + x / SQUARE;
            let background = ((x + y + usize::from(number) * 3) % 256) as u8;
            let value = if square >= 32 { background } else { 255 * u8::from(bit(number, square)) };
            pixels.extend([value, value, value, 255]);
        }
    }
    pixels
}

/// Reads the number of a frame; `None` where a bit is no bit, as in a picture that says nothing.
fn read(view: &FrameView<'_>) -> Option<u16> {
    let mut rgb = vec![0.0; SIDE * SIDE * 3];
    FrameConverter::new().to_unit(view, Fit::Stretch, SIDE as u32, SIDE as u32, &mut rgb).ok()?;
    let value = |square: usize| {
        let (x, y) = (square % COLUMNS * SQUARE + SQUARE / 2, TOP + square / COLUMNS * SQUARE + SQUARE / 2);
        rgb[(y * SIDE + x) * 3] > 0.5
    };
    let number = (0..16).fold(0, |number, square| number | u16::from(value(square)) << square);
    (0..32).all(|square| value(square) == bit(number, square)).then_some(number)
}

/// Keeps the numbers that it sees.
#[derive(Debug, Default)]
pub(super) struct Seen {
    numbers: Mutex<Vec<u16>>,
    news: Condvar,
}

impl FrameSink for Seen {
    fn frame(&self, frame: &FrameView<'_>) {
        if let Some(number) = read(frame) {
            self.numbers.lock().unwrap().push(number);
            self.news.notify_all();
        }
    }
}

impl Seen {
    /// Shows numbered frames until as many more different ones as `count` have been seen; gives those.
    pub(super) fn while_publishing(&self, egress: &Egress, count: usize) -> Vec<u16> {
        static NUMBER: Mutex<u16> = Mutex::new(0);
        let deadline = Instant::now() + LONG;
        let mut numbers = self.numbers.lock().unwrap();
        numbers.clear();
        loop {
            numbers.dedup();
            if numbers.len() >= count {
                return numbers.clone();
            }
            assert!(Instant::now() < deadline, "saw {numbers:?} alone");
            let number = {
                let mut number = NUMBER.lock().unwrap();
                *number += 1;
                *number
            };
            let pixels = pixels(number);
            let view = FrameView::packed(PixelFormat::Rgba8, SIDE as u32, SIDE as u32, &pixels).unwrap();
            let stamp = crate::Stamp { timestamp: now(), ..view.stamp() };
            egress.show(&view.with_stamp(stamp));
            numbers = self.news.wait_timeout(numbers, Duration::from_millis(40)).unwrap().0;
        }
    }
}

/// Shows what comes in to those who watch.
#[derive(Debug)]
pub(super) struct Echo(pub(super) Egress);

impl FrameSink for Echo {
    fn frame(&self, frame: &FrameView<'_>) {
        assert_ne!(frame.stamp().timestamp, Timestamp(0), "frames are stamped");
        self.0.show(frame);
    }
}

#[test]
fn numbers_can_be_read() {
    for number in [0, 1, 0x5555, 0xffff] {
        let pixels = pixels(number);
        let view = FrameView::packed(PixelFormat::Rgba8, SIDE as u32, SIDE as u32, &pixels).unwrap();
        assert_eq!(read(&view), Some(number));
    }
    let black = vec![0; SIDE * SIDE * 4];
    assert_eq!(read(&FrameView::packed(PixelFormat::Rgba8, SIDE as u32, SIDE as u32, &black).unwrap()), None);
}

//! VP8, by the libvpx of the system.

mod ffi;

use std::fmt;

use bytes::Bytes;

use self::ffi::{Outcome, Picture};
use super::Rates;
use super::colors::COLOR;
use crate::frame::{FrameView, PixelFormat, Plane, Timestamp};
use crate::transport::media::AccessUnit;
use crate::transport::rtp::limits::too_large;
use crate::{Error, ErrorKind, Result};

/// Range of width and height.
const CODED: std::ops::RangeInclusive<u32> = 16..=4096;
/// Range of the display time of a picture for the encoder, in units of 1/90000 s.
const SHOWN: (u64, u64) = (900, 90_000);

/// Decodes pictures one by one.
pub(super) struct Decoder {
    inner: ffi::Decoder,
    /// The longest side that is decoded: a key frame of ten bytes may announce 16383, for which libvpx would allocate memory.
    max_side: u32,
    /// Whether there was a key frame since the last error.
    begun: bool,
}

impl Decoder {
    /// Decodes pictures of up to `max_side` pixels a side.
    pub(super) fn new(max_side: u32) -> Result<Self> {
        let inner =
            ffi::Decoder::new().ok_or_else(|| Error::new(ErrorKind::OutOfMemory, "failed to create a VP8 decoder"))?;
        Ok(Self { inner, max_side, begun: false })
    }
}

impl super::Decoder for Decoder {
    fn decode(&mut self, unit: &[u8], show: &mut dyn FnMut(&FrameView<'_>)) -> Result<()> {
        let fault = || {
            let text = format!("failed to decode a VP8 unit of {} bytes", unit.len());
            Error::new(ErrorKind::InvalidArgument, text)
        };
        match begins_with(unit) {
            Start::Broken => return Err(fault()),
            Start::Key(width, height) if width.max(height) > self.max_side => {
                return Err(too_large(width, height, self.max_side));
            }
            Start::Key(..) => self.begun = true,
            Start::Other if self.begun => {}
            Start::Other => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "failed to decode a picture before the first key frame",
                ));
            }
        }
        let picture = match self.inner.decode(unit) {
            Outcome::Made(picture) => picture,
            Outcome::None => return Ok(()),
            Outcome::Failed => {
                self.begun = false;
                return Err(fault());
            }
        };
        // Only key frames have a size, and each was checked. If libvpx reads another size, nothing is shown.
        if picture.width.max(picture.height) > self.max_side {
            self.begun = false;
            return Err(too_large(picture.width, picture.height, self.max_side));
        }
        let planes = picture.planes.map(|(pixels, stride)| Plane { pixels, stride });
        // Chroma has whole pixels, so an odd last column or row is cropped.
        let view = FrameView::new(PixelFormat::I420, picture.width & !1, picture.height & !1, &planes)?;
        show(&view.with_color(COLOR));
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("begun", &self.begun).finish_non_exhaustive()
    }
}

/// The header of an encoded picture (RFC 6386, 9.1).
enum Start {
    /// A key frame of this size.
    Key(u32, u32),
    /// Any other picture.
    Other,
    /// An invalid header.
    Broken,
}

fn begins_with(unit: &[u8]) -> Start {
    match unit {
        [tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if tag & 1 == 0 => {
            let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Start::Key(side(*w0, *w1), side(*h0, *h1))
        }
        [tag, _, _, ..] if tag & 1 == 1 => Start::Other,
        _ => Start::Broken,
    }
}

/// Encodes pictures; key frames are made on request, and on a change of size.
#[derive(Debug)]
pub(super) struct Encoder {
    rates: Rates,
    bitrate: u32,
    running: Option<Running>,
}

/// An encoder for one size.
struct Running {
    inner: ffi::Encoder,
    size: (u32, u32),
    told: u32,
    last: Option<u64>,
}

impl Encoder {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, bitrate: rates.within(rates.bitrate), running: None }
    }

    fn start(&self, size: (u32, u32)) -> Result<Running> {
        let (width, height) = size;
        if !CODED.contains(&width) || !CODED.contains(&height) {
            let (least, most) = (CODED.start(), CODED.end());
            let text = format!("picture: got {width}x{height}, expected {least}x{least} to {most}x{most} for VP8");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let inner = ffi::Encoder::new(size, self.bitrate / 1000)
            .ok_or_else(|| Error::new(ErrorKind::OutOfMemory, "failed to create a VP8 encoder"))?;
        Ok(Running { inner, size, told: self.bitrate, last: None })
    }
}

impl super::Encoder for Encoder {
    fn encode(&mut self, picture: &FrameView<'_>, key: bool, at: Timestamp) -> Result<Option<AccessUnit>> {
        let size = (picture.width(), picture.height());
        let usual = SHOWN.1.min((90_000.0 / self.rates.frames.max(1.0)) as u64);
        let mut running = match self.running.take().filter(|running| running.size == size) {
            Some(running) => running,
            None => self.start(size)?,
        };
        if running.told != self.bitrate {
            running.told = self.bitrate;
            if !running.inner.tune(self.bitrate / 1000) {
                tracing::debug!(bitrate = self.bitrate, "libvpx rejected a change of the bit rate");
            }
        }
        let unit = running.encode(picture, key, at, usual)?;
        self.running = Some(running);
        Ok(unit)
    }

    fn set_bitrate(&mut self, bits_per_second: u32) {
        self.bitrate = self.rates.within(bits_per_second);
    }
}

impl Running {
    fn encode(&mut self, picture: &FrameView<'_>, key: bool, at: Timestamp, usual: u64) -> Result<Option<AccessUnit>> {
        if picture.format() != PixelFormat::I420 {
            return Err(Error::new(ErrorKind::Internal, "picture to encode: expected I420"));
        }
        let planes = [0, 1, 2].map(|index| picture.plane(index).map_or((&[][..], 0), |p| (p.pixels, p.stride)));
        let (width, height) = self.size;
        // libvpx requires increasing times.
        let time = (at.0 / 100_000 * 9).max(self.last.map_or(0, |last| last + 1));
        let shown = self.last.map_or(usual, |last| (time - last).clamp(SHOWN.0, SHOWN.1));
        self.last = Some(time);
        let picture = Picture { planes, width, height };
        match self.inner.encode(&picture, time as i64, shown as u32, key) {
            Outcome::Made((data, key)) => Ok(Some(AccessUnit::new(Bytes::copy_from_slice(data), key, at))),
            Outcome::None => Ok(None),
            Outcome::Failed => {
                Err(Error::new(ErrorKind::Internal, format!("failed to encode a picture of {width}x{height}")))
            }
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("size", &self.size).field("told", &self.told).finish_non_exhaustive()
    }
}

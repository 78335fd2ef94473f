//! H.264, by openh264, which is compiled in.

use std::fmt;

use bytes::Bytes;
use openh264::decoder::{DecoderConfig, Flush};
use openh264::encoder::{
    BitRate, Complexity, EncoderConfig, FrameRate, FrameType, Profile, RateControlMode, UsageType,
};
use openh264::formats::{YUVSlices, YUVSource as _};
use openh264::{OpenH264API, decoder, encoder};

use super::Rates;
use super::colors::{self, COLOR};
use super::tuning::tune;
use crate::frame::{ColorSpace, FrameView, PixelFormat, Plane, Timestamp};
use crate::transport::media::AccessUnit;
use crate::transport::rtp::limits::check_h264;
use crate::{Error, ErrorKind, Result};

/// The sides that the encoder takes: the shortest, and the longest of the shorter and of the longer one.
const SHORTEST: u32 = 16;
const LONGEST: (u32, u32) = (2160, 3840);
/// The weight of the last interval in the mean, and the relative change after which the encoder is adjusted.
const WEIGHT: f32 = 0.1;
const TOLERANCE: f32 = 0.2;

/// Decodes whole access units; pictures are returned without delay, because senders of live video do not reorder them.
pub(super) struct Decoder {
    inner: decoder::Decoder,
    color: ColorSpace,
    max_side: u32,
}

impl Decoder {
    /// Decodes pictures of up to `max_side` pixels a side.
    pub(super) fn new(max_side: u32) -> Result<Self> {
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let inner = decoder::Decoder::with_api_config(OpenH264API::from_source(), config).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "failed to create an H.264 decoder").with_source(error)
        })?;
        Ok(Self { inner, color: COLOR, max_side })
    }
}

impl super::Decoder for Decoder {
    fn decode(&mut self, unit: &[u8], show: &mut dyn FnMut(&FrameView<'_>)) -> Result<()> {
        if let Some(set) = check_h264(unit, self.max_side)? {
            self.color = colors::color(&set);
        }
        let picture = self.inner.decode(unit).map_err(|error| {
            let text = format!("failed to decode an H.264 unit of {} bytes", unit.len());
            Error::new(ErrorKind::InvalidArgument, text).with_source(error)
        })?;
        let Some(picture) = picture else { return Ok(()) };
        let (width, height) = picture.dimensions();
        let (y_stride, u_stride, v_stride) = picture.strides();
        let planes = [(picture.y(), y_stride), (picture.u(), u_stride), (picture.v(), v_stride)]
            .map(|(pixels, stride)| Plane { pixels, stride });
        let view = FrameView::new(PixelFormat::I420, width as u32, height as u32, &planes)?;
        show(&view.with_color(self.color));
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("color", &self.color).finish_non_exhaustive()
    }
}

/// Encodes constrained baseline, with the parameter sets before each key frame.
#[derive(Debug)]
pub(super) struct Encoder {
    rates: Rates,
    bitrate: u32,
    running: Option<Running>,
}

/// An encoder for one size.
struct Running {
    inner: encoder::Encoder,
    size: (u32, u32),
    /// The bit rate and frame rate that the encoder is set to.
    told: (u32, f32),
    /// The mean time between pictures, in seconds.
    interval: f32,
    last: Timestamp,
    /// The bytes of the last picture.
    usual: usize,
}

impl Encoder {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, bitrate: rates.within(rates.bitrate), running: None }
    }

    /// The maximum is set on creation, since it can be lowered but not raised later.
    fn start(&self, size: (u32, u32), at: Timestamp) -> Result<Running> {
        let (width, height) = size;
        let (shorter, longer) = (width.min(height), width.max(height));
        if shorter < SHORTEST || shorter > LONGEST.0 || longer > LONGEST.1 {
            let text = format!(
                "picture: got {width}x{height}, expected {SHORTEST}x{SHORTEST} to {}x{} for H.264",
                LONGEST.1, LONGEST.0
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let (ceiling, frames) = (self.rates.most(), self.rates.frames);
        // Key frames are made on request only. Without frame skipping, openh264 does not keep the bit rate, and prints
        // a warning to standard error.
        let config = EncoderConfig::new()
            .profile(Profile::Baseline)
            .usage_type(UsageType::CameraVideoRealTime)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(ceiling))
            .max_frame_rate(FrameRate::from_hz(frames))
            .skip_frames(true)
            .complexity(Complexity::Low)
            .num_threads(1)
            .scene_change_detect(false)
            .background_detection(false)
            .vui(colors::vui_config());
        let inner = encoder::Encoder::with_api_config(OpenH264API::from_source(), config).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "failed to create an H.264 encoder").with_source(error)
        })?;
        Ok(Running { inner, size, told: (ceiling, frames), interval: 1.0 / frames, last: at, usual: 0 })
    }
}

impl super::Encoder for Encoder {
    fn encode(&mut self, picture: &FrameView<'_>, key: bool, at: Timestamp) -> Result<Option<AccessUnit>> {
        let size = (picture.width(), picture.height());
        let mut running = match self.running.take().filter(|running| running.size == size) {
            Some(mut running) => {
                if key {
                    running.inner.force_intra_frame();
                }
                running
            }
            None => self.start(size, at)?,
        };
        let unit = running.encode(picture, at)?;
        running.tune(self.bitrate, at);
        self.running = Some(running);
        Ok(unit)
    }

    fn set_bitrate(&mut self, bits_per_second: u32) {
        self.bitrate = self.rates.within(bits_per_second);
    }
}

impl Running {
    fn encode(&mut self, picture: &FrameView<'_>, at: Timestamp) -> Result<Option<AccessUnit>> {
        let [y, u, v] = [0, 1, 2].map(|index| picture.plane(index).unwrap_or(Plane { pixels: &[], stride: 0 }));
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let sizes = [(y, height), (u, height / 2), (v, height / 2)];
        if picture.format() != PixelFormat::I420
            || !sizes.iter().all(|(plane, rows)| plane.pixels.len() == plane.stride * rows)
        {
            return Err(Error::new(ErrorKind::Internal, "picture to encode: expected packed I420 of even size"));
        }
        let planes = YUVSlices::new((y.pixels, u.pixels, v.pixels), (width, height), (y.stride, u.stride, v.stride));
        let time = openh264::Timestamp::from_millis(at.0 / 1_000_000);
        let coded = self.inner.encode_at(&planes, time).map_err(|error| {
            let text = format!("failed to encode a picture of {width}x{height}");
            Error::new(ErrorKind::Internal, text).with_source(error)
        })?;
        let mut data = Vec::with_capacity(self.usual + self.usual / 4);
        coded.write_vec(&mut data);
        if data.is_empty() {
            return Ok(None);
        }
        self.usual = data.len();
        let key = coded.frame_type() == FrameType::IDR;
        Ok(Some(AccessUnit::new(Bytes::from(data), key, at)))
    }

    /// Sets the bit rate of the encoder, and the frame rate that shares it.
    fn tune(&mut self, bitrate: u32, at: Timestamp) {
        let passed = at.since(self.last).as_secs_f32().clamp(0.01, 1.0);
        if at > self.last {
            self.interval += WEIGHT * (passed - self.interval);
        }
        self.last = at;
        let frames = 1.0 / self.interval;
        let (told_bitrate, told_frames) = self.told;
        if bitrate == told_bitrate && (frames / told_frames - 1.0).abs() < TOLERANCE {
            return;
        }
        self.told = (bitrate, frames);
        if !tune(&mut self.inner, bitrate, frames) {
            tracing::debug!(bitrate, frames, "openh264 rejected a change of the bit rate");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("size", &self.size).field("told", &self.told).finish_non_exhaustive()
    }
}

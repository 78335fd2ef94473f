//! Video codecs: encoded pictures to frames, and frames to encoded pictures.

mod colors;
mod h264;
mod picture;
#[cfg(test)]
mod tests;
mod tuning;
#[cfg(feature = "vp8")]
mod vp8;

use std::fmt;

use super::media::{AccessUnit, VideoCodec};
use crate::Result;
use crate::frame::{FrameView, Timestamp};
#[cfg(not(feature = "vp8"))]
use crate::{Error, ErrorKind};

pub(super) use self::picture::Converter;

/// Decodes encoded pictures to frames.
pub(super) trait Decoder: Send + fmt::Debug {
    /// Decodes the next picture and passes it to `show`, unless the decoder has none to output yet.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a picture that cannot be decoded, `Unsupported` for one that is larger than the decoder
    /// was made for. The decoder can continue with the next key frame.
    fn decode(&mut self, unit: &[u8], show: &mut dyn FnMut(&FrameView<'_>)) -> Result<()>;
}

/// Encodes pictures.
pub(super) trait Encoder: Send + fmt::Debug {
    /// Encodes a picture of a [`Converter`]; as a key frame if `key`, and where it has to be one, such as after a
    /// change of size. `None` for a picture that is dropped to keep the bit rate.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a size out of the encoder's range, `Internal` for unknown errors of the encoder. It can
    /// continue, with a key frame.
    fn encode(&mut self, picture: &FrameView<'_>, key: bool, at: Timestamp) -> Result<Option<AccessUnit>>;

    /// Sets the target bit rate in bit/s, at most the maximum, from the next picture on.
    fn set_bitrate(&mut self, bits_per_second: u32);
}

/// Initial settings of an encoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Bits per second at the start.
    pub(super) bitrate: u32,
    /// The highest bit rate that can be set later, in bit/s.
    pub(super) ceiling: u32,
    /// Pictures per second, at the start.
    pub(super) frames: f32,
}

/// The lowest useful bit rate, in bit/s.
const LEAST: u32 = 30_000;

impl Rates {
    /// The highest bit rate of an encoder, in bit/s.
    fn most(self) -> u32 {
        self.ceiling.max(LEAST)
    }

    /// Clamps a requested bit rate to the encoder's limits.
    fn within(self, bits_per_second: u32) -> u32 {
        bits_per_second.clamp(LEAST, self.most())
    }
}

/// Creates a decoder of pictures of up to `max_side` pixels a side.
///
/// # Errors
///
/// `Unsupported` for a codec that is not built in, `OutOfMemory`.
pub(super) fn decoder(codec: VideoCodec, max_side: u32) -> Result<Box<dyn Decoder>> {
    match codec {
        VideoCodec::H264 => Ok(Box::new(h264::Decoder::new(max_side)?)),
        #[cfg(feature = "vp8")]
        VideoCodec::Vp8 => Ok(Box::new(vp8::Decoder::new(max_side)?)),
        #[cfg(not(feature = "vp8"))]
        VideoCodec::Vp8 => Err(no_vp8()),
    }
}

/// Creates an encoder.
///
/// # Errors
///
/// `Unsupported` for a codec that is not built in.
pub(super) fn encoder(codec: VideoCodec, rates: Rates) -> Result<Box<dyn Encoder>> {
    match codec {
        VideoCodec::H264 => Ok(Box::new(h264::Encoder::new(rates))),
        #[cfg(feature = "vp8")]
        VideoCodec::Vp8 => Ok(Box::new(vp8::Encoder::new(rates))),
        #[cfg(not(feature = "vp8"))]
        VideoCodec::Vp8 => Err(no_vp8()),
    }
}

#[cfg(not(feature = "vp8"))]
fn no_vp8() -> Error {
    Error::new(ErrorKind::Unsupported, "VP8 needs the feature `vp8`, which this build lacks: use H.264")
}

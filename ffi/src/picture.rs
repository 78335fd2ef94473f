//! Metadata of a picture.

use std::mem::offset_of;

use dreamframe::{PictureInfo, PictureKind};

use crate::pointer::Versioned;

/// How a picture was made.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_picture_kind_t {
    /// Restyled.
    DREAMFRAME_PICTURE_KIND_NEW = 1,
    /// A repeat of the last picture.
    DREAMFRAME_PICTURE_KIND_REPEATED = 2,
    /// A replacement of a picture that the safety checker flagged.
    DREAMFRAME_PICTURE_KIND_FLAGGED = 3,
    /// The frame itself, because the parameter `skip_diffusion` is on.
    DREAMFRAME_PICTURE_KIND_PASSED = 4,
    /// Interpolated between the picture before and the picture of the frame, because the parameter `interpolation` is
    /// on; the picture with the same ids comes after it.
    DREAMFRAME_PICTURE_KIND_INTERPOLATED = 5,
}

/// Metadata of a picture. Initialize with `DREAMFRAME_PICTURE_INFO_INIT`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_picture_info_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The id of the frame whose processing output the picture.
    pub id: u64,
    /// The id of the frame that it was made from.
    pub source_id: u64,
    /// The `timestamp_ns` of the frame that it was made from.
    pub timestamp_ns: u64,
    /// The `user_tag` of the frame that it was made from.
    pub user_tag: u64,
    /// The version of the parameters in effect: that of the newest applied update, 0 before the first.
    pub version: u64,
    /// How it was made: a `dreamframe_picture_kind_t`.
    pub kind: u32,
    /// Width of the picture, in pixels.
    pub width: u32,
    /// Height of the picture, in pixels.
    pub height: u32,
    /// Always 0.
    pub reserved: u32,
    /// Microseconds for converting the frame, and for the processors before the encoder.
    pub preprocess_us: u64,
    /// Microseconds in the encoder.
    pub encode_us: u64,
    /// Microseconds for control images and ControlNets.
    pub control_us: u64,
    /// Microseconds in the UNet.
    pub unet_us: u64,
    /// Microseconds in the decoder.
    pub decode_us: u64,
    /// Microseconds for the processors after the decoder, and for converting the picture.
    pub postprocess_us: u64,
    /// Microseconds for the whole frame.
    pub total_us: u64,
}

// SAFETY: `repr(C)`, starts with its size, and all its fields are integers.
unsafe impl Versioned for dreamframe_picture_info_t {
    const NAME: &'static str = "picture_info";
    const LEAST: usize = offset_of!(Self, total_us) + size_of::<u64>();
}

impl dreamframe_picture_info_t {
    /// Returns the metadata of a picture with the given width and height.
    pub(crate) fn new(info: &PictureInfo, size: (u32, u32)) -> Self {
        use dreamframe_picture_kind_t as Kind;
        let kind = match info.kind {
            PictureKind::New => Kind::DREAMFRAME_PICTURE_KIND_NEW as u32,
            PictureKind::Repeated => Kind::DREAMFRAME_PICTURE_KIND_REPEATED as u32,
            PictureKind::Flagged => Kind::DREAMFRAME_PICTURE_KIND_FLAGGED as u32,
            PictureKind::Passed => Kind::DREAMFRAME_PICTURE_KIND_PASSED as u32,
            PictureKind::Interpolated => Kind::DREAMFRAME_PICTURE_KIND_INTERPOLATED as u32,
            // A kind without a number in this header.
            _ => 0,
        };
        let timings = info.timings;
        Self {
            struct_size: size_of::<Self>(),
            id: info.id.0,
            source_id: info.source_id.0,
            timestamp_ns: info.stamp.timestamp.0,
            user_tag: info.stamp.tag,
            version: info.version,
            kind,
            width: size.0,
            height: size.1,
            reserved: 0,
            preprocess_us: timings.preprocess,
            encode_us: timings.encode,
            control_us: timings.control,
            unet_us: timings.unet,
            decode_us: timings.decode,
            postprocess_us: timings.postprocess,
            total_us: timings.total,
        }
    }
}

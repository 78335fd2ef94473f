//! Settings of a running openh264 encoder for which its crate has no safe function.
#![allow(unsafe_code, reason = "openh264 takes options by address only")]

use std::ffi::c_int;

use openh264::encoder::Encoder;
use openh264_sys2::{ENCODER_OPTION_BITRATE, ENCODER_OPTION_FRAME_RATE, SBitrateInfo, SPATIAL_LAYER_ALL};

/// Sets the bit rate and the frame rate of an encoder that has coded a picture; returns whether it accepted.
///
/// It does not accept a higher bit rate than it was made with.
pub(super) fn tune(encoder: &mut Encoder, bits_per_second: u32, mut frames_per_second: f32) -> bool {
    let bits = c_int::try_from(bits_per_second).unwrap_or(c_int::MAX);
    let mut bitrate = SBitrateInfo { iLayer: SPATIAL_LAYER_ALL, iBitrate: bits };
    // SAFETY: the two options are an `SBitrateInfo` and a `float`, which the encoder copies before it returns, and both
    // may change while it runs. It refuses them itself before it is initialized.
    unsafe {
        let api = encoder.raw_api();
        api.set_option(ENCODER_OPTION_FRAME_RATE, (&raw mut frames_per_second).cast()) == 0
            && api.set_option(ENCODER_OPTION_BITRATE, (&raw mut bitrate).cast()) == 0
    }
}

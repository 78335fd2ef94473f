//! Colour spaces of encoded video.
//!
//! Encoded video is BT.601 in limited range at every size: decoders that read the description find it there, and those
//! that do not, such as browsers over WebRTC, assume it. The primaries and the transfer are those of BT.709, which are
//! those of sRGB but for the curve, so that they are not converted.

use openh264::encoder::{ColorPrimaries, MatrixCoefficients, TransferCharacteristics, VuiConfig};

use crate::frame::{ColorSpace, YuvMatrix, YuvRange};
use crate::transport::rtp::sps::SequenceSet;

/// The colour space of sent pictures, and of received ones without a description.
pub(super) const COLOR: ColorSpace = ColorSpace { matrix: YuvMatrix::Bt601, range: YuvRange::Limited };

/// The same, for the encoder's options.
pub(super) fn vui_config() -> VuiConfig {
    VuiConfig::new()
        .color_primaries(ColorPrimaries::Bt709)
        .transfer_characteristics(TransferCharacteristics::Bt709)
        .matrix_coefficients(MatrixCoefficients::Smpte170M)
        .full_range(false)
}

/// Returns the colour space of a stream by its sequence parameter set; [`COLOR`] if the set does not have it, which is
/// what browsers send.
pub(super) fn color(set: &SequenceSet) -> ColorSpace {
    let Some(signal) = set.signal else { return COLOR };
    let matrix = match signal.matrix {
        // BT.709, and those near it.
        Some(1 | 7 | 9 | 10) => YuvMatrix::Bt709,
        _ => YuvMatrix::Bt601,
    };
    ColorSpace { matrix, range: if signal.full_range { YuvRange::Full } else { YuvRange::Limited } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits as text.
    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<_> = bits.bytes().filter(|bit| b"01".contains(bit)).map(|bit| bit - b'0').collect();
        bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at))).collect()
    }

    fn color_of(set: &str) -> Option<ColorSpace> {
        SequenceSet::parse(&[&[0x67][..], &bytes(set)].concat()).as_ref().map(color)
    }

    /// Baseline, 16x16, without cropping, up to the flag of the VUI parameters.
    const BASELINE: &str = "01000010 11000000 00011110 1 1 1 1 010 0 1 1 1 1 0";

    #[test]
    fn parameter_set_without_a_colour_space_means_that_of_browsers() {
        assert_eq!(color_of(&format!("{BASELINE} 0 1")), Some(COLOR));
        assert_eq!(color_of(&format!("{BASELINE} 1 0 0 0 1")), Some(COLOR));
    }

    #[test]
    fn colour_space_is_found_after_all_preceding_fields() {
        let full = ColorSpace { matrix: YuvMatrix::Bt709, range: YuvRange::Full };
        let signal = "1 101 1 1 00000001 00000001 00000001";
        // An aspect ratio written out, and an overscan, before it.
        let set = format!("{BASELINE} 1 1 11111111 {:016b} {:016b} 1 0 {signal}", 4, 3);
        assert_eq!(color_of(&set), Some(full));
        // High profile, with a scaling list; picture order by a list; interlaced; cropped.
        let high = "01100100 00000000 00011110 1 010 1 1 0 1 0 1 00100 00101 00110 00100 00101 00110 00100 00101 00110 \
                    00100 00101 00110 00100 00101 00110 1 000000";
        let rest = "1 010 0 1 1 011 1 1 010 0 1 1 0 0 1 1 1 1 1 1";
        let set = format!("{high} {rest} 1 0 0 {signal}");
        assert_eq!(color_of(&set), Some(full));
    }
}

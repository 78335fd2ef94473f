//! What the numbers of coded pictures mean.
//!
//! What is sent is BT.601 in limited range at every size: those who look into the stream find it said there, and those who
//! do not, as browsers over WebRTC, take it for that. The primaries and the transfer are BT.709's, which are sRGB's but for
//! the curve, so that nobody converts them.

use openh264::encoder::{ColorPrimaries, MatrixCoefficients, TransferCharacteristics, VuiConfig};

use crate::frame::{ColorSpace, YuvMatrix, YuvRange};
use crate::transport::rtp::bits::Bits;
use crate::transport::rtp::parameter_sets::{SEQUENCE, nals};

/// What pictures are sent in, and what those mean that do not say.
pub(super) const COLOR: ColorSpace = ColorSpace { matrix: YuvMatrix::Bt601, range: YuvRange::Limited };

/// The same for the encoder to say.
pub(super) fn said() -> VuiConfig {
    VuiConfig::new()
        .color_primaries(ColorPrimaries::Bt709)
        .transfer_characteristics(TransferCharacteristics::Bt709)
        .matrix_coefficients(MatrixCoefficients::Smpte170M)
        .full_range(false)
}

/// Says what the colours of a stream mean by the sequence parameter set in `unit`, which is in Annex B form.
///
/// `None` where there is none. One that does not say means [`COLOR`], which is what browsers send.
pub(super) fn color(unit: &[u8]) -> Option<ColorSpace> {
    let set = nals(unit).find(|nal| nal.first().is_some_and(|header| header & 0x1f == SEQUENCE))?;
    let said = set.get(1..).and_then(signal_type).flatten();
    Some(said.unwrap_or(COLOR))
}

/// Profiles whose sets say more about chroma.
const HIGH: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Reads a sequence parameter set up to its video signal type; `Some(None)` where it does not say.
fn signal_type(payload: &[u8]) -> Option<Option<ColorSpace>> {
    let mut bits = Bits::new(payload);
    let profile = bits.number(8)?;
    bits.number(16)?;
    bits.exp()?;
    if HIGH.contains(&profile) {
        skip_chroma(&mut bits)?;
    }
    bits.exp()?;
    skip_order(&mut bits)?;
    bits.exp()?;
    bits.flag()?;
    bits.exp()?;
    bits.exp()?;
    if !bits.flag()? {
        bits.flag()?;
    }
    bits.flag()?;
    if bits.flag()? {
        (0..4).try_for_each(|_| bits.exp().map(drop))?;
    }
    // Whether there is more to say, then the aspect ratio and the overscan.
    if !bits.flag()? {
        return Some(None);
    }
    if bits.flag()? && bits.number(8)? == 255 {
        bits.number(32)?;
    }
    if bits.flag()? {
        bits.flag()?;
    }
    if !bits.flag()? {
        return Some(None);
    }
    bits.number(3)?;
    let range = if bits.flag()? { YuvRange::Full } else { YuvRange::Limited };
    let matrix = if bits.flag()? { bits.number(24)? & 0xff } else { 2 };
    let matrix = match matrix {
        // BT.709, and those near it.
        1 | 7 | 9 | 10 => YuvMatrix::Bt709,
        _ => YuvMatrix::Bt601,
    };
    Some(Some(ColorSpace { matrix, range }))
}

fn skip_chroma(bits: &mut Bits<'_>) -> Option<()> {
    let chroma = bits.exp()?;
    if chroma == 3 {
        bits.flag()?;
    }
    bits.exp()?;
    bits.exp()?;
    bits.flag()?;
    if !bits.flag()? {
        return Some(());
    }
    for list in 0..if chroma == 3 { 12 } else { 8 } {
        if bits.flag()? {
            skip_scaling(bits, if list < 6 { 16 } else { 64 })?;
        }
    }
    Some(())
}

fn skip_scaling(bits: &mut Bits<'_>, length: u32) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..length {
        if next != 0 {
            next = (last + bits.signed_exp()?.rem_euclid(256)) % 256;
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// The order of pictures.
fn skip_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.exp()? {
        0 => bits.exp().map(drop),
        1 => {
            bits.flag()?;
            bits.exp()?;
            bits.exp()?;
            let count = bits.exp()?;
            (0..count).try_for_each(|_| bits.exp().map(drop))
        }
        _ => Some(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits as text.
    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<_> = bits.bytes().filter(|bit| b"01".contains(bit)).map(|bit| bit - b'0').collect();
        bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at))).collect()
    }

    fn unit(set: &str) -> Vec<u8> {
        [&[0, 0, 0, 1, 0x67][..], &bytes(set)].concat()
    }

    /// Baseline, 16x16, without cropping, up to whether there is more.
    const BASELINE: &str = "01000010 11000000 00011110 1 1 1 1 010 0 1 1 1 1 0";

    #[test]
    fn a_set_that_does_not_say_means_what_browsers_send() {
        assert_eq!(color(&unit(&format!("{BASELINE} 0 1"))), Some(COLOR));
        assert_eq!(color(&unit(&format!("{BASELINE} 1 0 0 0 1"))), Some(COLOR));
        assert_eq!(color(&[0, 0, 0, 1, 0x65, 1, 2]), None);
        assert_eq!(color(&unit("0100")), Some(COLOR));
    }

    #[test]
    fn what_a_set_says_is_found_behind_everything_before_it() {
        let full = ColorSpace { matrix: YuvMatrix::Bt709, range: YuvRange::Full };
        let signal = "1 101 1 1 00000001 00000001 00000001";
        // An aspect ratio written out, and an overscan, before it.
        let set = format!("{BASELINE} 1 1 11111111 {:016b} {:016b} 1 0 {signal}", 4, 3);
        assert_eq!(color(&unit(&set)), Some(full));
        // High profile, with a scaling list; order by a list; interlaced; cropped.
        let high = "01100100 00000000 00011110 1 010 1 1 0 1 0 1 00100 00101 00110 00100 00101 00110 00100 00101 00110 \
                    00100 00101 00110 00100 00101 00110 1 000000";
        let rest = "1 010 0 1 1 011 1 1 010 0 1 1 0 0 1 1 1 1 1 1";
        let set = format!("{high} {rest} 1 0 0 {signal}");
        assert_eq!(color(&unit(&set)), Some(full));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let unit = [&[0, 0, 1, 0x67][..], &bytes].concat();
            proptest::prop_assert!(color(&unit).is_some());
        }
    }
}

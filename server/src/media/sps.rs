//! The sequence parameter set of H.264: what a stream says of itself before its first picture.
//!
//! Names and order are those of ITU-T H.264, 7.3.2.1.1 and E.1.1.

use dreamframe::frame::{ColorSpace, YuvMatrix, YuvRange};

use super::assumed_color;

/// What the rest of the program wants to know of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sps {
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1 is 4:2:0.
    pub(super) chroma_format_idc: u32,
    pub(super) bit_depth: u32,
    pub(super) interlaced: bool,
    pub(super) color: ColorSpace,
}

/// Profiles whose parameter sets name a chroma format.
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Reads a parameter set with its one-byte NAL header; `None` where it is cut off or makes no sense.
pub(super) fn parse(nal: &[u8]) -> Option<Sps> {
    let (header, payload) = nal.split_first()?;
    if header & 0x1f != 7 {
        return None;
    }
    let payload = without_emulation(payload);
    let mut bits = Bits { bytes: &payload, at: 0 };
    let profile = bits.take(8)?;
    bits.take(16)?; // constraint flags, level
    bits.golomb()?; // seq_parameter_set_id
    let (mut chroma_format_idc, mut bit_depth, mut separate_planes) = (1, 8, false);
    if HIGH_PROFILES.contains(&profile) {
        chroma_format_idc = bits.golomb()?;
        separate_planes = chroma_format_idc == 3 && bits.flag()?;
        bit_depth = bits.golomb()?.max(bits.golomb()?).checked_add(8)?;
        bits.flag()?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            for list in 0..if chroma_format_idc == 3 { 12 } else { 8 } {
                skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    bits.golomb()?; // log2_max_frame_num_minus4
    skip_picture_order(&mut bits)?;
    bits.golomb()?; // max_num_ref_frames
    bits.flag()?; // gaps_in_frame_num_value_allowed_flag
    let width = bits.golomb()?.checked_add(1)?.checked_mul(16)?;
    let map_units = bits.golomb()?.checked_add(1)?.checked_mul(16)?;
    let interlaced = !bits.flag()?;
    if interlaced {
        bits.flag()?; // mb_adaptive_frame_field_flag
    }
    let height = map_units.checked_mul(if interlaced { 2 } else { 1 })?;
    bits.flag()?; // direct_8x8_inference_flag
    let (mut cut_x, mut cut_y) = (0_u32, 0_u32);
    if bits.flag()? {
        cut_x = bits.golomb()?.checked_add(bits.golomb()?)?;
        cut_y = bits.golomb()?.checked_add(bits.golomb()?)?;
    }
    let halved = |format: &[u32]| if !separate_planes && format.contains(&chroma_format_idc) { 2 } else { 1 };
    let width = width.checked_sub(cut_x.checked_mul(halved(&[1, 2]))?)?;
    let fields = if interlaced { 2 } else { 1 };
    let height = height.checked_sub(cut_y.checked_mul(halved(&[1]) * fields)?)?;
    // A set that ends early in the part about usability has still said all that decoding needs.
    let color = color(&mut bits, height).unwrap_or(assumed_color(height));
    Some(Sps { width, height, chroma_format_idc, bit_depth, interlaced, color })
}

/// Takes out the byte 3 that follows two zeros.
fn without_emulation(payload: &[u8]) -> Vec<u8> {
    let mut zeros = 0;
    let keep = |&byte: &u8| {
        let emulation = zeros >= 2 && byte == 3;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        !emulation
    };
    payload.iter().copied().filter(keep).collect()
}

fn skip_scaling_list(bits: &mut Bits<'_>, len: u32) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..len {
        if next != 0 {
            next = (last + bits.signed_golomb()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.golomb()? {
        0 => {
            bits.golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.flag()?; // delta_pic_order_always_zero_flag
            bits.golomb()?; // offset_for_non_ref_pic
            bits.golomb()?; // offset_for_top_to_bottom_field
            let cycle = bits.golomb()?;
            for _ in 0..cycle {
                bits.golomb()?; // offset_for_ref_frame; runs out of bits before it runs long
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// Matrix and range out of the usability information, as far as they are named; `None` without any.
fn color(bits: &mut Bits<'_>, height: u32) -> Option<ColorSpace> {
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.take(8)? == 255 {
        bits.take(32)?; // sar_width, sar_height
    }
    if bits.flag()? {
        bits.flag()?; // overscan_appropriate_flag
    }
    if !bits.flag()? {
        return None;
    }
    bits.take(3)?; // video_format
    let mut color = assumed_color(height);
    color.range = if bits.flag()? { YuvRange::Full } else { YuvRange::Limited };
    if bits.flag()? {
        bits.take(16)?; // colour_primaries, transfer_characteristics
        // 1 is BT.709; 4, 5 and 6 are BT.601 or so near that nobody sees it.
        match bits.take(8)? {
            1 => color.matrix = YuvMatrix::Bt709,
            4..=6 => color.matrix = YuvMatrix::Bt601,
            _ => {}
        }
    }
    Some(color)
}

/// Bits from the highest of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// Up to 32 bits as a number.
    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0_u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// An unsigned Exp-Golomb code.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.take(zeros)?)
    }

    fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        Some(if code % 2 == 0 { -code / 2 } else { code / 2 + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of the bundled clip: x264, constrained baseline, 640x360, no colour named.
    const CLIP: [u8; 25] = [
        0x67, 0x42, 0xC0, 0x1E, 0xD9, 0x00, 0xA0, 0x2F, 0xF9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00,
        0x03, 0x00, 0x32, 0x0F, 0x16, 0x2E, 0x48,
    ];

    #[test]
    fn the_set_of_the_bundled_clip_is_read() {
        let sps = parse(&CLIP).unwrap();
        assert_eq!((sps.width, sps.height, sps.chroma_format_idc, sps.bit_depth), (640, 360, 1, 8));
        assert!(!sps.interlaced);
        assert_eq!(sps.color, assumed_color(360));
    }

    #[test]
    fn a_set_cut_off_anywhere_is_refused_or_read_without_its_colours() {
        for len in 0..CLIP.len() {
            let sps = parse(&CLIP[..len]);
            assert!(sps.is_none_or(|sps| (sps.width, sps.height) == (640, 360)), "{len} bytes: {sps:?}");
        }
        assert_eq!(parse(&CLIP[..8]), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut bytes = CLIP;
            for byte in bytes.iter_mut().skip(1) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 29 == 0 {
                    *byte = (state >> 16) as u8;
                }
            }
            let _ = parse(&bytes);
        }
    }
}

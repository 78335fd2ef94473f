//! Parses H.264 sequence parameter sets.
//!
//! Names and order are those of ITU-T H.264, 7.3.2.1.1 and E.1.1.

use super::bits::Bits;
use super::parameter_sets::SEQUENCE;

/// The type of a subset's sequence parameter set, which begins as the other does; openh264 decodes by it, too.
pub(super) const SUBSET: u8 = 15;

/// Profiles whose parameter sets name a chroma format.
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// The description of the pictures of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceSet {
    /// Pixels of a row that are shown.
    pub width: u32,
    /// Rows that are shown.
    pub height: u32,
    /// Pixels of a row that are decoded, a multiple of 16.
    pub coded_width: u32,
    /// Rows that are decoded, a multiple of 16.
    pub coded_height: u32,
    /// The number of decoded pictures that later ones may refer to.
    pub reference_frames: u32,
    /// 1 is 4:2:0.
    pub chroma_format_idc: u32,
    /// The larger of the bit depths of luma and chroma.
    pub bit_depth: u32,
    /// Whether pictures may be coded as two fields.
    pub interlaced: bool,
    /// The colour space; `None` if the set does not have it.
    pub signal: Option<VideoSignal>,
}

/// The colour space of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoSignal {
    /// Whether luma is 0 to 255, rather than 16 to 235.
    pub full_range: bool,
    /// `matrix_coefficients` of table E-5; `None` if the set does not have it.
    pub matrix: Option<u32>,
}

impl SequenceSet {
    /// Reads a parameter set with its one-byte NAL header.
    ///
    /// `None` if it is cut off, makes no sense, or has bytes that no encoder writes and decoders read in different
    /// ways: what is read here must be what the decoder reads.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let (header, payload) = nal.split_first()?;
        if ![SEQUENCE, SUBSET].contains(&(header & 0x1f)) || !is_correctly_escaped(payload) {
            return None;
        }
        let bits = &mut Bits::new(payload);
        let profile = bits.number(8)?;
        bits.number(16)?; // constraint flags, level
        bits.exp()?; // seq_parameter_set_id
        let chroma = if HIGH_PROFILES.contains(&profile) { Chroma::read(bits)? } else { Chroma::default() };
        bits.exp()?; // log2_max_frame_num_minus4
        skip_picture_order(bits)?;
        let reference_frames = bits.exp()?;
        bits.flag()?; // gaps_in_frame_num_value_allowed_flag
        let coded_width = bits.exp()?.checked_add(1)?.checked_mul(16)?;
        let map_units = bits.exp()?.checked_add(1)?.checked_mul(16)?;
        let interlaced = !bits.flag()?;
        if interlaced {
            bits.flag()?; // mb_adaptive_frame_field_flag
        }
        let fields = if interlaced { 2 } else { 1 };
        let coded_height = map_units.checked_mul(fields)?;
        bits.flag()?; // direct_8x8_inference_flag
        let (mut cut_x, mut cut_y) = (0_u32, 0_u32);
        if bits.flag()? {
            cut_x = bits.exp()?.checked_add(bits.exp()?)?;
            cut_y = bits.exp()?.checked_add(bits.exp()?)?;
        }
        let width = coded_width.checked_sub(cut_x.checked_mul(chroma.halved(&[1, 2]))?)?;
        let height = coded_height.checked_sub(cut_y.checked_mul(chroma.halved(&[1]) * fields)?)?;
        let Chroma { format: chroma_format_idc, bit_depth, .. } = chroma;
        // A set that ends early in the usability information has all that decoding needs.
        let signal = signal(bits);
        Some(Self {
            width,
            height,
            coded_width,
            coded_height,
            reference_frames,
            chroma_format_idc,
            bit_depth,
            interlaced,
            signal,
        })
    }
}

/// The chroma format and bit depth of the high profiles.
struct Chroma {
    format: u32,
    bit_depth: u32,
    separate_planes: bool,
}

impl Default for Chroma {
    fn default() -> Self {
        Self { format: 1, bit_depth: 8, separate_planes: false }
    }
}

impl Chroma {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let format = bits.exp()?;
        let separate_planes = format == 3 && bits.flag()?;
        let bit_depth = bits.exp()?.max(bits.exp()?).checked_add(8)?;
        bits.flag()?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            for list in 0..if format == 3 { 12 } else { 8 } {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
        Some(Self { format, bit_depth, separate_planes })
    }

    /// The unit of cropping in pixels along a side that is halved in `formats`.
    fn halved(&self, formats: &[u32]) -> u32 {
        if !self.separate_planes && formats.contains(&self.format) { 2 } else { 1 }
    }
}

/// Returns whether the bytes are correctly escaped: `00 00` is followed by 3, and that by at most 3.
fn is_correctly_escaped(payload: &[u8]) -> bool {
    let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let payload = payload.get(..end).unwrap_or_default();
    payload.windows(3).enumerate().all(|(at, bytes)| match *bytes {
        [0, 0, 3] => payload.get(at + 3).is_none_or(|next| *next <= 3),
        [0, 0, next] => next > 3,
        _ => true,
    })
}

fn skip_scaling_list(bits: &mut Bits<'_>, len: u32) -> Option<()> {
    if !bits.flag()? {
        return Some(());
    }
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..len {
        if next != 0 {
            next = (last + i64::from(bits.signed_exp()?)).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.exp()? {
        0 => {
            bits.exp()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.flag()?; // delta_pic_order_always_zero_flag
            bits.exp()?; // offset_for_non_ref_pic
            bits.exp()?; // offset_for_top_to_bottom_field
            let cycle = bits.exp()?;
            for _ in 0..cycle {
                bits.exp()?; // offset_for_ref_frame; runs out of bits before it runs long
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// Matrix and range of the VUI parameters, if present.
fn signal(bits: &mut Bits<'_>) -> Option<VideoSignal> {
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.number(8)? == 255 {
        bits.number(32)?; // sar_width, sar_height
    }
    if bits.flag()? {
        bits.flag()?; // overscan_appropriate_flag
    }
    if !bits.flag()? {
        return None;
    }
    bits.number(3)?; // video_format
    let full_range = bits.flag()?;
    let mut matrix = None;
    if bits.flag()? {
        bits.number(16)?; // colour_primaries, transfer_characteristics
        matrix = Some(bits.number(8)?);
    }
    Some(VideoSignal { full_range, matrix })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::testing::sequence_set;

    // Of the bundled clip: x264, constrained baseline, 640x360, no colour named.
    const CLIP: [u8; 25] = [
        0x67, 0x42, 0xC0, 0x1E, 0xD9, 0x00, 0xA0, 0x2F, 0xF9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00,
        0x03, 0x00, 0x32, 0x0F, 0x16, 0x2E, 0x48,
    ];

    #[test]
    fn the_set_of_the_bundled_clip_is_read() {
        let set = SequenceSet::parse(&CLIP).unwrap();
        assert_eq!((set.width, set.height, set.chroma_format_idc, set.bit_depth), (640, 360, 1, 8));
        assert_eq!((set.coded_width, set.coded_height), (640, 368));
        assert!(!set.interlaced && set.signal.is_none());
    }

    #[test]
    fn sizes_and_reference_frames_are_read_from_either_kind_of_set() {
        for header in [0x67, 0x6f] {
            let set = SequenceSet::parse(&sequence_set(header, (256, 144), 16)).unwrap();
            assert_eq!((set.coded_width, set.coded_height, set.reference_frames), (4096, 2304, 16));
        }
        assert_eq!(SequenceSet::parse(&sequence_set(0x68, (1, 1), 1)), None);
    }

    #[test]
    fn a_set_cut_off_anywhere_is_refused_or_read_without_its_colours() {
        for len in 0..CLIP.len() {
            let set = SequenceSet::parse(&CLIP[..len]);
            assert!(set.is_none_or(|set| (set.width, set.height) == (640, 360)), "{len} bytes: {set:?}");
        }
        assert_eq!(SequenceSet::parse(&CLIP[..8]), None);
    }

    #[test]
    fn bytes_that_decoders_read_in_different_ways_are_refused() {
        for (payload, escaped) in [
            (&[1, 0, 0, 3][..], true),
            (&[0, 0, 3, 3, 0, 0, 3, 1], true),
            (&[0, 0, 4, 0, 0, 0], true),
            (&[0, 0, 3, 4], false),
            (&[1, 0, 0, 2], false),
            (&[1, 0, 0, 0, 5], false),
            (&[1, 0, 0, 1, 5], false),
        ] {
            assert_eq!(is_correctly_escaped(payload), escaped, "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), changed in 0..25_usize, to: u8) {
            let _ = SequenceSet::parse(&[&[0x67][..], &bytes].concat());
            let mut clip = CLIP;
            clip[changed] = to;
            let _ = SequenceSet::parse(&clip);
        }
    }
}

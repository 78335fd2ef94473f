//! Numbered pictures are recognised after encoding and decoding, in every format, size and colour space.

use super::{Converter, Rates, decoder, encoder};
use crate::ErrorKind;
use crate::frame::{ColorSpace, Fit, Frame, FrameConverter, Origin, PixelFormat, Timestamp, YuvMatrix, YuvRange};
use crate::transport::media::{AccessUnit, VideoCodec};
use crate::transport::rtp::limits::MAX_SIDE;
use crate::transport::rtp::parameter_sets::nals;
use crate::transport::testing::{SENT, converted, number, numbered, sequence_set};

/// All built-in codecs.
const CODECS: &[VideoCodec] = &[
    VideoCodec::H264,
    #[cfg(feature = "vp8")]
    VideoCodec::Vp8,
];

const RATES: Rates = Rates { bitrate: 2_000_000, ceiling: 3_000_000, frames: 30.0 };

/// The time of picture `number` at 30 per second.
fn at(number: u32) -> Timestamp {
    Timestamp(u64::from(number) * 33_333_333)
}

/// Encodes pictures, the first as a key frame.
fn coded(codec: VideoCodec, pictures: &[Frame], rates: Rates) -> Vec<AccessUnit> {
    let (mut converter, mut encoder) = (Converter::default(), encoder(codec, rates).unwrap());
    let unit = |(place, picture): (u32, &Frame)| {
        encoder.encode(&converter.convert(picture).unwrap(), false, at(place)).unwrap()
    };
    (0..).zip(pictures).filter_map(unit).collect()
}

/// Decodes units: the number and size of each picture.
fn numbers(codec: VideoCodec, units: &[AccessUnit]) -> Vec<(Option<u32>, u32, u32)> {
    let (mut decoder, mut out) = (decoder(codec, MAX_SIDE).unwrap(), Vec::new());
    for unit in units {
        decoder.decode(&unit.data, &mut |frame| out.push((number(frame), frame.width(), frame.height()))).unwrap();
    }
    out
}

#[test]
fn every_format_origin_and_colour_is_recognised() {
    let full = ColorSpace { matrix: YuvMatrix::Bt709, range: YuvRange::Full };
    use PixelFormat::{Bgra8, I420, Nv12, Rgb8, Rgba8, Rgba16F};
    for &codec in CODECS {
        for format in [Rgba8, Bgra8, Rgb8, Rgba16F, Nv12, I420] {
            for (origin, color) in [(Origin::TopLeft, SENT), (Origin::BottomLeft, SENT), (Origin::TopLeft, full)] {
                for (width, height) in [(64, 48), (67, 51)] {
                    let picture = converted(&numbered(0x5a3, width, height), format, origin, color);
                    let came = numbers(codec, &coded(codec, &[picture], RATES));
                    let expected = (Some(0x5a3), width & !1, height & !1);
                    assert_eq!(came, [expected], "{codec:?} {format} {origin:?} {color:?} {width}x{height}");
                }
            }
        }
    }
}

#[test]
fn colours_round_trip() {
    let colours = [[200, 30, 40], [20, 180, 60], [40, 50, 220], [128, 128, 128], [250, 240, 20]];
    for (&codec, rgb) in CODECS.iter().flat_map(|codec| colours.map(|rgb| (codec, rgb))) {
        let pixels: Vec<u8> = (0..64 * 64).flat_map(|_| rgb).collect();
        let picture = Frame::from_packed(PixelFormat::Rgb8, 64, 64, pixels).unwrap();
        let mut decoder = decoder(codec, MAX_SIDE).unwrap();
        let mut back = vec![0.0; 64 * 64 * 3];
        for unit in coded(codec, &[picture], RATES) {
            let show = &mut |frame: &crate::FrameView<'_>| {
                assert_eq!(frame.color(), SENT);
                FrameConverter::new().to_unit(frame, Fit::Stretch, 64, 64, &mut back).unwrap();
            };
            decoder.decode(&unit.data, show).unwrap();
        }
        let middle = &back[(32 * 64 + 32) * 3..][..3];
        for (back, sent) in middle.iter().zip(rgb) {
            assert!((back * 255.0 - f32::from(sent)).abs() < 6.0, "{codec:?} {middle:?} of {rgb:?}");
        }
    }
}

#[test]
fn key_frames_come_first_when_asked_for_and_with_a_new_size() {
    for &codec in CODECS {
        let (mut converter, mut encoder) = (Converter::default(), encoder(codec, RATES).unwrap());
        let mut units = Vec::new();
        for (place, (side, key)) in
            [(64, false), (64, false), (64, true), (64, false), (96, false), (96, false)].into_iter().enumerate()
        {
            let picture = numbered(place as u32, side, side);
            let unit = encoder.encode(&converter.convert(&picture).unwrap(), key, at(place as u32)).unwrap();
            units.extend(unit);
        }
        let keys: Vec<_> = units.iter().map(|unit| unit.key).collect();
        assert_eq!(keys, [true, false, true, false, true, false], "{codec:?}");
        for unit in units.iter().filter(|unit| unit.key && codec == VideoCodec::H264) {
            let kinds: Vec<_> = nals(&unit.data).map(|nal| nal[0] & 0x1f).collect();
            assert_eq!(kinds, [7, 8, 5]);
        }
        let came: Vec<_> = numbers(codec, &units).into_iter().map(|(number, width, _)| (number, width)).collect();
        assert_eq!(came, [(0, 64), (1, 64), (2, 64), (3, 64), (4, 96), (5, 96)].map(|(n, side)| (Some(n), side)));
    }
}

/// The size in bytes of each picture, at a bit rate that changes after `change` pictures.
fn sizes(codec: VideoCodec, first: u32, second: u32, change: u32, count: u32) -> Vec<usize> {
    let rates = Rates { bitrate: first, ..RATES };
    let (mut converter, mut encoder) = (Converter::default(), encoder(codec, rates).unwrap());
    let mut size = |place| {
        if place == change {
            encoder.set_bitrate(second);
        }
        // A background that never repeats, so that there is always too much to encode.
        let mut picture = numbered(place, 256, 256);
        let noise = picture.pixels_mut().iter_mut().zip((place..).map(|i| i.wrapping_mul(2_654_435_761) >> 24));
        noise.for_each(|(byte, noise)| *byte = byte.wrapping_add(noise as u8 / 4));
        let unit = encoder.encode(&converter.convert(&picture).unwrap(), false, at(place)).unwrap();
        unit.map_or(0, |unit| unit.data.len())
    };
    (0..count).map(&mut size).collect()
}

#[test]
fn bit_rate_can_be_lowered_and_raised_up_to_its_maximum() {
    let rate = |sizes: &[usize]| sizes.iter().sum::<usize>() as f64 * 8.0 * 30.0 / sizes.len() as f64;
    for &codec in CODECS {
        let lowered = sizes(codec, 2_000_000, 300_000, 24, 60);
        let (before, after) = (rate(&lowered[12..24]), rate(&lowered[42..]));
        assert!((1_200_000.0..2_600_000.0).contains(&before), "{codec:?} {before}");
        assert!((150_000.0..450_000.0).contains(&after), "{codec:?} {after}");
        let raised = sizes(codec, 300_000, 100_000_000, 24, 60);
        let (before, after) = (rate(&raised[12..24]), rate(&raised[42..]));
        assert!((150_000.0..450_000.0).contains(&before), "{codec:?} {before}");
        assert!((1_800_000.0..3_900_000.0).contains(&after), "{codec:?} {after}");
    }
}

#[test]
fn sizes_that_cannot_be_coded_are_refused_by_name() {
    let mut converter = Converter::default();
    for &codec in CODECS {
        let mut encoder = encoder(codec, RATES).unwrap();
        let small = numbered(0, 14, 64);
        let refused = encoder.encode(&converter.convert(&small).unwrap(), false, at(0)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("14x64"), "{refused}");
    }
    assert_eq!(converter.convert(&numbered(0, 1, 64)).unwrap_err().kind(), ErrorKind::InvalidFrame);
}

#[test]
fn invalid_video_is_rejected_and_a_key_frame_continues() {
    for &codec in CODECS {
        let units = coded(codec, &[numbered(1, 64, 64), numbered(2, 64, 64)], RATES);
        let mut decoder = decoder(codec, MAX_SIDE).unwrap();
        let mut shown = Vec::new();
        let mut decode = |data: &[u8]| decoder.decode(data, &mut |frame| shown.push(number(frame))).is_ok();
        assert!(!decode(&units[1].data));
        assert!(decode(&units[0].data));
        for garbage in [&[0, 0, 0, 1, 0x65, 0x88, 0xff, 0xff, 0, 1, 2][..], &[0, 0, 0, 1, 0x41, 0x9a, 0xff, 0x13]] {
            decode(garbage);
        }
        assert!(decode(&units[0].data) && decode(&units[1].data));
        assert_eq!(shown.last(), Some(&Some(2)));
    }
}

/// Replaces the sequence parameter set of an encoded picture.
fn with_set(unit: &AccessUnit, set: &[u8]) -> Vec<u8> {
    let kept = nals(&unit.data).filter(|nal| nal[0] & 0x1f != 7);
    std::iter::once(set).chain(kept).flat_map(|nal| [&[0, 0, 0, 1], nal].concat()).collect()
}

#[test]
fn h264_that_announces_more_than_is_decoded_is_refused_by_name() {
    let unit = &coded(VideoCodec::H264, &[numbered(1, 64, 64)], RATES)[0];
    for (header, size, references, named) in [
        (0x67, (256, 144), 1, ["4096x2304", "1920x1920"]),
        (0x67, (121, 16), 1, ["1936x256", "1920x1920"]),
        (0x67, (120, 120), 16, ["16 reference frames", "1920x1920"]),
        // A subset's parameter set, which openh264 also reads.
        (0x6f, (256, 144), 1, ["4096x2304", "1920x1920"]),
    ] {
        let mut decoder = decoder(VideoCodec::H264, MAX_SIDE).unwrap();
        decoder.decode(&unit.data, &mut |_| {}).unwrap();
        let bomb = with_set(unit, &sequence_set(header, size, references));
        let refused = decoder.decode(&bomb, &mut |_| panic!("nothing is shown")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(named.iter().all(|named| refused.to_string().contains(named)), "{refused}");
        // The set did not reach the decoder: the stream continues.
        decoder.decode(&unit.data, &mut |_| {}).unwrap();
    }
}

#[test]
fn h264_of_a_usual_size_is_decoded_with_any_number_of_reference_frames() {
    for (size, references) in [((120, 68), 16), ((120, 120), 4), ((80, 45), 16), ((68, 120), 3)] {
        let unit = [&[0, 0, 0, 1][..], &sequence_set(0x67, size, references)].concat();
        decoder(VideoCodec::H264, MAX_SIDE).unwrap().decode(&unit, &mut |_| {}).unwrap();
    }
}

#[test]
fn h264_with_bytes_that_decoders_read_in_two_ways_is_refused() {
    let unit = &coded(VideoCodec::H264, &[numbered(1, 64, 64)], RATES)[0];
    // A byte above 3 is invalid after `00 00 03`; openh264 skips the zeros before it, other decoders do not.
    for set in [&[0x67, 66, 0, 0, 3, 51, 0x80][..], &[0x67, 66, 0, 0, 2, 51, 0x80], &[0x67, 66, 0xc0, 51, 0, 0, 0, 5]] {
        let bomb = with_set(unit, set);
        let refused = decoder(VideoCodec::H264, MAX_SIDE).unwrap().decode(&bomb, &mut |_| {}).unwrap_err();
        assert!(refused.to_string().contains("sequence parameter set"), "{refused}");
    }
}

/// For any parameter set, the decoder's size does not exceed the checked one.
#[test]
fn h264_that_is_changed_anywhere_shows_nothing_larger_than_allowed() {
    // The second is larger than allowed below.
    let units = coded(VideoCodec::H264, &[numbered(1, 64, 64), numbered(2, 96, 96)], RATES);
    let mut random = 1_u32;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % below
    };
    let mut decoder = decoder(VideoCodec::H264, 64).unwrap();
    for _ in 0..600 {
        for unit in &units {
            let mut data = unit.data.to_vec();
            // Most changes are where the parameter sets are.
            for _ in 0..1 + next(3) {
                let below = if next(2) == 0 { data.len().min(40) } else { data.len() };
                let (at, any) = (next(below), next(256) as u8);
                data[at] = [0, 1, 3, 0xff, any][next(5)];
            }
            let _ = decoder.decode(&data, &mut |frame| assert!(frame.width() <= 64 && frame.height() <= 64));
        }
    }
}

#[test]
fn h264_of_more_units_than_a_picture_has_is_refused() {
    let unit = &coded(VideoCodec::H264, &[numbered(1, 64, 64)], RATES)[0];
    let slice = nals(&unit.data).last().unwrap();
    let slices = (0..5000).flat_map(|_| [&[0, 0, 1], &slice[..8]].concat());
    let bomb: Vec<u8> = unit.data.iter().copied().chain(slices).collect();
    let refused = decoder(VideoCodec::H264, MAX_SIDE).unwrap().decode(&bomb, &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("5003 units, expected at most 4096"), "{refused}");
}

/// Ten bytes can announce half a gigabyte of pixels.
#[cfg(feature = "vp8")]
#[test]
fn a_key_frame_that_announces_a_huge_picture_is_refused() {
    let mut key = coded(VideoCodec::Vp8, &[numbered(1, 64, 64)], RATES)[0].data.to_vec();
    key[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    let refused =
        decoder(VideoCodec::Vp8, MAX_SIDE).unwrap().decode(&key, &mut |_| panic!("nothing is shown")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("16383x16383"), "{refused}");
}

/// A size that the service never makes, but ten bytes can ask for.
#[cfg(feature = "vp8")]
#[test]
fn vp8_has_the_same_largest_side_as_h264() {
    let mut key = coded(VideoCodec::Vp8, &[numbered(1, 64, 64)], RATES)[0].data.to_vec();
    key[6..10].copy_from_slice(&[0x90, 0x07, 0x40, 0]);
    let refused =
        decoder(VideoCodec::Vp8, MAX_SIDE).unwrap().decode(&key, &mut |_| panic!("nothing is shown")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    assert!(refused.to_string().contains("1936x64") && refused.to_string().contains("1920x1920"), "{refused}");
}

#[cfg(not(feature = "vp8"))]
#[test]
fn a_codec_that_is_not_built_in_is_named() {
    for error in [decoder(VideoCodec::Vp8, MAX_SIDE).unwrap_err(), encoder(VideoCodec::Vp8, RATES).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("vp8"), "{error}");
    }
}

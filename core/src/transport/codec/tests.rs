//! What is coded is recognised after decoding, in every format, size and colour.

use super::{Converter, Rates, decoder, encoder};
use crate::ErrorKind;
use crate::frame::{ColorSpace, Fit, Frame, FrameConverter, Origin, PixelFormat, Timestamp, YuvMatrix, YuvRange};
use crate::transport::media::{AccessUnit, VideoCodec};
use crate::transport::rtp::parameter_sets::nals;
use crate::transport::testing::{SENT, converted, number, numbered};

/// All that are built in.
const CODECS: &[VideoCodec] = &[
    VideoCodec::H264,
    #[cfg(feature = "vp8")]
    VideoCodec::Vp8,
];

const RATES: Rates = Rates { bitrate: 2_000_000, ceiling: 3_000_000, frames: 30.0 };

/// When picture `number` of 30 in a second is taken.
fn at(number: u32) -> Timestamp {
    Timestamp(u64::from(number) * 33_333_333)
}

/// Codes pictures, the first as a key frame.
fn coded(codec: VideoCodec, pictures: &[Frame], rates: Rates) -> Vec<AccessUnit> {
    let (mut converter, mut encoder) = (Converter::default(), encoder(codec, rates).unwrap());
    let unit = |(place, picture): (u32, &Frame)| {
        encoder.encode(&converter.convert(picture).unwrap(), false, at(place)).unwrap()
    };
    (0..).zip(pictures).filter_map(unit).collect()
}

/// Decodes units: the number and size of each picture.
fn numbers(codec: VideoCodec, units: &[AccessUnit]) -> Vec<(Option<u32>, u32, u32)> {
    let (mut decoder, mut out) = (decoder(codec).unwrap(), Vec::new());
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
fn colours_come_back_as_they_were() {
    let colours = [[200, 30, 40], [20, 180, 60], [40, 50, 220], [128, 128, 128], [250, 240, 20]];
    for (&codec, rgb) in CODECS.iter().flat_map(|codec| colours.map(|rgb| (codec, rgb))) {
        let pixels: Vec<u8> = (0..64 * 64).flat_map(|_| rgb).collect();
        let picture = Frame::from_packed(PixelFormat::Rgb8, 64, 64, pixels).unwrap();
        let mut decoder = decoder(codec).unwrap();
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

/// Bytes of each picture at a bitrate that changes after `change` pictures.
fn sizes(codec: VideoCodec, first: u32, second: u32, change: u32, count: u32) -> Vec<usize> {
    let rates = Rates { bitrate: first, ..RATES };
    let (mut converter, mut encoder) = (Converter::default(), encoder(codec, rates).unwrap());
    let mut size = |place| {
        if place == change {
            encoder.set_bitrate(second);
        }
        // A ground that never comes again, so that there is always too much to code.
        let mut picture = numbered(place, 256, 256);
        let noise = picture.pixels_mut().iter_mut().zip((place..).map(|i| i.wrapping_mul(2_654_435_761) >> 24));
        noise.for_each(|(byte, noise)| *byte = byte.wrapping_add(noise as u8 / 4));
        let unit = encoder.encode(&converter.convert(&picture).unwrap(), false, at(place)).unwrap();
        unit.map_or(0, |unit| unit.data.len())
    };
    (0..count).map(&mut size).collect()
}

#[test]
fn a_bitrate_takes_hold_downwards_and_upwards_but_not_past_the_ceiling() {
    let rate = |sizes: &[usize]| sizes.iter().sum::<usize>() as f64 * 8.0 * 30.0 / sizes.len() as f64;
    for &codec in CODECS {
        let lowered = sizes(codec, 2_000_000, 300_000, 60, 150);
        let (before, after) = (rate(&lowered[30..60]), rate(&lowered[90..]));
        assert!((1_200_000.0..2_600_000.0).contains(&before), "{codec:?} {before}");
        assert!((150_000.0..450_000.0).contains(&after), "{codec:?} {after}");
        let raised = sizes(codec, 300_000, 100_000_000, 60, 150);
        let (before, after) = (rate(&raised[30..60]), rate(&raised[90..]));
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
fn what_is_no_video_is_refused_and_a_key_frame_goes_on() {
    for &codec in CODECS {
        let units = coded(codec, &[numbered(1, 64, 64), numbered(2, 64, 64)], RATES);
        let mut decoder = decoder(codec).unwrap();
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

/// Ten bytes can announce half a gigabyte of pixels.
#[cfg(feature = "vp8")]
#[test]
fn a_key_frame_that_announces_a_huge_picture_is_refused() {
    let mut key = coded(VideoCodec::Vp8, &[numbered(1, 64, 64)], RATES)[0].data.to_vec();
    key[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    let refused = decoder(VideoCodec::Vp8).unwrap().decode(&key, &mut |_| panic!("nothing is shown")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(refused.to_string().contains("16383x16383"), "{refused}");
}

#[cfg(not(feature = "vp8"))]
#[test]
fn a_codec_that_is_not_built_in_is_named() {
    for error in [decoder(VideoCodec::Vp8).unwrap_err(), encoder(VideoCodec::Vp8, RATES).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("vp8"), "{error}");
    }
}

//! Known values, properties of every format, and invalid layouts.

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const FORMATS: [PixelFormat; 6] = [
    PixelFormat::Rgba8,
    PixelFormat::Bgra8,
    PixelFormat::Rgb8,
    PixelFormat::Rgba16F,
    PixelFormat::Nv12,
    PixelFormat::I420,
];
const MATRICES: [YuvMatrix; 2] = [YuvMatrix::Bt601, YuvMatrix::Bt709];
const RANGES: [YuvRange; 2] = [YuvRange::Limited, YuvRange::Full];

fn subsampled(format: PixelFormat) -> bool {
    matches!(format, PixelFormat::Nv12 | PixelFormat::I420)
}

/// An image whose values differ between pixels, and are exactly representable as bytes.
fn gradient(width: u32, height: u32) -> Vec<f32> {
    let byte = |x: u32, y: u32, c: u32| (x * 7 + y * 13 + c * 71) % 256;
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    pixels.flat_map(|(x, y)| (0..3).map(move |c| byte(x, y, c) as f32 / 127.5 - 1.0)).collect()
}

/// An image of one colour, which subsampled chroma represents as well.
fn flat(width: u32, height: u32, rgb: [u8; 3]) -> Vec<f32> {
    (0..width * height).flat_map(|_| rgb.map(|byte| f32::from(byte) / 127.5 - 1.0)).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Splits padded memory into the planes of a format; every row is followed by `padding` bytes but for the last.
fn padded(format: PixelFormat, width: u32, height: u32, padding: usize) -> (Vec<Vec<u8>>, Vec<usize>) {
    let sizes = format.plane_sizes(width, height).into_iter().take(format.planes());
    sizes.map(|size| (vec![0xAA; size.span(size.row_bytes + padding).unwrap()], size.row_bytes + padding)).unzip()
}

fn open<'a>(
    format: PixelFormat,
    (width, height): (u32, u32),
    planes: &'a mut [Vec<u8>],
    strides: &[usize],
) -> FrameViewMut<'a> {
    let planes = planes.iter_mut().zip(strides).map(|(pixels, &stride)| PlaneMut { pixels, stride });
    FrameViewMut::new(format, width, height, planes).unwrap()
}

/// Writes `image` into a frame with this layout and reads it again.
fn round_trip(
    image: &[f32],
    (width, height): (u32, u32),
    format: PixelFormat,
    origin: Origin,
    color: ColorSpace,
    padding: usize,
) -> Vec<f32> {
    let mut converter = FrameConverter::new();
    let (mut planes, strides) = padded(format, width, height, padding);
    let mut view = open(format, (width, height), &mut planes, &strides).with_origin(origin).with_color(color);
    converter.from_signed(image, width, height, &mut view).unwrap();
    let mut back = vec![f32::NAN; image.len()];
    converter.to_signed(&view.as_view(), Fit::Stretch, width, height, &mut back).unwrap();
    for (plane, (bytes, &stride)) in planes.iter().zip(&strides).enumerate() {
        let row_bytes = format.plane_sizes(width, height)[plane].row_bytes;
        for row in bytes.chunks(stride) {
            assert!(row.iter().skip(row_bytes).all(|&byte| byte == 0xAA), "padding of plane {plane} was written");
        }
    }
    back
}

#[test]
fn bytes_are_converted_by_the_formula() {
    let pixels: Vec<u8> = (0..=255).flat_map(|byte| [byte, byte, byte, 0]).collect();
    let view = FrameView::packed(PixelFormat::Rgba8, 16, 16, &pixels).unwrap();
    let mut out = vec![0.0; 16 * 16 * 3];
    let mut converter = FrameConverter::new();
    converter.to_signed(&view, Fit::Cover, 16, 16, &mut out).unwrap();
    for (byte, pixel) in (0_u8..=255).zip(out.chunks(3)) {
        assert_eq!(pixel, [f32::from(byte) / 127.5 - 1.0; 3]);
    }
    converter.to_unit(&view, Fit::Cover, 16, 16, &mut out).unwrap();
    assert_eq!(out[3 * 51..3 * 52], [0.2; 3]);
}

#[test]
fn floats_are_rounded_and_clamped_and_nan_becomes_0() {
    let rgb = [-1.0, 1.0, 0.0, 3.0, -7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.003];
    let mut pixels = [9_u8; 12];
    let mut view = FrameViewMut::packed(PixelFormat::Bgra8, 3, 1, &mut pixels).unwrap();
    FrameConverter::new().from_signed(&rgb, 3, 1, &mut view).unwrap();
    assert_eq!(pixels, [128, 255, 0, 255, 0, 0, 255, 255, 128, 0, 255, 255]);
}

#[test]
fn half_precision_is_clamped() {
    let halves = [0.5_f32, 2.0, f32::NAN, 0.0].map(half::f16::from_f32);
    let pixels: Vec<u8> = halves.iter().flat_map(|half| half.to_ne_bytes()).collect();
    let view = FrameView::packed(PixelFormat::Rgba16F, 1, 1, &pixels).unwrap();
    let mut out = [0.0; 3];
    FrameConverter::new().to_signed(&view, Fit::Cover, 1, 1, &mut out).unwrap();
    assert_eq!(out, [0.0, 1.0, -1.0]);
}

/// Luma and chroma of the primaries by BT.601-7 and BT.709-6, in 8 bits.
#[test]
fn primaries_have_the_luma_and_chroma_of_the_standards() {
    let cases = [
        (YuvMatrix::Bt601, YuvRange::Limited, [[81, 90, 240], [145, 54, 34], [41, 240, 110]]),
        (YuvMatrix::Bt709, YuvRange::Limited, [[63, 102, 240], [173, 42, 26], [32, 240, 118]]),
        (YuvMatrix::Bt601, YuvRange::Full, [[76, 85, 255], [150, 44, 21], [29, 255, 107]]),
        (YuvMatrix::Bt709, YuvRange::Full, [[54, 99, 255], [182, 30, 12], [18, 255, 116]]),
    ];
    let primaries = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];
    for (matrix, range, expected) in cases {
        for (rgb, [y, u, v]) in primaries.into_iter().zip(expected) {
            let mut frame = FramePool::new(1).frame(PixelFormat::I420, 4, 4).unwrap();
            frame.set_color(ColorSpace { matrix, range });
            let image = flat(4, 4, rgb);
            FrameConverter::new().from_signed(&image, 4, 4, &mut frame.view_mut()).unwrap();
            let near = |plane: &[u8], wanted: i32| plane.iter().all(|&byte| (i32::from(byte) - wanted).abs() <= 1);
            let (luma, chroma) = frame.pixels().split_at(16);
            assert!(
                near(luma, y) && near(&chroma[..4], u) && near(&chroma[4..], v),
                "{rgb:?} in {matrix:?} {range:?} is {:?}, expected {:?}",
                frame.pixels(),
                [y, u, v]
            );
        }
    }
}

#[test]
fn greys_round_trip_in_every_colour_space() {
    for format in [PixelFormat::Nv12, PixelFormat::I420] {
        for (matrix, range) in MATRICES.into_iter().flat_map(|m| RANGES.map(|r| (m, r))) {
            for grey in [0, 128, 255] {
                let image = flat(6, 4, [grey; 3]);
                let color = ColorSpace { matrix, range };
                let back = round_trip(&image, (6, 4), format, Origin::TopLeft, color, 0);
                assert!(worst(&image, &back) <= 1.01 / 127.5, "{format} {color:?} {grey}: {back:?}");
            }
        }
    }
}

#[test]
fn a_bottom_left_frame_has_its_rows_reversed_in_memory() {
    let image = gradient(5, 4);
    let mut bottom = FramePool::new(1).frame(PixelFormat::Rgb8, 5, 4).unwrap();
    bottom.set_origin(Origin::BottomLeft);
    let mut top = FramePool::new(1).frame(PixelFormat::Rgb8, 5, 4).unwrap();
    let mut converter = FrameConverter::new();
    converter.from_signed(&image, 5, 4, &mut bottom.view_mut()).unwrap();
    converter.from_signed(&image, 5, 4, &mut top.view_mut()).unwrap();
    let turned: Vec<u8> = top.pixels().chunks(15).rev().flatten().copied().collect();
    assert_eq!(bottom.pixels(), turned);
}

#[test]
fn cover_and_fit_do_not_depend_on_the_origin() {
    let image = gradient(9, 5);
    for (fit, to) in [(Fit::Cover, (4, 4)), (Fit::Cover, (9, 2)), (Fit::Fit, (9, 12)), (Fit::Fit, (20, 5))] {
        let mut results = [Origin::TopLeft, Origin::BottomLeft].map(|origin| {
            let mut frame = FramePool::new(1).frame(PixelFormat::Rgba8, 9, 5).unwrap();
            frame.set_origin(origin);
            let mut converter = FrameConverter::new();
            converter.from_signed(&image, 9, 5, &mut frame.view_mut()).unwrap();
            let mut out = vec![f32::NAN; (to.0 * to.1 * 3) as usize];
            converter.to_signed(&frame.view(), fit, to.0, to.1, &mut out).unwrap();
            out
        });
        let [top, bottom] = &mut results;
        assert!(worst(top, bottom) <= 1.01 / 127.5, "{fit:?} to {to:?}");
    }
}

#[test]
fn cropping_changes_no_pixel_and_bars_are_black() {
    let image = gradient(8, 4);
    let mut frame = FramePool::new(1).frame(PixelFormat::Rgb8, 8, 4).unwrap();
    let mut converter = FrameConverter::new();
    converter.from_signed(&image, 8, 4, &mut frame.view_mut()).unwrap();
    let mut cut = vec![0.0; 4 * 4 * 3];
    converter.to_signed(&frame.view(), Fit::Cover, 4, 4, &mut cut).unwrap();
    for (row, whole) in cut.chunks(12).zip(image.chunks(24)) {
        assert_eq!(row, &whole[6..18]);
    }
    let mut barred = vec![0.0; 8 * 6 * 3];
    converter.to_signed(&frame.view(), Fit::Fit, 8, 6, &mut barred).unwrap();
    assert_eq!(barred[24..120], image[..]);
    assert!(barred[..24].iter().chain(&barred[120..]).all(|&value| value == -1.0));
}

#[test]
fn scaling_keeps_a_flat_colour_and_the_mean_of_stripes() {
    let mut converter = FrameConverter::new();
    let mut out = vec![0.0; 16 * 16 * 3];
    let pixels = [200, 100, 50].repeat(64 * 64);
    let view = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels).unwrap();
    converter.to_signed(&view, Fit::Cover, 16, 16, &mut out).unwrap();
    assert!(worst(&out, &flat(16, 16, [200, 100, 50])) < 1e-6);
    // The widened filter averages stripes of one pixel to grey; without widening, they would alias.
    let pixels: Vec<u8> = (0..64 * 64 * 3).map(|i| if (i / 3) % 2 == 0 { 0 } else { 255 }).collect();
    let view = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels).unwrap();
    converter.to_signed(&view, Fit::Cover, 16, 16, &mut out).unwrap();
    assert!(out.iter().all(|value| value.abs() < 0.1), "{:?}", &out[..12]);
}

#[test]
fn an_invalid_layout_is_rejected_with_the_value_and_the_bound() {
    let pixels = [0; 64];
    let plane = |stride| Plane { pixels: &pixels[..], stride };
    let cases = [
        (FrameView::packed(PixelFormat::Rgba8, 0, 4, &pixels), "0x4"),
        (FrameView::packed(PixelFormat::Rgba8, 4, 8193, &pixels), "8192"),
        (FrameView::packed(PixelFormat::Rgba8, 4, 5, &pixels), "got 64 bytes, expected at least 80"),
        (FrameView::new(PixelFormat::Nv12, 4, 4, &[plane(4)]), "got 1, expected 2"),
        (FrameView::new(PixelFormat::Rgba8, 4, 4, &[plane(15)]), "got 15 bytes, expected 16 to"),
        (FrameView::new(PixelFormat::Rgb8, 4, 4, &[plane(18)]), "got 64 bytes, expected at least 66"),
        (FrameView::new(PixelFormat::Rgb8, 4, 4, &[plane(usize::MAX)]), "stride"),
    ];
    for (view, needle) in cases {
        let error = view.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidFrame);
        assert!(error.to_string().contains(needle), "{error} does not say {needle}");
    }
    let mut out = [0.0; 5];
    let view = FrameView::packed(PixelFormat::Rgba8, 4, 4, &pixels).unwrap();
    let error = FrameConverter::new().to_signed(&view, Fit::Cover, 4, 4, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "image of 4x4: got 5 elements, expected 48");
}

#[test]
fn a_copied_frame_has_the_pixels_without_the_padding() {
    let pixels: Vec<u8> = (0..40).collect();
    let view = FrameView::new(PixelFormat::Rgb8, 3, 4, &[Plane { pixels: &pixels, stride: 10 }]).unwrap();
    let frame = FramePool::new(1).copy(&view.with_origin(Origin::BottomLeft)).unwrap();
    assert_eq!(frame.pixels()[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]);
    assert_eq!(frame.origin(), Origin::BottomLeft);
}

fn any_color() -> impl Strategy<Value = ColorSpace> {
    (prop::sample::select(&MATRICES[..]), prop::sample::select(&RANGES[..]))
        .prop_map(|(matrix, range)| ColorSpace { matrix, range })
}

fn any_origin() -> impl Strategy<Value = Origin> {
    prop::sample::select(&[Origin::TopLeft, Origin::BottomLeft][..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_of_any_layout_round_trip(
        width in 1_u32..70, height in 1_u32..20, padding in 0_usize..9,
        format in prop::sample::select(&FORMATS[..]), origin in any_origin(), color in any_color(),
        rgb in any::<[u8; 3]>(),
    ) {
        let subsampled = subsampled(format);
        let image = if subsampled { flat(width, height, rgb) } else { gradient(width, height) };
        let back = round_trip(&image, (width, height), format, origin, color, padding);
        // Limited range has 220 levels for 256 values, and chroma is rounded in both directions.
        let levels = if subsampled { 3.0 } else { 0.1 };
        prop_assert!(worst(&image, &back) <= levels / 127.5 + 1e-5, "{} levels", worst(&image, &back) * 127.5);
    }

    #[test]
    fn padding_does_not_change_the_image(
        width in 1_u32..40, height in 1_u32..20, padding in 0_usize..9,
        format in prop::sample::select(&FORMATS[..]), color in any_color(),
        to in (1_u32..40, 1_u32..40), fit in prop::sample::select(&[Fit::Cover, Fit::Fit, Fit::Stretch][..]),
    ) {
        let image = gradient(width, height);
        let mut converter = FrameConverter::new();
        let mut read = |padding| {
            let (mut planes, strides) = padded(format, width, height, padding);
            let mut view = open(format, (width, height), &mut planes, &strides).with_color(color);
            converter.from_signed(&image, width, height, &mut view).unwrap();
            let mut out = vec![f32::NAN; (to.0 * to.1 * 3) as usize];
            converter.to_signed(&view.as_view(), fit, to.0, to.1, &mut out).unwrap();
            out
        };
        let tight = read(0);
        prop_assert!(tight.iter().all(|value| (-1.0..=1.0).contains(value)));
        prop_assert_eq!(tight, read(padding));
    }

    #[test]
    fn no_layout_causes_a_panic(
        format in prop::sample::select(&FORMATS[..]), origin in any_origin(),
        width in prop_oneof![0_u32..20, any::<u32>()], height in prop_oneof![0_u32..20, any::<u32>()],
        planes in prop::collection::vec((0_usize..900, prop_oneof![0_usize..200, any::<usize>()]), 0..5),
        to in (0_u32..20, 0_u32..20), missing in 0_usize..2,
    ) {
        let memory = [7_u8; 900];
        let planes: Vec<_> =
            planes.iter().map(|&(len, stride)| Plane { pixels: &memory[..len], stride }).collect();
        let views = [
            FrameView::packed(format, width, height, &memory),
            FrameView::new(format, width, height, &planes),
        ];
        for view in views.into_iter().flatten() {
            let len = (to.0 * to.1 * 3) as usize;
            let mut out = vec![0.0; len.saturating_sub(missing)];
            let done = FrameConverter::new().to_signed(&view.with_origin(origin), Fit::Cover, to.0, to.1, &mut out);
            prop_assert_eq!(done.is_ok(), to.0 > 0 && to.1 > 0 && missing == 0);
        }
    }
}

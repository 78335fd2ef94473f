//! A target that takes bytes for a frame.

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe::frame::{FrameView, PixelFormat, Plane};

const FORMATS: [PixelFormat; 6] = [
    PixelFormat::Rgba8,
    PixelFormat::Bgra8,
    PixelFormat::Rgb8,
    PixelFormat::Rgba16F,
    PixelFormat::Nv12,
    PixelFormat::I420,
];

/// Where the planes of a frame lie in the bytes after it.
#[derive(Debug)]
struct Layout<'a> {
    format: PixelFormat,
    width: u32,
    height: u32,
    planes: Vec<(usize, usize)>,
    bytes: &'a [u8],
}

impl<'a> Arbitrary<'a> for Layout<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let format = *u.choose(&FORMATS)?;
        // Most sizes are small, so that some views are accepted.
        let mut side = || if u.ratio(7, 8)? { u.int_in_range(0..=20) } else { u.arbitrary() };
        let (width, height) = (side()?, side()?);
        let mut planes = Vec::new();
        for _ in 0..u.int_in_range(0..=4)? {
            let stride = if u.ratio(7, 8)? { u.int_in_range(0..=100)? } else { u.arbitrary()? };
            planes.push((u.int_in_range(0..=64)?, stride));
        }
        Ok(Self { format, width, height, planes, bytes: u.bytes(u.len())? })
    }
}

/// Any size, stride and format over any bytes: the view is refused, or all its rows lie within the bytes.
pub fn frame_view(bytes: &[u8]) {
    let Ok(layout) = Layout::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let Layout { format, width, height, planes, bytes } = layout;
    let plane = |&(start, stride): &(usize, usize)| Plane { pixels: bytes.get(start..).unwrap_or_default(), stride };
    let planes: Vec<Plane<'_>> = planes.iter().map(plane).collect();
    for view in [FrameView::new(format, width, height, &planes), FrameView::packed(format, width, height, bytes)] {
        let Ok(view) = view else { continue };
        assert_eq!((view.width(), view.height()), (width, height));
        for index in 0..4 {
            let rows = view.rows(index).map(<[u8]>::len).sum::<usize>();
            assert!(rows <= bytes.len());
            assert_eq!(view.plane(index).is_some(), rows > 0);
        }
    }
}

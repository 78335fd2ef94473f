//! A target that takes bytes for a frame.

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe::frame::{FrameView, FrameViewMut, PixelFormat, Plane, PlaneMut};

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

/// Any size, stride and format over any bytes: the view is refused, or all its rows lie within the bytes. What is written
/// to a row of a view for writing is read from that row, and changes no other byte.
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
    let mut written = bytes.to_vec();
    write(FrameViewMut::packed(format, width, height, &mut written).ok(), bytes);
    let mut copies = vec![bytes.to_vec(); planes.len()];
    let strided = copies.iter_mut().zip(&planes).map(|(copy, plane)| PlaneMut { pixels: copy, stride: plane.stride });
    write(FrameViewMut::new(format, width, height, strided).ok(), bytes);
}

/// Writes the number of each row to it, and reads all rows again. Each plane with gaps between its rows has `bytes` before.
fn write(view: Option<FrameViewMut<'_>>, bytes: &[u8]) {
    let Some(mut view) = view else { return };
    let mut expected = Vec::new();
    for index in 0..4 {
        for (row, number) in view.rows_mut(index).zip(0_u8..=u8::MAX) {
            assert!(row.len() <= bytes.len());
            row.fill(number ^ index as u8);
            expected.push((index, row.len(), number ^ index as u8));
        }
    }
    let read = view.as_view();
    let rows = (0..4).flat_map(|index| read.rows(index).zip(0_u8..=u8::MAX).map(move |(row, _)| (index, row)));
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.len(), expected.len());
    for ((index, row), (of, length, number)) in rows.into_iter().zip(expected) {
        assert_eq!((index, row.len()), (of, length));
        assert!(row.iter().all(|byte| *byte == number), "plane {index}: {row:?}, expected {number}");
    }
    for (plane, first) in (0..4).filter_map(|index| read.plane(index).zip(read.rows(index).next())) {
        for (at, byte) in plane.pixels.iter().enumerate().filter(|(at, _)| at % plane.stride >= first.len()) {
            assert_eq!(Some(byte), bytes.get(at), "byte {at} between two rows");
        }
    }
}

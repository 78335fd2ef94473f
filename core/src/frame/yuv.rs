//! Conversion of NV12 and I420 to and from RGB bytes, with the frame's matrix and range.
//!
//! Views must be packed: the library skips or rejects a last row that is not followed by the rest of its stride.

use yuv::{
    BufferStoreMut, YuvBiPlanarImage, YuvBiPlanarImageMut, YuvConversionMode, YuvError, YuvPlanarImage,
    YuvPlanarImageMut, YuvStandardMatrix,
};

use super::view::{FrameView, FrameViewMut, Plane};
use super::{ColorSpace, PixelFormat, YuvMatrix, YuvRange};
use crate::{Error, ErrorKind, Result};

// The most accurate of the modes that are compiled in.
const MODE: YuvConversionMode = YuvConversionMode::Balanced;

/// Writes the pixels of an NV12 or I420 view into `rgb`, three bytes a pixel without gaps, rows in the view's order.
///
/// Chroma is not interpolated between samples: resizing to the network's image removes finer detail anyway.
pub(super) fn to_rgb(view: &FrameView<'_>, rgb: &mut [u8]) -> Result<()> {
    let (width, height) = (view.width(), view.height());
    let (range, matrix) = parameters(view.color());
    let [y, u, v] = [0, 1, 2].map(|index| plane(view, index));
    let stride = width * 3;
    if view.format() == PixelFormat::Nv12 {
        let image = YuvBiPlanarImage {
            y_plane: y.pixels,
            y_stride: y.stride as u32,
            uv_plane: u.pixels,
            uv_stride: u.stride as u32,
            width,
            height,
        };
        yuv::yuv_nv12_to_rgb(&image, rgb, stride, range, matrix, MODE).map_err(failed)
    } else {
        let image = YuvPlanarImage {
            y_plane: y.pixels,
            y_stride: y.stride as u32,
            u_plane: u.pixels,
            u_stride: u.stride as u32,
            v_plane: v.pixels,
            v_stride: v.stride as u32,
            width,
            height,
        };
        yuv::yuv420_to_rgb(&image, rgb, stride, range, matrix).map_err(failed)
    }
}

/// Writes `rgb`, three bytes a pixel without gaps and in the view's order of rows, into an NV12 or I420 view.
pub(super) fn from_rgb(rgb: &[u8], view: &mut FrameViewMut<'_>) -> Result<()> {
    let (width, height, format) = (view.width(), view.height(), view.format());
    let (range, matrix) = parameters(view.color());
    let ([y, u, v], strides) = view.planes_mut();
    let [y_stride, u_stride, v_stride] = strides.map(|stride| stride as u32);
    let [y, u, v] = [y, u, v].map(BufferStoreMut::Borrowed);
    if format == PixelFormat::Nv12 {
        let mut image = YuvBiPlanarImageMut { y_plane: y, y_stride, uv_plane: u, uv_stride: u_stride, width, height };
        yuv::rgb_to_yuv_nv12(&mut image, rgb, width * 3, range, matrix, MODE).map_err(failed)
    } else {
        let (u_plane, v_plane) = (u, v);
        let mut image = YuvPlanarImageMut { y_plane: y, y_stride, u_plane, u_stride, v_plane, v_stride, width, height };
        yuv::rgb_to_yuv420(&mut image, rgb, width * 3, range, matrix, MODE).map_err(failed)
    }
}

/// Returns a plane; an empty one, which the library rejects, if the format does not have it.
fn plane<'a>(view: &FrameView<'a>, index: usize) -> Plane<'a> {
    view.plane(index).unwrap_or(Plane { pixels: &[], stride: 0 })
}

fn parameters(color: ColorSpace) -> (yuv::YuvRange, YuvStandardMatrix) {
    let range = match color.range {
        YuvRange::Limited => yuv::YuvRange::Limited,
        YuvRange::Full => yuv::YuvRange::Full,
    };
    let matrix = match color.matrix {
        YuvMatrix::Bt601 => YuvStandardMatrix::Bt601,
        YuvMatrix::Bt709 => YuvStandardMatrix::Bt709,
    };
    (range, matrix)
}

/// Views are valid, so an error of the library is a bug.
fn failed(error: YuvError) -> Error {
    Error::new(ErrorKind::Internal, "failed to convert a valid frame").with_source(error)
}

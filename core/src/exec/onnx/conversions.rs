//! Conversion of frames in the memory of the device, by one graph for each layout and placement: results are those of
//! [`FrameConverter`](crate::frame::FrameConverter).

use std::sync::{Arc, Mutex, PoisonError};

use super::glue::Vectors;
use super::graph::{Model, Port};
use super::proto::Attribute::{Int, Ints};
use super::proto::ElementType;
use super::runtime::Session;
use super::sessions::Sessions;
use crate::error::Result;
use crate::frame::{DeviceFrame, DeviceFrameMut, Fit, Origin, PixelFormat, Placement, SideFilter};

/// Maximum number of conversions that stay on the device, with the weights of their filters: several hosts' frames and
/// pictures, each of one size.
const MOST_CONVERSIONS: usize = 8;

/// Where the pixels of a frame are, relative to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    origin: Origin,
}

/// A conversion between a frame and an image, `[height, width, 3]` in -1..1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// From a frame to an image of this width and height.
    Import(Layout, Fit, (u32, u32)),
    /// To a frame of the image's size.
    Export(Layout),
}

/// The conversions of a device.
#[derive(Debug, Default)]
pub(super) struct Conversions {
    /// The most recently used ones are last.
    made: Mutex<Vec<(Conversion, Arc<Session>)>>,
}

impl Conversions {
    /// Returns the session of a conversion for values of type `element`; compiles it at the first use.
    ///
    /// # Errors
    ///
    /// Those of [`Sessions::session`].
    pub(super) fn session(
        &self,
        conversion: Conversion,
        element: ElementType,
        sessions: &Sessions,
    ) -> Result<Arc<Session>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match made.iter().position(|(known, _)| *known == conversion) {
            Some(index) => made.remove(index),
            None => {
                let model = match conversion {
                    Conversion::Import(layout, fit, size) => import(element, layout, fit, size)?,
                    Conversion::Export(layout) => export(element, layout),
                };
                let session = Arc::new(sessions.session(&model, &[])?);
                if made.len() == MOST_CONVERSIONS {
                    made.remove(0);
                }
                (conversion, session)
            }
        };
        let session = Arc::clone(&entry.1);
        made.push(entry);
        Ok(session)
    }

    /// Returns the number of conversions that are kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.made.lock().unwrap().len()
    }
}

impl Layout {
    pub(super) fn of(frame: &DeviceFrame<'_>) -> Self {
        let (width, height, stride) = (frame.width(), frame.height(), frame.stride());
        Self { format: frame.format(), width, height, stride, origin: frame.origin() }
    }

    pub(super) fn of_mut(frame: &DeviceFrameMut<'_>) -> Self {
        let (width, height, stride) = (frame.width(), frame.height(), frame.stride());
        Self { format: frame.format(), width, height, stride, origin: frame.origin() }
    }

    fn channels(self) -> usize {
        if self.format == PixelFormat::Rgb8 { 3 } else { 4 }
    }

    fn row_bytes(self) -> usize {
        self.width as usize * self.channels()
    }

    fn bottom_up(self) -> bool {
        self.origin == Origin::BottomLeft
    }

    /// Returns the dimensions of all rows but the last, with their padding, and those of the last; `None` and those of all
    /// rows if there is no padding.
    fn parts(self) -> (Option<[usize; 2]>, [usize; 2]) {
        let (height, row) = (self.height as usize, self.row_bytes());
        let is_padded = self.stride != row && height > 1;
        if is_padded { (Some([height - 1, self.stride]), [1, row]) } else { (None, [height, row]) }
    }
}

fn bytes_port(name: &str, dims: [usize; 2]) -> Port {
    Port { name: name.to_owned(), element: ElementType::U8, dims: dims.map(|dim| dim as i64).into() }
}

impl Vectors {
    /// Returns the elements of `x` from `start` to `end` along a dimension.
    fn sliced(&mut self, x: &str, axis: i64, start: usize, end: usize) -> String {
        let [start, end, axis] = [start as i64, end as i64, axis].map(|number| self.0.ints(&[number]));
        self.0.node("Slice", &[x, &start, &end, &axis], &[])
    }

    /// Returns the elements of `x` from `last` to the first along a dimension.
    fn reversed(&mut self, x: &str, axis: i64, last: usize) -> String {
        let [start, end, axis, step] = [last as i64, i64::MIN, axis, -1].map(|number| self.0.ints(&[number]));
        self.0.node("Slice", &[x, &start, &end, &axis, &step], &[])
    }

    fn reshaped(&mut self, x: &str, dims: &[i64]) -> String {
        let dims = self.0.ints(dims);
        self.0.node("Reshape", &[x, &dims], &[])
    }

    fn transposed(&mut self, x: &str, order: &[i64]) -> String {
        self.0.node("Transpose", &[x], &[("perm", Ints(order))])
    }

    /// Returns `x` with elements of `value` before and after it along each dimension.
    fn padded(&mut self, x: &str, by: &[usize], value: f32) -> String {
        let by: Vec<i64> = by.iter().map(|&by| by as i64).collect();
        let (by, value) = (self.0.ints(&by), self.0.scalar(ElementType::F32, value));
        self.0.node("Pad", &[x, &by, &value], &[])
    }

    fn cast(&mut self, x: &str, element: ElementType) -> String {
        self.0.node("Cast", &[x], &[("to", Int(element.code()))])
    }

    /// Returns `x` rounded and clamped to bytes, in single precision.
    fn bytes(&mut self, x: &str) -> String {
        let rounded = self.rounded(x);
        let [least, most] = [0.0, 255.0].map(|bound| self.0.scalar(ElementType::F32, bound));
        self.0.node("Clip", &[&rounded, &least, &most], &[])
    }

    /// Returns the product of the two `operands`, of which one is the matrix of weights, as bytes. It is the sum of two
    /// products, whose operands are exact in TF32, since the CUDA provider multiplies in that.
    fn product(&mut self, dims: [usize; 2], weights: &[f32], operands: impl Fn(String) -> [String; 2]) -> String {
        let [upper, lower] = [0, 1].map(|part| {
            let part = weights.iter().map(|&weight| tf32_parts(weight)[part]);
            let [a, b] = operands(self.0.matrix(ElementType::F32, dims, part));
            self.0.node("MatMul", &[&a, &b], &[])
        });
        let sum = self.0.node("Add", &[&upper, &lower], &[]);
        self.bytes(&sum)
    }

    /// Returns the image `x` of bytes, `[rows, columns, 3]` in single precision, scaled by products with the weights.
    fn scaled_image(&mut self, x: &str, rows: &SideFilter, columns: &SideFilter) -> String {
        // Planes of colours, so that both products are of large matrices.
        let mut x = self.transposed(x, &[2, 0, 1]);
        if let Some(weights) = &rows.weights {
            let len = rows.range.len();
            let dims = [weights.len() / len, len];
            x = self.product(dims, weights, |matrix| [matrix, x.clone()]);
        }
        if let Some(weights) = &columns.weights {
            let len = columns.range.len();
            let mut transposed = vec![0.0; weights.len()];
            dreamframe_kernels::numbers::transpose(weights, len, &mut transposed);
            let dims = [len, weights.len() / len];
            x = self.product(dims, &transposed, |matrix| [x.clone(), matrix]);
        }
        self.transposed(&x, &[1, 2, 0])
    }
}

/// Returns two numbers with the sum `weight` and at most 11 significant bits, as TF32 has; weights have at most 15.
fn tf32_parts(weight: f32) -> [f32; 2] {
    const DROPPED_BITS: u32 = 13;

    let upper = f32::from_bits(weight.to_bits() >> DROPPED_BITS << DROPPED_BITS);
    [upper, weight - upper]
}

/// Bytes of a frame to values in -1..1, cropped and scaled. Inputs: [`Layout::parts`].
fn import(element: ElementType, layout: Layout, fit: Fit, image: (u32, u32)) -> Result<Model> {
    let mut graph = Vectors::new();
    let (padded, rest) = layout.parts();
    if let Some(dims) = padded {
        graph.0.input(bytes_port("rows", dims));
    }
    graph.0.input(bytes_port("last", rest));
    let mut x = "last".to_owned();
    if padded.is_some() {
        let rows = graph.sliced("rows", 1, 0, layout.row_bytes());
        x = graph.0.node("Concat", &[&rows, "last"], &[("axis", Int(0))]);
    }
    let mut place = Placement::new(fit, (layout.width, layout.height), image);
    if layout.bottom_up() {
        place = place.bottom_up(layout.height);
    }
    let Placement { source, target } = place;
    let rows = SideFilter::new(source.top, source.height, target.height, layout.height)?;
    let columns = SideFilter::new(source.left, source.width, target.width, layout.width)?;
    let channels = layout.channels();
    x = graph.sliced(&x, 0, rows.range.start, rows.range.end);
    x = graph.sliced(&x, 1, columns.range.start * channels, columns.range.end * channels);
    x = graph.reshaped(&x, &[rows.range.len() as i64, columns.range.len() as i64, channels as i64]);
    x = match layout.format {
        PixelFormat::Bgra8 => graph.reversed(&x, 2, 2),
        PixelFormat::Rgba8 => graph.sliced(&x, 2, 0, 3),
        PixelFormat::Rgb8 | PixelFormat::Rgba16F | PixelFormat::Nv12 | PixelFormat::I420 => x,
    };
    x = graph.cast(&x, ElementType::F32);
    if rows.weights.is_some() || columns.weights.is_some() {
        x = graph.scaled_image(&x, &rows, &columns);
    }
    if layout.bottom_up() {
        x = graph.reversed(&x, 0, target.height as usize - 1);
    }
    let [bottom, right] = [image.1 - target.height - target.top, image.0 - target.width - target.left];
    let bars = [target.top, target.left, 0, bottom, right, 0].map(|side| side as usize);
    if bars != [0; 6] {
        x = graph.padded(&x, &bars, 0.0);
    }
    x = graph.reshaped(&x, &[-1]);
    x = graph.signed(&x);
    Ok(graph.finish("import_frame", &x, element))
}

/// Values in -1..1 to bytes of a frame. Inputs: all rows but the last with their padding, if there is any, and the values.
/// Outputs: [`Layout::parts`].
fn export(element: ElementType, layout: Layout) -> Model {
    let mut graph = Vectors::new();
    let (padded, rest) = layout.parts();
    if let Some(dims) = padded {
        graph.0.input(bytes_port("old", dims));
    }
    let (width, height, row) = (layout.width as usize, layout.height as usize, layout.row_bytes());
    let values = graph.input("x", element);
    let mut x = graph.whole(&values);
    x = graph.reshaped(&x, &[height as i64, width as i64, 3]);
    if layout.bottom_up() {
        x = graph.reversed(&x, 0, height - 1);
    }
    if layout.format == PixelFormat::Bgra8 {
        x = graph.reversed(&x, 2, 2);
    }
    if layout.channels() == 4 {
        x = graph.padded(&x, &[0, 0, 0, 0, 0, 1], 255.0);
    }
    x = graph.cast(&x, ElementType::U8);
    x = graph.reshaped(&x, &[height as i64, row as i64]);
    if let Some(dims) = padded {
        let pixels = graph.sliced(&x, 0, 0, height - 1);
        let padding = graph.sliced("old", 1, row, layout.stride);
        let axis = ("axis", Int(1));
        graph.0.node_with_outputs("Concat", &[&pixels, &padding], &["rows"], &[axis]);
        graph.0.output(bytes_port("rows", dims));
        x = graph.sliced(&x, 0, height - 1, height);
    }
    graph.0.node_with_outputs("Identity", &[&x], &["last"], &[]);
    graph.0.output(bytes_port("last", rest));
    graph.0.finish("export_frame")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_weights_are_exact_in_tf32() {
        for number in i16::MIN..=i16::MAX {
            let weight = f32::from(number) / 8192.0;
            let parts = tf32_parts(weight);
            assert_eq!(parts[0] + parts[1], weight);
            assert!(parts.iter().all(|part| part.to_bits().trailing_zeros() >= 13), "{weight}: {parts:?}");
        }
    }
}

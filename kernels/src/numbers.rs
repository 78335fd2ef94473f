//! Number formats of stored elements: conversions from and to `f32`, and operations on whole weights.

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use crate::panels::Panels;

/// A stored number format.
pub trait Number: Copy + Default + Send + Sync + 'static {
    /// Converts to the nearest number.
    fn of(x: f32) -> Self;

    /// Converts to the nearest numbers; `to` is as long as `from`.
    fn convert(from: &[f32], to: &mut [Self]);

    /// See [`Panels::pack`].
    #[doc(hidden)]
    fn pack(panels: &Panels<'_>, numbers: &[f32], to: &mut [Self]);
}

macro_rules! number {
    ($type:ty, $of:expr) => {
        impl Number for $type {
            fn of(x: f32) -> Self {
                $of(x)
            }

            fn convert(from: &[f32], to: &mut [Self]) {
                to.iter_mut().zip(from).for_each(|(to, &x)| *to = Self::of(x));
            }

            fn pack(panels: &Panels<'_>, numbers: &[f32], to: &mut [Self]) {
                panels.pack_numbers(numbers, to);
            }
        }
    };
}

number!(f32, |x| x);
// The upper half of an `f32`.
number!(u16, |x| bf16::from_f32(x).to_bits());
number!(i8, |x| x as i8);

/// Returns whether all numbers are finite.
pub fn all_finite(numbers: &[f32]) -> bool {
    const INFINITY: u32 = 0x7f80_0000;
    let magnitude = numbers.iter().fold(0, |max: i32, x| max.max((x.to_bits() & 0x7fff_ffff) as i32));
    (magnitude as u32) < INFINITY
}

/// Reads little-endian 32-bit floats; `bytes` has one for each element of `out`, here and below.
pub fn read_f32(bytes: &[u8], out: &mut [f32]) {
    for (x, &four) in out.iter_mut().zip(bytes.as_chunks().0) {
        *x = f32::from_le_bytes(four);
    }
}

/// Reads little-endian 64-bit floats.
pub fn read_f64(bytes: &[u8], out: &mut [f32]) {
    for (x, &eight) in out.iter_mut().zip(bytes.as_chunks().0) {
        *x = f64::from_le_bytes(eight) as f32;
    }
}

/// Reads little-endian 16-bit floats.
pub fn read_f16(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; 1024];
    for (out, bytes) in out.chunks_mut(halves.len()).zip(bytes.chunks(2 * halves.len())) {
        let halves = &mut halves[..out.len()];
        halves.iter_mut().zip(bytes.as_chunks().0).for_each(|(half, &two)| *half = f16::from_le_bytes(two));
        halves.convert_to_f32_slice(out);
    }
}

/// Reads little-endian bf16.
pub fn read_bf16(bytes: &[u8], out: &mut [f32]) {
    for (x, &two) in out.iter_mut().zip(bytes.as_chunks().0) {
        *x = bf16::from_le_bytes(two).to_f32();
    }
}

/// Returns the bytes of numbers, little-endian.
pub fn write_f32(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The same as 16-bit floats; `None` if a number is too large.
pub fn write_f16(numbers: &[f32]) -> Option<Vec<u8>> {
    let halves: Vec<_> = numbers.iter().map(|&number| f16::from_f32(number)).collect();
    let finite = halves.iter().all(|half| half.is_finite());
    finite.then(|| halves.into_iter().flat_map(f16::to_le_bytes).collect())
}

/// The same as bf16.
pub fn write_bf16(numbers: &[f32]) -> Option<Vec<u8>> {
    let halves: Vec<_> = numbers.iter().map(|&number| bf16::from_f32(number)).collect();
    let finite = halves.iter().all(|half| half.is_finite());
    finite.then(|| halves.into_iter().flat_map(bf16::to_le_bytes).collect())
}

/// Interleaves the bytes of `low` and `high`.
pub fn interleave(low: &[u8], high: &[u8], out: &mut [u8]) {
    for (pair, (low, high)) in out.as_chunks_mut().0.iter_mut().zip(low.iter().zip(high)) {
        *pair = [*low, *high];
    }
}

/// Writes the transpose of a matrix, whose rows have `columns` elements. An incomplete last row is ignored.
pub fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns.max(1);
    for (y, row) in matrix.chunks_exact(columns.max(1)).enumerate() {
        for (x, &number) in row.iter().enumerate() {
            if let Some(place) = out.get_mut(x * rows + y) {
                *place = number;
            }
        }
    }
}

/// Appends `len` zeros.
pub fn extend_with_zeros(numbers: &mut Vec<f32>, more: usize) {
    numbers.resize(numbers.len() + more, 0.0);
}

/// Appends `len` zero bytes.
pub fn extend_with_zero_bytes(bytes: &mut Vec<u8>, more: usize) {
    bytes.resize(bytes.len() + more, 0);
}

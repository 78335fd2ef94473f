//! Conversion of rows between pixels and an image's values, compiled for wide vectors.

use half::f16;

use super::value_range::ValueRange;
use crate::simd;

/// The byte order of a pixel.
#[derive(Clone, Copy)]
pub(super) enum Channels {
    Rgb,
    Rgba,
    Bgra,
}

impl Channels {
    /// Bytes of a pixel.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Rgba | Self::Bgra => 4,
        }
    }
}

/// Writes a row of bytes as values, without alpha.
pub(super) fn read<R: ValueRange>(channels: Channels, from: &[u8], to: &mut [[R::Value; 3]]) {
    match channels {
        Channels::Rgb => simd::widest(|| read_values::<R>(from, to.as_flattened_mut())),
        Channels::Rgba => simd::widest(|| read_pixels::<R>(from, to, |[r, g, b, _]| [r, g, b])),
        Channels::Bgra => simd::widest(|| read_pixels::<R>(from, to, |[b, g, r, _]| [r, g, b])),
    }
}

/// Collects bytes in a buffer first, so that the compiler vectorizes their conversion.
#[inline(always)]
fn read_pixels<R: ValueRange>(from: &[u8], to: &mut [[R::Value; 3]], colour: impl Fn([u8; 4]) -> [u8; 3]) {
    const BLOCK: usize = 128;

    let mut bytes = [[0; 3]; BLOCK];
    for (to, from) in to.chunks_mut(BLOCK).zip(from.as_chunks::<4>().0.chunks(BLOCK)) {
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = colour(*from);
        }
        read_values::<R>(bytes[..from.len()].as_flattened(), to.as_flattened_mut());
    }
}

#[inline(always)]
fn read_values<R: ValueRange>(from: &[u8], to: &mut [R::Value]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = R::of_byte(*from);
    }
}

/// Writes a row of values as bytes, rounded to nearest; alpha is opaque.
pub(super) fn write<R: ValueRange>(channels: Channels, from: &[R::Value], to: &mut [u8]) {
    let pixels = from.as_chunks::<3>().0;
    match channels {
        Channels::Rgb => simd::widest(|| {
            for (to, value) in to.iter_mut().zip(from) {
                *to = R::to_byte(*value);
            }
        }),
        Channels::Rgba => simd::widest(|| {
            for (to, &[r, g, b]) in to.as_chunks_mut().0.iter_mut().zip(pixels) {
                *to = opaque([r, g, b].map(R::to_byte));
            }
        }),
        Channels::Bgra => simd::widest(|| {
            for (to, &[r, g, b]) in to.as_chunks_mut().0.iter_mut().zip(pixels) {
                *to = opaque([b, g, r].map(R::to_byte));
            }
        }),
    }
}

/// Returns an opaque pixel, assembled as one integer, which the compiler vectorizes.
#[inline(always)]
fn opaque(colour: [u8; 3]) -> [u8; 4] {
    let [a, b, c] = colour.map(u32::from);
    (a | b << 8 | c << 16 | 255 << 24).to_le_bytes()
}

/// Writes a row of values as half-precision pixels in 0..=1, opaque.
pub(super) fn write_halves<R: ValueRange>(from: &[R::Value], to: &mut [u8]) {
    for (to, from) in to.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<3>().0) {
        *to = half_pixel(from.map(R::to_unit));
    }
}

/// Returns an opaque half-precision pixel.
fn half_pixel([r, g, b]: [f32; 3]) -> [u8; 8] {
    let [r, g, b, a] = [r, g, b, 1.0].map(|value| f16::from_f32(value).to_ne_bytes());
    [r[0], r[1], g[0], g[1], b[0], b[1], a[0], a[1]]
}

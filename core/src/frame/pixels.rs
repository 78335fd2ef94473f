//! Conversion of rows between bytes and floats, compiled for wide vectors.

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

/// Writes a row of bytes as floats in the range `range`, without alpha.
pub(super) fn read(channels: Channels, range: ValueRange, from: &[u8], to: &mut [[f32; 3]]) {
    // The range is chosen outside of the loops.
    match range {
        ValueRange::Signed => read_with(channels, from, to, |byte| ValueRange::Signed.of_byte(byte)),
        ValueRange::Unit => read_with(channels, from, to, |byte| ValueRange::Unit.of_byte(byte)),
    }
}

#[inline(always)]
fn read_with(channels: Channels, from: &[u8], to: &mut [[f32; 3]], to_float: impl Fn(u8) -> f32) {
    match channels {
        Channels::Rgb => simd::widest(|| read_values(from, to.as_flattened_mut(), to_float)),
        Channels::Rgba => simd::widest(|| read_pixels(from, to, |[r, g, b, _]| [r, g, b], to_float)),
        Channels::Bgra => simd::widest(|| read_pixels(from, to, |[b, g, r, _]| [r, g, b], to_float)),
    }
}

/// Collects bytes in a buffer first, so that the compiler vectorizes their conversion.
#[inline(always)]
fn read_pixels(from: &[u8], to: &mut [[f32; 3]], colour: impl Fn([u8; 4]) -> [u8; 3], to_float: impl Fn(u8) -> f32) {
    const BLOCK: usize = 128;

    let mut bytes = [[0; 3]; BLOCK];
    for (to, from) in to.chunks_mut(BLOCK).zip(from.as_chunks::<4>().0.chunks(BLOCK)) {
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = colour(*from);
        }
        read_values(bytes[..from.len()].as_flattened(), to.as_flattened_mut(), &to_float);
    }
}

#[inline(always)]
fn read_values(from: &[u8], to: &mut [f32], to_float: impl Fn(u8) -> f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to_float(*from);
    }
}

/// Writes a row of floats in the range `range` as bytes, rounded to nearest; alpha is opaque.
pub(super) fn write(channels: Channels, range: ValueRange, from: &[f32], to: &mut [u8]) {
    match range {
        ValueRange::Signed => write_with(channels, from, to, |number| ValueRange::Signed.to_byte(number)),
        ValueRange::Unit => write_with(channels, from, to, |number| ValueRange::Unit.to_byte(number)),
    }
}

#[inline(always)]
fn write_with(channels: Channels, from: &[f32], to: &mut [u8], byte: impl Fn(f32) -> u8) {
    let pixels = from.as_chunks::<3>().0;
    match channels {
        Channels::Rgb => simd::widest(|| {
            for (to, number) in to.iter_mut().zip(from) {
                *to = byte(*number);
            }
        }),
        Channels::Rgba => simd::widest(|| {
            for (to, &[r, g, b]) in to.as_chunks_mut().0.iter_mut().zip(pixels) {
                *to = opaque([byte(r), byte(g), byte(b)]);
            }
        }),
        Channels::Bgra => simd::widest(|| {
            for (to, &[r, g, b]) in to.as_chunks_mut().0.iter_mut().zip(pixels) {
                *to = opaque([byte(b), byte(g), byte(r)]);
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

/// Writes a row of floats in the range `range` as half-precision pixels in 0..=1, opaque.
pub(super) fn write_halves(range: ValueRange, from: &[f32], to: &mut [u8]) {
    for (to, from) in to.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<3>().0) {
        *to = half_pixel(from.map(|value| range.to_unit(value)));
    }
}

/// Returns an opaque half-precision pixel.
fn half_pixel([r, g, b]: [f32; 3]) -> [u8; 8] {
    let [r, g, b, a] = [r, g, b, 1.0].map(|value| f16::from_f32(value).to_ne_bytes());
    [r[0], r[1], g[0], g[1], b[0], b[1], a[0], a[1]]
}

//! The values of an image's pixels, and their conversion from and to bytes.

/// How an image stores its values.
///
/// The functions are always inlined, so that they are compiled for the vector width of the calling loop.
pub(super) trait ValueRange {
    /// The type of a value.
    type Value: Copy;

    /// Converts a byte; the bits are the same on every machine.
    fn of_byte(byte: u8) -> Self::Value;

    /// Converts a value of 0..=1; out-of-range values are clamped, NaN becomes 0.
    fn of_unit(value: f32) -> Self::Value;

    /// Converts to 0..=1; out-of-range values are clamped, NaN becomes 0.
    fn to_unit(value: Self::Value) -> f32;

    /// Converts to a byte, rounded to nearest.
    fn to_byte(value: Self::Value) -> u8;
}

/// Floats from -1 to 1.
pub(super) struct Signed;

/// Floats from 0 to 1.
pub(super) struct Unit;

/// Bytes.
pub(super) struct Bytes;

impl ValueRange for Signed {
    type Value = f32;

    #[inline(always)]
    fn of_byte(byte: u8) -> f32 {
        f32::from(byte) / 127.5 - 1.0
    }

    #[inline(always)]
    fn of_unit(value: f32) -> f32 {
        clamped(value) * 2.0 - 1.0
    }

    #[inline(always)]
    fn to_unit(value: f32) -> f32 {
        clamped(value * 0.5 + 0.5)
    }

    #[inline(always)]
    fn to_byte(value: f32) -> u8 {
        truncated(Self::to_unit(value) * 255.0 + 0.5)
    }
}

impl ValueRange for Unit {
    type Value = f32;

    #[inline(always)]
    fn of_byte(byte: u8) -> f32 {
        f32::from(byte) / 255.0
    }

    #[inline(always)]
    fn of_unit(value: f32) -> f32 {
        clamped(value)
    }

    #[inline(always)]
    fn to_unit(value: f32) -> f32 {
        clamped(value)
    }

    #[inline(always)]
    fn to_byte(value: f32) -> u8 {
        truncated(clamped(value) * 255.0 + 0.5)
    }
}

impl ValueRange for Bytes {
    type Value = u8;

    #[inline(always)]
    fn of_byte(byte: u8) -> u8 {
        byte
    }

    #[inline(always)]
    fn of_unit(value: f32) -> u8 {
        Unit::to_byte(value)
    }

    #[inline(always)]
    fn to_unit(value: u8) -> f32 {
        Unit::of_byte(value)
    }

    #[inline(always)]
    fn to_byte(value: u8) -> u8 {
        value
    }
}

/// `value as u8` for 0..256, in a form that compilers vectorize, unlike a saturating cast: floats from 2^23 to 2^24
/// have no fraction, and their lowest bits are an integer.
#[inline(always)]
fn truncated(value: f32) -> u8 {
    const WHOLE: f32 = 8_388_608.0;

    let nearest = value + WHOLE;
    let above = u32::from(nearest - WHOLE > value);
    (nearest.to_bits() - above) as u8
}

/// Clamps to 0..=1; NaN becomes 0, unlike with `f32::clamp`.
#[inline(always)]
fn clamped(value: f32) -> f32 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < 1.0 { value } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_equals_a_cast() {
        for byte in 0..=255_u32 {
            for part in [0.0, 1e-7, 0.25, 0.5 - f32::EPSILON, 0.5, 0.5 + f32::EPSILON, 0.75, 1.0 - f32::EPSILON] {
                let value = byte as f32 + part;
                let neighbours = [value, value.next_up(), value.next_down()];
                for value in neighbours.into_iter().filter(|value| (0.0..256.0).contains(value)) {
                    assert_eq!(truncated(value), value as u8, "{value}");
                }
            }
        }
    }

    #[test]
    fn bytes_round_trip_and_out_of_range_values_are_clamped() {
        fn check<R: ValueRange<Value = f32>>() {
            let outside = [f32::NAN, f32::NEG_INFINITY, -2.0, 2.0, f32::INFINITY];
            assert_eq!(outside.map(R::to_byte), [0, 0, 0, 255, 255]);
            assert_eq!(outside.map(R::to_unit), [0.0, 0.0, 0.0, 1.0, 1.0]);
            assert!((0..=255).all(|byte| R::to_byte(R::of_byte(byte)) == byte));
        }
        check::<Signed>();
        check::<Unit>();
        assert!((0..=255).all(|byte| Bytes::of_unit(Bytes::to_unit(byte)) == byte));
    }
}

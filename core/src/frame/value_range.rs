//! The ranges of floating-point pixels, and their conversion from and to bytes.

/// A range of floating-point pixels: the values of the bytes 0 and 255.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueRange {
    /// -1 and 1.
    Signed,
    /// 0 and 1.
    Unit,
}

// Always inlined, so that they are compiled for the vector width of the calling loop.
impl ValueRange {
    /// Converts a byte to this range; the bits are the same on every machine.
    #[inline(always)]
    pub(super) fn of_byte(self, byte: u8) -> f32 {
        match self {
            Self::Signed => f32::from(byte) / 127.5 - 1.0,
            Self::Unit => f32::from(byte) / 255.0,
        }
    }

    /// Converts a value of 0..=1 to this range; out-of-range values are clamped, NaN becomes 0.
    #[inline(always)]
    pub(super) fn of_unit(self, value: f32) -> f32 {
        let value = clamped(value);
        match self {
            Self::Signed => value * 2.0 - 1.0,
            Self::Unit => value,
        }
    }

    /// Converts a value of this range to 0..=1; out-of-range values are clamped, NaN becomes 0.
    #[inline(always)]
    pub(super) fn to_unit(self, value: f32) -> f32 {
        let value = match self {
            Self::Signed => value * 0.5 + 0.5,
            Self::Unit => value,
        };
        clamped(value)
    }

    /// Converts a value of this range to a byte, rounded to nearest.
    #[inline(always)]
    pub(super) fn to_byte(self, value: f32) -> u8 {
        truncated(self.to_unit(value) * 255.0 + 0.5)
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
        for range in [ValueRange::Signed, ValueRange::Unit] {
            for byte in 0..=255 {
                assert_eq!(range.to_byte(range.of_byte(byte)), byte);
            }
            let outside = [f32::NAN, f32::NEG_INFINITY, -2.0, 2.0, f32::INFINITY];
            assert_eq!(outside.map(|value| range.to_byte(value)), [0, 0, 0, 255, 255]);
        }
    }
}

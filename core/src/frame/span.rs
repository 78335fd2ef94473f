//! The numbers that stand for the darkest and the brightest, and bytes in between.

/// The values of 0 and 255.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// -1 and 1.
    Signed,
    /// 0 and 1.
    Unit,
}

// Always inlined, so that loops over them are compiled for the vectors that their surroundings are compiled for.
impl Span {
    /// A byte as a number of this span: the same bits on every machine.
    #[inline(always)]
    pub(super) fn of_byte(self, byte: u8) -> f32 {
        match self {
            Self::Signed => f32::from(byte) / 127.5 - 1.0,
            Self::Unit => f32::from(byte) / 255.0,
        }
    }

    /// Converts a value of 0..=1 to this span; out-of-range values are clamped, NaN becomes 0.
    #[inline(always)]
    pub(super) fn of_unit(self, value: f32) -> f32 {
        let value = clamped(value);
        match self {
            Self::Signed => value * 2.0 - 1.0,
            Self::Unit => value,
        }
    }

    /// Converts a value of this span to 0..=1; out-of-range values are clamped, NaN becomes 0.
    #[inline(always)]
    pub(super) fn to_unit(self, value: f32) -> f32 {
        let value = match self {
            Self::Signed => value * 0.5 + 0.5,
            Self::Unit => value,
        };
        clamped(value)
    }

    /// A number of this span as a byte, to the nearest.
    #[inline(always)]
    pub(super) fn to_byte(self, value: f32) -> u8 {
        truncated(self.to_unit(value) * 255.0 + 0.5)
    }
}

/// `value as u8` for 0..256, in a form that compilers turn into vector instructions, which they do not with a cast that
/// saturates: numbers from 2^23 to 2^24 have no fraction, and their lowest bits are an integer.
#[inline(always)]
fn truncated(value: f32) -> u8 {
    const WHOLE: f32 = 8_388_608.0;

    let nearest = value + WHOLE;
    let above = u32::from(nearest - WHOLE > value);
    (nearest.to_bits() - above) as u8
}

/// Clamps to 0..=1; NaN is 0, which `f32::clamp` would let through.
#[inline(always)]
fn clamped(value: f32) -> f32 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < 1.0 { value } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncating_is_the_same_as_a_cast() {
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
        for span in [Span::Signed, Span::Unit] {
            for byte in 0..=255 {
                assert_eq!(span.to_byte(span.of_byte(byte)), byte);
            }
            let outside = [f32::NAN, f32::NEG_INFINITY, -2.0, 2.0, f32::INFINITY];
            assert_eq!(outside.map(|value| span.to_byte(value)), [0, 0, 0, 255, 255]);
        }
    }
}

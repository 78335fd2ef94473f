//! The numbers that stand for the darkest and the brightest, and bytes in between.

/// What 0 and 255 become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// -1 and 1.
    Signed,
    /// 0 and 1.
    Unit,
}

// Exactly x / 127.5 - 1 and x / 255, the same on every machine; as quick as working it out.
static SIGNED: [f32; 256] = byte_table(Span::Signed);
static UNIT: [f32; 256] = byte_table(Span::Unit);

const fn byte_table(span: Span) -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match span {
            Span::Signed => byte as f32 / 127.5 - 1.0,
            Span::Unit => byte as f32 / 255.0,
        };
        byte += 1;
    }
    table
}

impl Span {
    pub(super) fn table(self) -> &'static [f32; 256] {
        match self {
            Self::Signed => &SIGNED,
            Self::Unit => &UNIT,
        }
    }

    /// A number of 0..=1 in this span; what lies outside is clamped, not-a-number is 0.
    pub(super) fn of_unit(self, value: f32) -> f32 {
        let value = clamped(value);
        match self {
            Self::Signed => value * 2.0 - 1.0,
            Self::Unit => value,
        }
    }

    /// A number of this span as 0..=1; what lies outside is clamped, not-a-number is 0.
    pub(super) fn to_unit(self, value: f32) -> f32 {
        let value = match self {
            Self::Signed => value * 0.5 + 0.5,
            Self::Unit => value,
        };
        clamped(value)
    }

    /// A number of this span as a byte, to the nearest.
    pub(super) fn to_byte(self, value: f32) -> u8 {
        (self.to_unit(value) * 255.0 + 0.5) as u8
    }
}

/// Clamps to 0..=1; not-a-number is 0, which `f32::clamp` would let through.
fn clamped(value: f32) -> f32 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

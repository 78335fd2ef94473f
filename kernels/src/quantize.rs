//! Quantization to bytes: the scale of a layer's input, and the weights of an output channel.

/// The quantization of a layer's input: `x / scale + zero`, rounded, at most 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByteScale {
    // Invariant: positive, and neither it nor its inverse overflows.
    scale: f32,
    zero: u8,
}

impl ByteScale {
    /// The range of scales; activations are far from either end.
    pub const RANGE: std::ops::RangeInclusive<f32> = 1e-20..=1e20;

    /// `None` for a scale outside [`RANGE`](Self::RANGE), or NaN.
    pub fn new(scale: f32, zero: u8) -> Option<Self> {
        Self::RANGE.contains(&scale).then_some(Self { scale, zero })
    }

    /// Returns the scale: the difference between neighbouring bytes.
    pub fn scale(self) -> f32 {
        self.scale
    }

    /// Returns the zero point: the byte of 0.
    pub fn zero(self) -> u8 {
        self.zero
    }

    /// Quantizes a number; NaN becomes 0.
    pub fn byte(self, x: f32) -> u8 {
        // As in the kernels: a product, rounded to even.
        ((x * (1.0 / self.scale)).round_ties_even() + f32::from(self.zero)) as u8
    }

    /// Returns the number of a byte.
    pub fn number(self, byte: u8) -> f32 {
        self.scale * (f32::from(byte) - f32::from(self.zero))
    }

    /// Chooses the scale with the least error for `count` numbers from `least` to `largest`, of which `sample` is a
    /// sample: clipping outliers may lose less than coarser steps for all. The error is the mean square over all
    /// numbers, estimated from the sample, and over both ends. Zero is exactly representable, which padding requires.
    pub fn fit(least: f32, largest: f32, sample: &[f32], count: usize) -> Self {
        /// Fractions of the range that are tried.
        const PARTS: u16 = 24;

        let (mut low, mut high) = (least.min(0.0), largest.max(0.0));
        let weight = count as f64 / sample.len().max(1) as f64;
        let loss = |low: f32, high: f32| {
            let fit = Self::between(low, high);
            let each = |&x: &f32| f64::from((fit.number(fit.byte(x)) - x).powi(2));
            sample.iter().map(each).sum::<f64>() * weight + each(&least) + each(&largest)
        };
        for end in [true, false] {
            let (whole_low, whole_high) = (low, high);
            let mut best = f64::INFINITY;
            // From the whole range down, so that of equal errors the widest range is chosen.
            for part in (4..=PARTS).rev() {
                let part = f32::from(part) / f32::from(PARTS);
                let tried = if end { (whole_low, whole_high * part) } else { (whole_low * part, whole_high) };
                let found = loss(tried.0, tried.1);
                if found < best {
                    (best, low, high) = (found, tried.0, tried.1);
                }
            }
        }
        Self::between(low, high)
    }

    /// The quantization of `low..=high`, which contains 0.
    pub fn between(low: f32, high: f32) -> Self {
        let scale = ((high - low) / 255.0).clamp(*Self::RANGE.start(), *Self::RANGE.end());
        Self { scale, zero: (-low / scale).round() as u8 }
    }
}

/// Quantizes the weights of one output channel to -127..=127, and returns the scale: 0 if all are 0. `to` is as long as
/// `row`.
pub fn weight_bytes(row: &[f32], to: &mut [i8]) -> f32 {
    let largest = row.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    if !inverse.is_finite() {
        // So small that the division overflows: negligible compared with any bias.
        to.fill(0);
        return 0.0;
    }
    for (byte, &x) in to.iter_mut().zip(row) {
        *byte = (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    scale
}

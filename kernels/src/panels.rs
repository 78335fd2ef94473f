//! Weights in the layout of the kernels: panels of output channels, and in each panel by tap, then input channel, then
//! output channel.

use crate::numbers::Number;
use crate::winograd::{MOST_POINTS, weights_at_points};

/// Output channels that are computed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panel {
    /// Width in vectors.
    pub vectors: usize,
    /// The offset of its weights, in elements.
    pub offset: usize,
    /// The offset of its biases.
    pub bias: usize,
    /// The first output channel (after GEGLU, if that is applied).
    pub channel: usize,
    /// Number of output channels (after GEGLU); the rest of the width is padding.
    pub channels: usize,
}

/// The division of a weight into panels.
#[derive(Debug, Clone, Copy)]
pub struct Panels<'a> {
    pub panels: &'a [Panel],
    /// Output channels, input channels, taps.
    pub shape: [usize; 3],
    /// Whether each panel has values in its first half and their gates in the second.
    pub geglu: bool,
    /// Whether a 3x3 kernel is stored in Winograd's domain, for tiles of this many output pixels per side; the taps are
    /// then the points.
    pub winograd: Option<usize>,
    /// Size of a group of interleaved input channels.
    pub group: usize,
    /// Elements in a vector.
    pub lanes: usize,
    /// Whether there is a single narrow panel, in the layout of [`Kernels::narrow`](crate::Kernels::narrow).
    pub narrow: bool,
}

impl Panels<'_> {
    /// Writes `numbers`, in the order of output channels, input channels and taps, to their positions. Padding in `to`
    /// is not changed.
    ///
    /// # Panics
    ///
    /// If `numbers` has fewer elements than the shape, or `to` is too short for the panels.
    pub fn pack<T: Number>(&self, numbers: &[f32], to: &mut [T]) {
        T::pack(self, numbers, to);
    }

    #[inline(always)]
    pub(crate) fn pack_numbers<T: Number>(&self, numbers: &[f32], to: &mut [T]) {
        if self.narrow {
            return self.pack_narrow(numbers, to);
        }
        let Self { shape: [c_out, c_in, taps], group, .. } = *self;
        let grouped = c_in.next_multiple_of(group);
        for panel in self.panels {
            let width = panel.vectors * self.lanes;
            for part in 0..if self.geglu { 2 } else { 1 } {
                let (row, place) = (part * c_out / 2 + panel.channel, part * width / 2);
                self.pack_panel(*panel, row, place, numbers, &mut to[panel.offset..][..width * grouped * taps]);
            }
        }
    }

    /// Writes the weights of a panel's channels, the first of which is `row`, from the offset `place` on.
    #[inline(always)]
    fn pack_panel<T: Number>(&self, panel: Panel, row: usize, place: usize, numbers: &[f32], columns: &mut [T]) {
        let Self { shape: [_, c_in, taps], group, winograd, .. } = *self;
        let (width, grouped) = (panel.vectors * self.lanes, c_in.next_multiple_of(group));
        let given = if winograd.is_some() { 9 } else { taps };
        let mut points = [0.0; MOST_POINTS];
        // A few input channels at a time, so that the output stays in the L1 cache.
        for first in (0..c_in).step_by(16) {
            let some = first..(first + 16).min(c_in);
            for j in 0..panel.channels {
                let source = &numbers[(row + j) * c_in * given..][..c_in * given];
                for c in some.clone() {
                    let at = c / group * group * width + (place + j) * group + c % group;
                    let mut at_taps = &source[c * given..(c + 1) * given];
                    if let Some(side) = winograd {
                        weights_at_points(side, at_taps, &mut points);
                        at_taps = &points[..taps];
                    }
                    for (tap, &weight) in at_taps.iter().enumerate() {
                        columns[tap * grouped * width + at] = T::of(weight);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn pack_narrow<T: Number>(&self, numbers: &[f32], to: &mut [T]) {
        let [c_out, c_in, taps] = self.shape;
        let factors = self.lanes * self.group;
        for (i, &weight) in numbers.iter().enumerate() {
            let (o, c, tap) = (i / (c_in * taps), i / taps % c_in, i % taps);
            to[(tap * c_in + c / factors * factors) * c_out + o * factors + c % factors] = T::of(weight);
        }
    }
}

/// Returns, of 3x3 kernels over an upsampled image, the 2x2 kernels over the input image that compute the lower
/// (`down`) or upper, right (`right`) or left of the four output pixels: taps with the same input pixel are summed.
pub fn phase_of(numbers: &[f32], down: usize, right: usize) -> Vec<f32> {
    // Tap 0 of an upper pixel reads the previous input pixel, taps 1 and 2 its own; taps 0 and 1 of a lower pixel read
    // its own, tap 2 the next.
    let seen = |tap: usize, late: usize| (tap + 1 - late) / 2;
    let of = |kernel: &[f32]| {
        let mut small = [0.0; 4];
        for (tap, &weight) in kernel.iter().enumerate() {
            small[seen(tap / 3, down) * 2 + seen(tap % 3, right)] += weight;
        }
        small
    };
    numbers.chunks_exact(9).flat_map(of).collect()
}

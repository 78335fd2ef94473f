//! Weights as the kernels read them: panels of output channels, and in each panel tap after tap, input channel after
//! input channel, the weights of the panel's output channels side by side.

use crate::numbers::Number;
use crate::winograd::{MOST_POINTS, weights_at_points};

/// Output channels that are worked out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panel {
    /// Vectors side by side.
    pub vectors: usize,
    /// The first number of its weights.
    pub offset: usize,
    /// Its first bias.
    pub bias: usize,
    /// The first output channel (after GEGLU, where that is done).
    pub channel: usize,
    /// How many output channels (after GEGLU); the rest of the width is padding.
    pub channels: usize,
}

/// How a weight is cut into panels.
#[derive(Debug, Clone, Copy)]
pub struct Panels<'a> {
    pub panels: &'a [Panel],
    /// Output channels, input channels, taps.
    pub shape: [usize; 3],
    /// Whether each panel has values in its first half and their gates in the second.
    pub geglu: bool,
    /// Whether a kernel of side 3 is stored at Winograd's points, for tiles of this many output pixels a side; the taps
    /// are the points.
    pub winograd: Option<usize>,
    /// Input channels that weights lie side by side for.
    pub group: usize,
    /// Numbers in a vector.
    pub lanes: usize,
    /// Whether there is one panel so narrow that its weights lie as [`Kernels::narrow`](crate::Kernels::narrow) reads
    /// them.
    pub narrow: bool,
}

impl Panels<'_> {
    /// Writes `numbers`, in the order of output channels, input channels and taps, to their places. What `to` has in
    /// between stays.
    ///
    /// # Panics
    ///
    /// Where `numbers` are fewer than the shape says, or `to` has no room for the panels.
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

    /// Writes the weights of a panel's channels, the first of which is `row`, to the places from `place` on.
    #[inline(always)]
    fn pack_panel<T: Number>(&self, panel: Panel, row: usize, place: usize, numbers: &[f32], columns: &mut [T]) {
        let Self { shape: [_, c_in, taps], group, winograd, .. } = *self;
        let (width, grouped) = (panel.vectors * self.lanes, c_in.next_multiple_of(group));
        let given = if winograd.is_some() { 9 } else { taps };
        let mut points = [0.0; MOST_POINTS];
        // A few input channels at a time, so that what is written stays in the first cache.
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

/// Of kernels of side 3 over an enlarged image, those of side 2 over the image itself that give the lower (`down`) or
/// upper, right (`right`) or left of the four pixels: taps that see the same pixel are summed.
pub fn phase_of(numbers: &[f32], down: usize, right: usize) -> Vec<f32> {
    // An upper pixel sees with tap 0 the pixel before, with 1 and 2 its own; a lower one with 0 and 1 its own, with 2
    // the next.
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

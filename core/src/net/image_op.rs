//! Operations that move or mix the pixels of an image and have no weights.

/// An image operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageOp {
    /// 2x2 max pooling per channel; at odd edges, over the existing pixels.
    MaxPool,
    /// Bilinear interpolation to the size of the output, see [`bilinear`].
    Resize {
        /// Whether the middles of the corner pixels stay in the corners; otherwise the edges of the image do.
        align_corners: bool,
    },
    /// Each pixel becomes `side` times `side` pixels: the first channels become the upper left one, the next ones that
    /// beside it, and so on, line by line.
    DepthToSpace {
        /// Pixels of a side.
        side: usize,
    },
    /// The same pixels in lines of another length, as many of them as the output has; where it has more, zeros.
    Refold,
    /// Mirrors pixels outwards on all four sides; the outermost line itself is not repeated.
    Reflect {
        /// How many pixels; less than the image has lines and columns.
        border: usize,
    },
}

/// Where a pixel of a line resized from `from` to `to` pixels comes from: the place of the first of two neighbours, and
/// how much of the second one counts (0 if there is none).
pub fn bilinear(at: usize, from: usize, to: usize, align_corners: bool) -> (usize, f32) {
    let last = from.saturating_sub(1) as f32;
    let place = if align_corners {
        if to > 1 { at as f32 * last / (to - 1) as f32 } else { 0.0 }
    } else {
        ((at as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, last)
    };
    let first = (place as usize).min(from.saturating_sub(1));
    if first + 1 < from { (first, place - first as f32) } else { (first, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_where_they_are_asked_to() {
        assert_eq!([0, 1, 2].map(|at| bilinear(at, 2, 3, true)), [(0, 0.0), (0, 0.5), (1, 0.0)]);
        assert_eq!([0, 1, 2, 3].map(|at| bilinear(at, 2, 4, false)), [(0, 0.0), (0, 0.25), (0, 0.75), (1, 0.0)]);
        assert_eq!(bilinear(0, 1, 1, true), (0, 0.0));
        assert_eq!(bilinear(4, 1, 5, false), (0, 0.0));
    }
}

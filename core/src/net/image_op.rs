//! Image operations without weights.

/// An image operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageOp {
    /// 2x2 max pooling per channel; at odd edges, over the existing pixels.
    MaxPool,
    /// Bilinear interpolation to the size of the output, see [`bilinear`].
    Resize {
        /// Whether the centres of the corner pixels are aligned; otherwise the edges of the images are.
        align_corners: bool,
    },
    /// Turns each pixel into `side` x `side` pixels: the first channels become the upper left one, the next channels
    /// its right neighbour, and so on, line by line.
    DepthToSpace {
        /// The side of the square, in pixels.
        side: usize,
    },
    /// Reshapes to another width and height, with the pixels in the same order; truncates surplus pixels, and pads with
    /// zeros.
    Refold,
    /// Mirrors pixels outwards on all four sides; the outermost line itself is not repeated.
    Reflect {
        /// The width of the border in pixels, less than the sides of the image.
        border: usize,
    },
}

/// Returns the source of pixel `at` of a line resized from `from` to `to` pixels: the index of the first of two
/// neighbours, and the weight of the second (0 if there is none).
pub fn bilinear(at: usize, from: usize, to: usize, align_corners: bool) -> (usize, f32) {
    let last = from.saturating_sub(1) as f32;
    let position = if align_corners {
        if to > 1 { at as f32 * last / (to - 1) as f32 } else { 0.0 }
    } else {
        ((at as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, last)
    };
    let first = (position as usize).min(from.saturating_sub(1));
    if first + 1 < from { (first, position - first as f32) } else { (first, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_or_edges_are_aligned() {
        assert_eq!([0, 1, 2].map(|at| bilinear(at, 2, 3, true)), [(0, 0.0), (0, 0.5), (1, 0.0)]);
        assert_eq!([0, 1, 2, 3].map(|at| bilinear(at, 2, 4, false)), [(0, 0.0), (0, 0.25), (0, 0.75), (1, 0.0)]);
        assert_eq!(bilinear(0, 1, 1, true), (0, 0.0));
        assert_eq!(bilinear(4, 1, 5, false), (0, 0.0));
    }
}

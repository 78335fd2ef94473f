//! A part of an image.

use std::ops::Range;

use crate::net::Shape;
use crate::net::steps::Product as Geometry;

/// A rectangle of pixels of an image; empty if one of its sides is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    /// Columns.
    pub x: Range<usize>,
    /// Lines.
    pub y: Range<usize>,
}

impl Region {
    /// Returns all pixels of an image of this shape.
    pub fn whole(shape: Shape) -> Self {
        Self { x: 0..shape.w, y: 0..shape.h }
    }

    /// Returns whether there are no pixels in it.
    pub fn is_empty(&self) -> bool {
        self.x.is_empty() || self.y.is_empty()
    }

    /// Returns the number of its pixels.
    pub fn pixels(&self) -> usize {
        self.x.len() * self.y.len()
    }

    /// Returns the smallest region that contains both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let both = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other.clone(),
            (_, true) => self.clone(),
            (false, false) => Self { x: both(&self.x, &other.x), y: both(&self.y, &other.y) },
        }
    }

    /// Returns the part of it that is in an image of this shape.
    #[must_use]
    pub(super) fn within(&self, shape: Shape) -> Self {
        Self { x: self.x.start..self.x.end.min(shape.w), y: self.y.start..self.y.end.min(shape.h) }
    }

    /// Returns the same region of an image that is `times` as large on each side.
    #[must_use]
    pub(super) fn scaled(&self, times: usize) -> Self {
        let scaled = |side: &Range<usize>| times * side.start..times * side.end;
        Self { x: scaled(&self.x), y: scaled(&self.y) }
    }

    /// Returns the smallest region of squares of `side` pixels that contains it, in squares.
    #[must_use]
    pub(super) fn in_squares(&self, side: usize) -> Self {
        let squares = |of: &Range<usize>| of.start / side..of.end.div_ceil(side);
        Self { x: squares(&self.x), y: squares(&self.y) }
    }

    /// Returns the output pixels of a convolution that depend on these input pixels; `output` is the shape of its
    /// output.
    pub(super) fn through(&self, geometry: &Geometry, output: Shape) -> Self {
        let Geometry { kernel, stride, dilation, padding, upsample, .. } = *geometry;
        if self.is_empty() {
            return Self::default();
        }
        let seen = if upsample { self.scaled(2) } else { self.clone() };
        let reach = (kernel - 1) * dilation;
        let side = |of: Range<usize>, before| dependent(of, [reach, stride, before]);
        Self { x: side(seen.x, padding.left), y: side(seen.y, padding.top) }.within(output)
    }
}

/// Returns the outputs of a convolution along one side that depend on the inputs `of`: output `i` depends on inputs
/// between `i * stride - before` and `i * stride - before + reach`.
fn dependent(of: Range<usize>, [reach, stride, before]: [usize; 3]) -> Range<usize> {
    (of.start + before).saturating_sub(reach).div_ceil(stride)..(of.end - 1 + before) / stride + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_that_depend_on_inputs_are_those_that_read_one_of_them() {
        const LEN: usize = 12;
        for (reach, stride, before) in [(0, 1, 0), (2, 1, 1), (2, 2, 1), (4, 1, 2), (6, 2, 3), (0, 2, 0), (2, 2, 0)] {
            for start in 0..LEN {
                for end in start + 1..=LEN {
                    let reads =
                        |i: usize| (start..end).any(|at| (i * stride..=i * stride + reach).contains(&(at + before)));
                    let found: Vec<usize> = dependent(start..end, [reach, stride, before]).collect();
                    let expected: Vec<usize> = (0..2 * LEN).filter(|&i| reads(i)).collect();
                    assert_eq!(found, expected, "{start}..{end}, {reach} {stride} {before}");
                }
            }
        }
    }

    #[test]
    fn a_union_contains_both_and_empty_regions_add_nothing() {
        let [a, b] = [Region { x: 1..3, y: 4..5 }, Region { x: 2..6, y: 0..1 }];
        assert_eq!(a.union(&b), Region { x: 1..6, y: 0..5 });
        let none = Region { x: 7..7, y: 0..9 };
        assert_eq!((none.union(&a), a.union(&none)), (a.clone(), a.clone()));
        assert_eq!((a.pixels(), a.in_squares(2)), (2, Region { x: 0..2, y: 2..3 }));
    }
}

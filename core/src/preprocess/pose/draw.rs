//! Anti-aliased lines, discs and ellipses.

use crate::preprocess::Image;

/// A point in pixels: column, line; the centre of the first pixel is at 0.5.
pub(super) type Point = [f32; 2];

/// A picture to draw on, with red, green and blue in 0..255.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[f32; 3]>,
}

impl Canvas {
    /// Resizes to this width and height, and fills with black.
    pub(super) fn clear(&mut self, (width, height): (usize, usize)) {
        (self.width, self.height) = (width, height);
        self.pixels.clear();
        self.pixels.resize(width * height, [0.0; 3]);
    }

    /// Returns the width and the height.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Draws a line with round ends and a width of twice `half` pixels.
    pub(super) fn line(&mut self, from: Point, to: Point, half: f32, colour: [u8; 3]) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx * dx + dy * dy;
        let least = [from[0].min(to[0]) - half, from[1].min(to[1]) - half];
        let largest = [from[0].max(to[0]) + half, from[1].max(to[1]) + half];
        self.fill(least, largest, colour, |x, y| {
            let along = if length > 0.0 { ((x - from[0]) * dx + (y - from[1]) * dy) / length } else { 0.0 };
            let along = along.clamp(0.0, 1.0);
            half - (x - from[0] - along * dx).hypot(y - from[1] - along * dy)
        });
    }

    /// Draws a disc.
    pub(super) fn disc(&mut self, centre: Point, radius: f32, colour: [u8; 3]) {
        self.line(centre, centre, radius, colour);
    }

    /// Draws an ellipse whose one axis is the segment between two points, and the other twice `half` pixels.
    pub(super) fn ellipse(&mut self, from: Point, to: Point, half: f32, colour: [u8; 3]) {
        let centre = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
        let (dx, dy) = ((to[0] - from[0]) / 2.0, (to[1] - from[1]) / 2.0);
        let long = dx.hypot(dy);
        if long <= 0.0 || half <= 0.0 {
            return;
        }
        let (cos, sin, reach) = (dx / long, dy / long, long.max(half));
        let least = [centre[0] - reach, centre[1] - reach];
        self.fill(least, [centre[0] + reach, centre[1] + reach], colour, |x, y| {
            let (x, y) = (x - centre[0], y - centre[1]);
            let (u, v) = ((x * cos + y * sin) / long, (y * cos - x * sin) / half);
            // The distance from the edge, to first order.
            let (level, slope) = (u.hypot(v), (u / long).hypot(v / half));
            if slope > 0.0 { (1.0 - level) * level / slope } else { half }
        });
    }

    /// Multiplies the brightness of all pixels by `times`.
    pub(super) fn dim(&mut self, times: f32) {
        self.pixels.iter_mut().for_each(|pixel| *pixel = pixel.map(|x| x * times));
    }

    /// Blends `colour` by the signed distance of a pixel's centre to the edge, in pixels; positive inside.
    fn fill(&mut self, least: Point, largest: Point, colour: [u8; 3], inside: impl Fn(f32, f32) -> f32) {
        let colour = colour.map(f32::from);
        let range = |axis: usize, size: usize| {
            let (first, last) = (least[axis] - 1.0, largest[axis] + 1.0);
            // Casts saturate, and NaN becomes 0.
            (first.max(0.0) as usize).min(size)..((last.max(0.0) as usize).saturating_add(1)).min(size)
        };
        for y in range(1, self.height) {
            for x in range(0, self.width) {
                let share = (inside(x as f32 + 0.5, y as f32 + 0.5) + 0.5).clamp(0.0, 1.0);
                if share > 0.0
                    && let Some(pixel) = self.pixels.get_mut(y * self.width + x)
                {
                    pixel.iter_mut().zip(colour).for_each(|(to, colour)| *to += (colour - *to) * share);
                }
            }
        }
    }

    /// Fills `output` with the picture in 0..1.
    pub(super) fn show(&self, output: &mut Image) {
        output.resize(self.width, self.height, 3);
        for (to, from) in output.pixels_mut().as_chunks_mut::<3>().0.iter_mut().zip(&self.pixels) {
            *to = from.map(|x| x / 255.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(draw: impl FnOnce(&mut Canvas)) -> Canvas {
        let mut canvas = Canvas::default();
        canvas.clear((20, 10));
        draw(&mut canvas);
        canvas
    }

    fn at(canvas: &Canvas, x: usize, y: usize) -> f32 {
        canvas.pixels[y * 20 + x][0]
    }

    #[test]
    fn a_line_has_its_width_smooth_edges_and_round_ends() {
        let canvas = drawn(|canvas| canvas.line([5.0, 5.0], [15.0, 5.0], 2.0, [200, 0, 0]));
        let column: Vec<f32> = (0..10).map(|y| at(&canvas, 10, y)).collect();
        assert_eq!(column, [0.0, 0.0, 0.0, 200.0, 200.0, 200.0, 200.0, 0.0, 0.0, 0.0]);
        assert_eq!((at(&canvas, 2, 5), at(&canvas, 18, 5)), (0.0, 0.0));
        assert!(at(&canvas, 3, 5) > 180.0 && at(&canvas, 3, 3) < 100.0);
        let shifted = drawn(|canvas| canvas.line([5.0, 5.25], [15.0, 5.25], 2.0, [200, 0, 0]));
        assert_eq!((at(&shifted, 10, 3), at(&shifted, 10, 7)), (150.0, 50.0));
    }

    #[test]
    fn drawn_areas_match_the_shapes() {
        let area = |canvas: &Canvas| canvas.pixels.iter().map(|pixel| pixel[1] / 100.0).sum::<f32>();
        let disc = drawn(|canvas| canvas.disc([9.3, 5.1], 3.5, [0, 100, 0]));
        assert!((area(&disc) - std::f32::consts::PI * 3.5 * 3.5).abs() < 0.5, "{}", area(&disc));
        let ellipse = drawn(|canvas| canvas.ellipse([3.0, 2.0], [17.0, 8.0], 2.5, [0, 100, 0]));
        let long = 7.0_f32.hypot(3.0);
        assert!((area(&ellipse) - std::f32::consts::PI * long * 2.5).abs() < 1.5, "{}", area(&ellipse));
    }

    #[test]
    fn coordinates_outside_and_nan_are_no_panic() {
        drawn(|canvas| {
            for far in [-1e30, 1e30, f32::INFINITY, f32::NAN] {
                canvas.line([far, 3.0], [5.0, far], 4.0, [1; 3]);
                canvas.ellipse([far, far], [5.0, 3.0], 4.0, [1; 3]);
                canvas.disc([1.0, 1.0], far.min(100.0), [1; 3]);
            }
        });
    }
}

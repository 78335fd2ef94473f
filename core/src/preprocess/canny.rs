//! `canny`: Canny edge detection as in OpenCV, with a 3x3 Sobel filter and the L1 norm of the gradient.

use serde_json::{Map, Value};

use super::{Context, Image, Preprocessor};
use crate::error::Result;
use crate::params::CannySettings;

/// The tangent of 22.5 degrees, as a fixed-point number with 15 fractional bits.
const TAN_22: i32 = 13573;

/// The state of a pixel.
const NOT_AN_EDGE: u8 = 0;
const MAYBE: u8 = 1;
const EDGE: u8 = 2;

#[derive(Debug)]
pub(super) struct Canny {
    /// Pixels above this are edges if they touch an edge; pixels above `high` are edges.
    low: i32,
    high: i32,
    width: usize,
    height: usize,
    // All of these have a border of one pixel.
    luma: Vec<u8>,
    across: Vec<i16>,
    down: Vec<i16>,
    strength: Vec<i32>,
    state: Vec<u8>,
    /// Edge pixels whose neighbours have not been visited yet.
    open: Vec<usize>,
}

impl Canny {
    pub(super) fn new(settings: &Map<String, Value>) -> Self {
        let mut canny = Self {
            low: 0,
            high: 0,
            width: 0,
            height: 0,
            luma: Vec::new(),
            across: Vec::new(),
            down: Vec::new(),
            strength: Vec::new(),
            state: Vec::new(),
            open: Vec::new(),
        };
        canny.configure(settings);
        canny
    }

    /// Returns the pixels of a row, including the border.
    fn stride(&self) -> usize {
        self.width + 2
    }

    /// Resizes every buffer to the size of `image`; borders are not edges and have no strength.
    fn resize(&mut self, image: &Image) {
        if (self.width, self.height) == (image.width(), image.height()) {
            return;
        }
        (self.width, self.height) = (image.width(), image.height());
        let len = self.stride() * (self.height + 2);
        self.luma.resize(len, 0);
        self.across.resize(len, 0);
        self.down.resize(len, 0);
        self.strength.clear();
        self.strength.resize(len, 0);
        self.state.clear();
        self.state.resize(len, NOT_AN_EDGE);
        self.open.reserve(len);
    }

    /// Writes the brightness of pixels as bytes, with a replicated border.
    fn read(&mut self, image: &Image) {
        let (width, stride) = (self.width, self.stride());
        let rows = image.pixels().chunks_exact(width * 3);
        for (from, to) in rows.zip(self.luma[stride..].chunks_exact_mut(stride)) {
            for ([red, green, blue], luma) in from.as_chunks::<3>().0.iter().zip(&mut to[1..]) {
                *luma = ((0.299 * red + 0.587 * green + 0.114 * blue) * 255.0) as u8;
            }
            (to[0], to[width + 1]) = (to[1], to[width]);
        }
        let last = self.height * stride;
        self.luma.copy_within(stride..2 * stride, 0);
        self.luma.copy_within(last..last + stride, last + stride);
    }

    /// Computes Sobel's gradients and their sum for one row.
    fn gradients(&mut self, y: usize) {
        let (width, stride) = (self.width, self.stride());
        let row = |y: usize| &self.luma[y * stride..(y + 1) * stride];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        let inside = y * stride + 1..y * stride + 1 + width;
        let across = &mut self.across[inside.clone()];
        let down = &mut self.down[inside.clone()];
        let strength = &mut self.strength[inside];
        let (above_left, above_right) = (&above[..width], &above[2..]);
        let (left, right) = (&here[..width], &here[2..]);
        let (below_left, below_right) = (&below[..width], &below[2..]);
        let (above, below) = (&above[1..], &below[1..]);
        for (x, ((across, down), strength)) in across.iter_mut().zip(down).zip(strength).enumerate() {
            let at = |row: &[u8]| i16::from(row[x]);
            let corners = at(below_right) - at(above_left);
            let others = at(above_right) - at(below_left);
            *across = corners + others + 2 * (at(right) - at(left));
            *down = corners - others + 2 * (at(below) - at(above));
            *strength = i32::from(across.abs()) + i32::from(down.abs());
        }
    }

    /// Returns whether the gradient at `index` is a maximum across the edge.
    fn is_maximum(&self, index: usize) -> bool {
        let (stride, strength) = (self.stride(), self.strength[index]);
        let (across, down) = (i32::from(self.across[index]), i32::from(self.down[index]));
        let (x, y) = (across.abs(), down.abs() << 15);
        let flat = x * TAN_22;
        if y < flat {
            strength > self.strength[index - 1] && strength >= self.strength[index + 1]
        } else if y > flat + (x << 16) {
            strength > self.strength[index - stride] && strength >= self.strength[index + stride]
        } else {
            let (before, behind) = if (across ^ down) < 0 {
                (index - stride + 1, index + stride - 1)
            } else {
                (index - stride - 1, index + stride + 1)
            };
            strength > self.strength[before] && strength > self.strength[behind]
        }
    }

    /// Classifies every pixel as an edge, no edge, or an edge if it touches one.
    fn mark(&mut self) {
        let stride = self.stride();
        self.open.clear();
        for y in 1..=self.height {
            for index in y * stride + 1..y * stride + 1 + self.width {
                let strength = self.strength[index];
                self.state[index] = if strength <= self.low || !self.is_maximum(index) {
                    NOT_AN_EDGE
                } else if strength > self.high {
                    self.open.push(index);
                    EDGE
                } else {
                    MAYBE
                };
            }
        }
    }

    /// Marks all candidates that touch an edge.
    fn follow(&mut self) {
        let stride = self.stride();
        while let Some(index) = self.open.pop() {
            for row in [index - stride, index, index + stride] {
                for neighbour in row - 1..=row + 1 {
                    if self.state[neighbour] == MAYBE {
                        self.state[neighbour] = EDGE;
                        self.open.push(neighbour);
                    }
                }
            }
        }
    }
}

impl Preprocessor for Canny {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        output.resize(input.width(), input.height(), 3);
        if input.pixels().is_empty() || input.channels() != 3 {
            output.pixels_mut().fill(0.0);
            return Ok(());
        }
        self.resize(input);
        self.read(input);
        for y in 1..=self.height {
            self.gradients(y);
        }
        self.mark();
        self.follow();
        let stride = self.stride();
        let rows = output.pixels_mut().chunks_exact_mut(self.width * 3);
        for (to, from) in rows.zip(self.state[stride..].chunks_exact(stride)) {
            for (pixel, &state) in to.as_chunks_mut::<3>().0.iter_mut().zip(&from[1..]) {
                *pixel = [if state == EDGE { 1.0 } else { 0.0 }; 3];
            }
        }
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        let CannySettings { low_threshold: low, high_threshold: high } = CannySettings::read(settings);
        // OpenCV accepts them in either order.
        (self.low, self.high) = (low.min(high).floor() as i32, low.max(high).floor() as i32);
    }
}

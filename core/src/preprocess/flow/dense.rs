//! Optical flow without a network: the dense Lucas-Kanade method, from coarse to fine.
//!
//! The flow of each pixel is the least-squares solution for the changes of brightness in its neighbourhood, in a few
//! iterations at each level of a pyramid, starting from the coarser level. It is suitable for motion of up to some
//! dozens of pixels. Where there are no gradients, the flow is that of the neighbourhood.

use super::FlowSource;
use crate::error::Result;
use crate::preprocess::Image;
use crate::preprocess::resize::{Interpolation, Resizer};

/// Maximum number of levels of the pyramid; each has half the size of the next finer one.
const LEVELS: usize = 6;
/// The shorter side of the finest level, in pixels: finer detail is expensive and hardly changes the flow.
const FINEST: usize = 256;
/// Minimum shorter side of the coarsest level, in pixels.
const COARSEST: usize = 12;
/// Iterations at each level.
const ROUNDS: usize = 4;
/// The radius of the neighbourhood of a pixel, in pixels.
const RADIUS: usize = 4;
/// The weight of the neighbourhood's flow relative to gradients: the square of a difference in brightness, in 0..1,
/// between adjacent pixels.
const SMOOTHNESS: f32 = 1e-4;
/// The maximum change of the flow in an iteration, in pixels.
const MOST: f32 = 2.0;

/// The number of values per pixel that are averaged over the neighbourhood.
const TERMS: usize = 7;

/// Optical flow without a network, with its scratch memory.
#[derive(Debug, Default)]
pub struct DenseFlow {
    /// Brightness pyramids of both pictures, the finest level first.
    pyramids: [Vec<Image>; 2],
    resizer: Resizer,
    /// A picture at the finest level.
    colours: Image,
    /// The flow of the previous level, and of this one.
    coarse: Image,
    fine: Image,
    /// For each pixel: the products of its gradients, of each gradient with the difference, and the flow.
    products: Image,
    line: Vec<[f32; TERMS]>,
}

impl FlowSource for DenseFlow {
    fn flow(&mut self, previous: &Image, current: &Image, flow: &mut Image) -> Result<()> {
        let (width, height) = (previous.width(), previous.height());
        for (pyramid, image) in self.pyramids.iter_mut().zip([previous, current]) {
            build(pyramid, &mut self.resizer, image, &mut self.colours);
        }
        let [previous, current] = &self.pyramids;
        for (level, (previous, current)) in previous.iter().zip(current).enumerate().rev() {
            let size = (previous.width(), previous.height());
            if level + 1 == self.pyramids[0].len() {
                self.fine.resize(size.0, size.1, 2);
                self.fine.pixels_mut().fill(0.0);
            } else {
                std::mem::swap(&mut self.coarse, &mut self.fine);
                scaled(&mut self.resizer, &self.coarse, size, &mut self.fine);
            }
            for _ in 0..ROUNDS {
                products(previous, current, &self.fine, &mut self.products);
                average(&mut self.products, &mut self.line);
                step(&self.products, &mut self.fine);
            }
        }
        scaled(&mut self.resizer, &self.fine, (width, height), flow);
        Ok(())
    }
}

/// Fills `pyramid` with the brightness of `image` at all levels.
fn build(pyramid: &mut Vec<Image>, resizer: &mut Resizer, image: &Image, colours: &mut Image) {
    let shorter = image.width().min(image.height());
    let scale = (FINEST as f64 / shorter.max(1) as f64).min(1.0);
    let levels = (1..LEVELS).take_while(|level| ((shorter as f64 * scale) as usize >> level) >= COARSEST).count() + 1;
    pyramid.resize_with(levels, Image::new);
    for level in 0..levels {
        let side = |side: usize| ((side as f64 * scale) as usize >> level).max(1);
        let size = (side(image.width()), side(image.height()));
        let (finer, coarser) = pyramid.split_at_mut(level);
        let Some(to) = coarser.first_mut() else { continue };
        match finer.last() {
            Some(finer) => resizer.resize(Interpolation::Area, finer, size, to),
            None => {
                resizer.resize(Interpolation::Area, image, size, colours);
                to.resize(size.0, size.1, 1);
                for (to, [r, g, b]) in to.pixels_mut().iter_mut().zip(colours.pixels().as_chunks::<3>().0) {
                    *to = 0.299 * r + 0.587 * g + 0.114 * b;
                }
            }
        }
    }
}

/// Resizes a flow, and scales its vectors accordingly.
pub(super) fn scaled(resizer: &mut Resizer, from: &Image, size: (usize, usize), to: &mut Image) {
    resizer.resize(Interpolation::Bilinear, from, size, to);
    let scale = [size.0 as f32 / from.width().max(1) as f32, size.1 as f32 / from.height().max(1) as f32];
    for [u, v] in to.pixels_mut().as_chunks_mut::<2>().0 {
        (*u, *v) = (*u * scale[0], *v * scale[1]);
    }
}

/// Samples `image` by bilinear interpolation; positions outside are clamped.
pub fn sample<const N: usize>(image: &Image, x: f32, y: f32) -> [f32; N] {
    let (width, height) = (image.width(), image.height());
    // NaN becomes 0.
    let place = |x: f32, size: usize| x.max(0.0).min(size.saturating_sub(1) as f32);
    let (x, y) = (place(x, width), place(y, height));
    let (left, top) = (x as usize, y as usize);
    let (share_x, share_y) = (x - left as f32, y - top as f32);
    let (right, bottom) = ((left + 1).min(width.saturating_sub(1)), (top + 1).min(height.saturating_sub(1)));
    let pixels = image.pixels().as_chunks::<N>().0;
    let at = |x: usize, y: usize| pixels.get(y * width + x).copied().unwrap_or([0.0; N]);
    let (upper, lower) = ([at(left, top), at(right, top)], [at(left, bottom), at(right, bottom)]);
    std::array::from_fn(|i| {
        let mix = |pair: &[[f32; N]; 2]| pair[0][i] + (pair[1][i] - pair[0][i]) * share_x;
        let (upper, lower) = (mix(&upper), mix(&lower));
        upper + (lower - upper) * share_y
    })
}

/// Fills `products`, `[height, width, 7]`, from the gradients of `previous` and its difference to `current` at the
/// positions given by `flow`.
fn products(previous: &Image, current: &Image, flow: &Image, products: &mut Image) {
    let (width, height) = (previous.width(), previous.height());
    products.resize(width, height, TERMS);
    let brightness = previous.pixels();
    let at = |x: usize, y: usize| brightness.get(y * width + x).copied().unwrap_or(0.0);
    let places = products.pixels_mut().as_chunks_mut::<TERMS>().0.iter_mut().zip(flow.pixels().as_chunks::<2>().0);
    for (place, (to, &[u, v])) in places.enumerate() {
        let (x, y) = (place % width, place / width);
        let dx = (at((x + 1).min(width - 1), y) - at(x.saturating_sub(1), y)) / 2.0;
        let dy = (at(x, (y + 1).min(height - 1)) - at(x, y.saturating_sub(1))) / 2.0;
        let [moved] = sample::<1>(current, x as f32 + u, y as f32 + v);
        let change = moved - at(x, y) - dx * u - dy * v;
        *to = [dx * dx, dx * dy, dy * dy, dx * change, dy * change, u, v];
    }
}

/// Averages each value over the neighbourhood, by running sums along lines and then along columns.
fn average(products: &mut Image, line: &mut Vec<[f32; TERMS]>) {
    let (width, height) = (products.width(), products.height());
    let pixels = products.pixels_mut().as_chunks_mut::<TERMS>().0;
    line.resize(width.max(height), [0.0; TERMS]);
    for y in 0..height {
        average_line(pixels, line, y * width, 1, width);
    }
    for x in 0..width {
        average_line(pixels, line, x, width, height);
    }
}

/// Averages `len` pixels with a stride of `step`.
fn average_line(pixels: &mut [[f32; TERMS]], line: &mut [[f32; TERMS]], first: usize, step: usize, len: usize) {
    for (to, from) in line.iter_mut().zip(pixels.iter().skip(first).step_by(step)).take(len) {
        *to = *from;
    }
    let mut sum = [0.0; TERMS];
    let mut add = |number: &[f32; TERMS], sign: f32| sum.iter_mut().zip(number).for_each(|(sum, x)| *sum += sign * x);
    line.iter().take(RADIUS.min(len)).for_each(|number| add(number, 1.0));
    let mut sums = sum;
    for (at, to) in pixels.iter_mut().skip(first).step_by(step).take(len).enumerate() {
        let mut change = |number: Option<&[f32; TERMS]>, sign: f32| {
            if let Some(number) = number {
                sums.iter_mut().zip(number).for_each(|(sum, x)| *sum += sign * x);
            }
        };
        change(line.get(at + RADIUS).filter(|_| at + RADIUS < len), 1.0);
        change(at.checked_sub(RADIUS + 1).and_then(|before| line.get(before)), -1.0);
        let count = ((at + RADIUS).min(len - 1) - at.saturating_sub(RADIUS) + 1) as f32;
        *to = sums.map(|x| x / count);
    }
}

/// Sets the flow of each pixel to the least-squares solution in its neighbourhood, regularized by the flow there.
fn step(products: &Image, flow: &mut Image) {
    let flow = flow.pixels_mut().as_chunks_mut::<2>().0;
    for ([u, v], &[xx, xy, yy, xt, yt, around_u, around_v]) in
        flow.iter_mut().zip(products.pixels().as_chunks::<TERMS>().0)
    {
        let (xx, yy) = (xx + SMOOTHNESS, yy + SMOOTHNESS);
        let (xt, yt) = (xt - SMOOTHNESS * around_u, yt - SMOOTHNESS * around_v);
        // Never zero: the square of `xy` is at most the product of the others before the regularization.
        let determinant = xx * yy - xy * xy;
        let (new_u, new_v) = ((xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant);
        if new_u.is_finite() && new_v.is_finite() {
            *u += (new_u - *u).clamp(-MOST, MOST);
            *v += (new_v - *v).clamp(-MOST, MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a smooth pattern, shifted by `dx` and `dy`.
    fn picture(width: usize, height: usize, [dx, dy]: [f32; 2]) -> Image {
        let blots: Vec<[f32; 4]> = (0..60_u64)
            .map(|i| {
                let next = |k: u64| {
                    let x = (i * 7 + k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    ((x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1 << 24) as f32
                };
                [next(0) * width as f32, next(1) * height as f32, 3.0 + 9.0 * next(2), next(3)]
            })
            .collect();
        let brightness = |x: f32, y: f32| {
            let sum: f32 = blots
                .iter()
                .map(|[cx, cy, size, value]| value * (-((x - cx).powi(2) + (y - cy).powi(2)) / (size * size)).exp())
                .sum();
            sum.min(1.0)
        };
        let pixels = (0..width * height)
            .flat_map(|i| [brightness((i % width) as f32 - dx, (i / width) as f32 - dy); 3])
            .collect();
        Image::from_pixels(width, height, 3, pixels).unwrap()
    }

    #[test]
    fn a_shifted_picture_has_the_shift_as_its_flow() {
        let mut source = DenseFlow::default();
        let mut flow = Image::new();
        for [dx, dy] in [[0.0, 0.0], [1.0, 0.0], [-2.5, 1.5], [6.0, -4.0], [0.3, 0.7]] {
            let (width, height) = (120, 90);
            source.flow(&picture(width, height, [0.0; 2]), &picture(width, height, [dx, dy]), &mut flow).unwrap();
            assert_eq!((flow.width(), flow.height(), flow.channels()), (width, height, 2));
            let inside = (12..height - 12).flat_map(|y| (12..width - 12).map(move |x| y * width + x));
            let errors = inside.map(|i| (flow.pixels()[2 * i] - dx).hypot(flow.pixels()[2 * i + 1] - dy));
            let mut errors: Vec<f32> = errors.collect();
            errors.sort_by(f32::total_cmp);
            let typical = errors[errors.len() * 9 / 10];
            assert!(typical < 0.2, "{dx}, {dy}: off by {typical}");
        }
    }

    #[test]
    fn pictures_of_any_size_and_content_give_finite_flow() {
        let mut source = DenseFlow::default();
        let mut flow = Image::new();
        for (width, height) in [(1, 1), (3, 200), (64, 2), (16, 16)] {
            let flat = Image::from_pixels(width, height, 3, vec![0.5; width * height * 3]).unwrap();
            let noise = (0..width * height * 3).map(|i| (i * 7919 % 13) as f32 / 12.0).collect();
            let noise = Image::from_pixels(width, height, 3, noise).unwrap();
            for (a, b) in [(&flat, &flat), (&flat, &noise), (&noise, &flat)] {
                source.flow(a, b, &mut flow).unwrap();
                assert!(flow.pixels().iter().all(|x| x.is_finite()));
            }
        }
    }
}

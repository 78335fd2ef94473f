//! How steady the pictures of a clip are: how much they change beyond what moves in the frames that they were made from.

use dreamframe::preprocess::{DenseFlow, FlowSource as _, Image, sample};
use dreamframe::{Generator, Result};

/// The largest difference of a flow and the flow back, in pixels, for it to be that of the same content.
const CONSISTENT: f32 = 1.0;
/// The radius of the means that are taken from a picture so that its detail remains, in pixels.
const RADIUS: usize = 2;

/// Where the content of each frame was in the frame before.
#[derive(Debug)]
pub struct Motion {
    /// For each frame but the first: for each pixel where it was, in pixels; none where the content was hidden.
    places: Vec<Vec<Option<[f32; 2]>>>,
}

impl Motion {
    /// Estimates the motion of `frames`, images of `[height, width, 3]` of the same size.
    ///
    /// # Errors
    ///
    /// Those of the optical flow.
    pub fn of(frames: &[Image]) -> Result<Self> {
        let mut source = DenseFlow::default();
        let [mut back, mut forth] = [Image::new(), Image::new()];
        let mut places = Vec::new();
        for pair in frames.windows(2) {
            source.flow(&pair[1], &pair[0], &mut back)?;
            source.flow(&pair[0], &pair[1], &mut forth)?;
            places.push(before(&back, &forth));
        }
        Ok(Self { places })
    }

    /// Returns the share of all pixels whose content was visible in the frame before.
    pub fn known(&self) -> f64 {
        let known: usize = self.places.iter().map(|places| places.iter().flatten().count()).sum();
        known as f64 / self.places.iter().map(Vec::len).sum::<usize>() as f64
    }

    /// Returns the mean difference of `images`, one for each frame, to the image before, moved as the frames did: of values
    /// in 0..1, over pixels whose content was visible.
    pub fn change(&self, images: &[Image]) -> f64 {
        let mut mean = Mean::default();
        for (pair, places) in images.windows(2).zip(&self.places) {
            for (own, place) in pair[1].pixels().as_chunks::<3>().0.iter().zip(places) {
                let Some([x, y]) = *place else { continue };
                let moved = sample::<3>(&pair[0], x, y);
                own.iter().zip(moved).for_each(|(own, moved)| mean.add(f64::from((own - moved).abs())));
            }
        }
        mean.value()
    }
}

/// Returns where each pixel was, from its flow to the frame before and the flow of that frame.
fn before(back: &Image, forth: &Image) -> Vec<Option<[f32; 2]>> {
    let (width, height) = (back.width(), back.height());
    let inside = |x: f32, size: usize| (0.0..=(size - 1) as f32).contains(&x);
    let place = |(i, [u, v]): (usize, &[f32; 2])| {
        let [x, y] = [(i % width) as f32 + u, (i / width) as f32 + v];
        let [back_u, back_v] = sample::<2>(forth, x, y);
        let is_same = inside(x, width) && inside(y, height) && (u + back_u).hypot(v + back_v) <= CONSISTENT;
        is_same.then_some([x, y])
    };
    back.pixels().as_chunks::<2>().0.iter().enumerate().map(place).collect()
}

/// The mean of numbers.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, number: f64) {
        self.sum += number;
        self.count += 1;
    }

    fn value(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

/// Returns the mean difference of the images of two clips, of values in 0..1.
pub fn difference(one: &[Image], other: &[Image]) -> f64 {
    let mut mean = Mean::default();
    for (one, other) in one.iter().zip(other) {
        one.pixels().iter().zip(other.pixels()).for_each(|(a, b)| mean.add(f64::from((a - b).abs())));
    }
    mean.value()
}

/// Returns how much detail the images of a clip have: the root of the mean square of what brightness differs by from the
/// mean of its neighbourhood, 5 pixels to a side.
pub fn detail(clip: &[Image]) -> f64 {
    let mut mean = Mean::default();
    for image in clip {
        let brightness = Brightness::of(image);
        brightness.places().for_each(|(x, y)| mean.add(brightness.detail(x, y).powi(2)));
    }
    mean.value().sqrt()
}

/// Returns the correlation of the edges of two clips: of the gradients' lengths, at all pixels of all images.
pub fn edges(one: &[Image], other: &[Image]) -> f64 {
    let [mut a, mut b, mut aa, mut bb, mut ab] = [(); 5].map(|()| Mean::default());
    for (one, other) in one.iter().zip(other) {
        let (one, other) = (Brightness::of(one), Brightness::of(other));
        for (x, y) in one.places() {
            let (one, other) = (one.gradient(x, y), other.gradient(x, y));
            for (mean, number) in
                [(&mut a, one), (&mut b, other), (&mut aa, one * one), (&mut bb, other * other), (&mut ab, one * other)]
            {
                mean.add(number);
            }
        }
    }
    let [a, b, aa, bb, ab] = [a, b, aa, bb, ab].map(|mean| mean.value());
    (ab - a * b) / ((aa - a * a) * (bb - b * b)).sqrt()
}

/// The brightness of an image.
struct Brightness {
    width: usize,
    height: usize,
    values: Vec<f64>,
}

impl Brightness {
    fn of(image: &Image) -> Self {
        let weights = [0.299, 0.587, 0.114];
        let brightness = |pixel: &[f32; 3]| pixel.iter().zip(weights).map(|(x, weight)| f64::from(*x) * weight).sum();
        let values = image.pixels().as_chunks::<3>().0.iter().map(brightness).collect();
        Self { width: image.width(), height: image.height(), values }
    }

    /// The places of all pixels with a whole neighbourhood.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let (width, height) = (self.width, self.height);
        (RADIUS..height.saturating_sub(RADIUS))
            .flat_map(move |y| (RADIUS..width.saturating_sub(RADIUS)).map(move |x| (x, y)))
    }

    fn at(&self, x: usize, y: usize) -> f64 {
        self.values[y * self.width + x]
    }

    fn detail(&self, x: usize, y: usize) -> f64 {
        let rows = (y - RADIUS..=y + RADIUS).map(|y| &self.values[y * self.width..][x - RADIUS..=x + RADIUS]);
        let sum: f64 = rows.flatten().sum();
        self.at(x, y) - sum / ((2 * RADIUS + 1) * (2 * RADIUS + 1)) as f64
    }

    fn gradient(&self, x: usize, y: usize) -> f64 {
        (self.at(x + 1, y) - self.at(x - 1, y)).hypot(self.at(x, y + 1) - self.at(x, y - 1)) / 2.0
    }
}

/// Returns `count` frames of a still `image` with the noise of a sensor, seen through a window that moves over it if
/// `moves`, enlarged so that it stays inside.
///
/// # Errors
///
/// For images of fewer than 16 values.
pub fn noisy_clip(image: &Image, count: usize, moves: bool) -> Result<Vec<Image>> {
    /// The standard deviation of the noise: 3 of 255 levels.
    const NOISE: f32 = 3.0 / 255.0;
    /// How much smaller the window is than the image.
    const WINDOW: f32 = 0.8;
    let (width, height) = (image.width(), image.height());
    let scale = if moves { WINDOW } else { 1.0 };
    let corner = |size: usize, wave: f32| (1.0 - scale) * size as f32 * (0.5 + 0.5 * wave);
    let frame = |number: usize| {
        let noise = Generator::TorchCpu.draw(number as u64, width * height * 3)?;
        let turn = number as f32 * 0.12;
        let (left, top) = (corner(width, turn.sin()), corner(height, (0.7 * turn).cos()));
        let pixels = noise.as_chunks::<3>().0.iter().enumerate().flat_map(|(i, noise)| {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let seen = sample::<3>(image, left + x * scale, top + y * scale);
            [0, 1, 2].map(|channel| (seen[channel] + NOISE * noise[channel]).clamp(0.0, 1.0))
        });
        Image::from_pixels(width, height, 3, pixels.collect())
    };
    (0..count).map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 96;

    /// A smooth texture, whose content is `shift` pixels further to the right.
    fn texture(shift: f32) -> Image {
        let pixels = (0..SIDE * SIDE).flat_map(|i| {
            let (x, y) = ((i % SIDE) as f32 - shift, (i / SIDE) as f32);
            let waves = [(0.21_f32, 0.07_f32), (-0.09, 0.17), (0.31, 0.05), (0.13, 0.11)];
            let sum = |phase: f32| waves.iter().map(|(a, b)| (a * x + b * y + phase).sin()).sum::<f32>();
            [0.0, 1.0, 2.0].map(|phase| 0.5 + 0.12 * sum(phase))
        });
        Image::from_pixels(SIDE, SIDE, 3, pixels.collect()).unwrap()
    }

    fn clip(speed: f32) -> Vec<Image> {
        (0..4).map(|frame| texture(speed * frame as f32)).collect()
    }

    fn brighter(image: &Image, by: f32) -> Image {
        let mut image = image.clone();
        image.pixels_mut().iter_mut().for_each(|x| *x += by);
        image
    }

    #[test]
    fn what_moves_with_the_frames_does_not_change_and_what_stays_does() {
        let frames = clip(2.0);
        let motion = Motion::of(&frames).unwrap();
        assert!(motion.known() > 0.9, "{}", motion.known());
        let (moving, frozen) = (motion.change(&frames), motion.change(&vec![frames[0].clone(); 4]));
        assert!(moving < 0.005 && frozen > 5.0 * moving, "{moving} {frozen}");
    }

    #[test]
    fn a_change_of_brightness_is_measured_as_it_is() {
        for speed in [0.0, 1.5] {
            let frames = clip(speed);
            let flickering = |(frame, image): (usize, &Image)| brighter(image, if frame % 2 == 0 { 0.0 } else { 0.05 });
            let flickering: Vec<Image> = frames.iter().enumerate().map(flickering).collect();
            let change = Motion::of(&frames).unwrap().change(&flickering);
            assert!((change - 0.05).abs() < 0.005, "{change}");
        }
    }

    #[test]
    fn content_that_was_outside_is_not_compared() {
        let frames = clip(12.0);
        let known = Motion::of(&frames).unwrap().known();
        assert!(known < 1.0 - 12.0 / SIDE as f64, "{known}");
    }

    #[test]
    fn a_ghost_has_less_detail_and_other_edges() {
        let frames = clip(6.0);
        let ghosts: Vec<Image> = frames
            .windows(2)
            .map(|pair| {
                let both = pair[0].pixels().iter().zip(pair[1].pixels()).map(|(a, b)| (a + b) / 2.0);
                Image::from_pixels(SIDE, SIDE, 3, both.collect()).unwrap()
            })
            .collect();
        assert!(detail(&ghosts) < 0.9 * detail(&frames[1..]));
        assert!((edges(&frames[1..], &frames[1..]) - 1.0).abs() < 1e-9);
        assert!(edges(&ghosts, &frames[1..]) < 0.8);
        assert!(difference(&ghosts, &frames[1..]) > 0.02);
        assert!(difference(&frames, &frames) == 0.0);
    }

    #[test]
    fn a_made_clip_has_noise_of_three_levels_and_moves_if_asked() {
        let flat = Image::from_pixels(64, 64, 3, vec![0.5; 64 * 64 * 3]).unwrap();
        let still = noisy_clip(&flat, 2, false).unwrap();
        let squares: f64 = still[0].pixels().iter().map(|x| (f64::from(*x) - 0.5).powi(2)).sum();
        let deviation = (squares / (64.0 * 64.0 * 3.0)).sqrt() * 255.0;
        assert!((deviation - 3.0).abs() < 0.1, "{deviation}");
        assert_ne!(still[0], still[1]);
        let [still, moving] = [false, true].map(|moves| noisy_clip(&texture(0.0), 6, moves).unwrap());
        assert!(difference(&still[..1], &still[5..]) < 0.02);
        assert!(difference(&moving[..1], &moving[5..]) > 0.03);
    }
}

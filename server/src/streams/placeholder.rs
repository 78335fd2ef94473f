//! The placeholder picture while there is no other: a slow sweep of colour, so that viewers see activity.

use dreamframe::frame::{FrameView, PixelFormat};

/// The factor by which the pattern is smaller than the picture.
const COARSE: u32 = 8;
/// Milliseconds of one turn of the ring.
const TURN: f32 = 1600.0;
/// The colours of the bar: what is done, and the rest.
const BAR: [u8; 4] = [236, 224, 255, 255];
const REST: [u8; 4] = [58, 52, 84, 255];
/// Longest side.
const MOST: u32 = 1024;

/// Draws placeholders of one size.
#[derive(Debug, Default)]
pub(crate) struct Placeholder {
    pixels: Vec<u8>,
    size: (u32, u32),
}

impl Placeholder {
    /// The placeholder of `width` x `height`, `ms` after it was first shown, with a bar that is `percent` long while a model
    /// is loaded; `None` for an invalid size.
    pub(crate) fn draw(&mut self, width: u32, height: u32, ms: u64, percent: Option<u8>) -> Option<FrameView<'_>> {
        self.size = (width.clamp(16, MOST), height.clamp(16, MOST));
        let (width, height) = self.size;
        self.pixels.resize(width as usize * height as usize * 4, 255);
        let scene = Scene::new(width, height, ms);
        let rows = self.pixels.chunks_exact_mut(width as usize * 4);
        for (y, row) in rows.enumerate() {
            let y = y as f32;
            // The background changes slowly: one colour is used for a few pixels.
            for (block, pixels) in row.chunks_mut(COARSE as usize * 4).enumerate() {
                let x = (block as u32 * COARSE) as f32;
                let ground = scene.ground(x, y);
                let near = scene.is_near(x, y);
                for (index, pixel) in pixels.chunks_exact_mut(4).enumerate() {
                    let colour = if near { scene.ring(x + index as f32, y, ground) } else { ground };
                    for (to, from) in pixel.iter_mut().zip(colour) {
                        *to = from as u8;
                    }
                }
            }
        }
        if let Some(percent) = percent {
            self.draw_bar(percent);
        }
        FrameView::packed(PixelFormat::Rgba8, width, height, &self.pixels).ok()
    }

    /// Draws a bar below the ring.
    fn draw_bar(&mut self, percent: u8) {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let side = width.min(height);
        let (long, thick) = (side * 2 / 5, (side / 80).max(1));
        let (left, top) = ((width - long) / 2, (height / 2 + side * 3 / 10).min(height - thick));
        let done = left + long * usize::from(percent.min(100)) / 100;
        for row in self.pixels.chunks_exact_mut(width * 4).skip(top).take(thick) {
            for (x, pixel) in row.chunks_exact_mut(4).enumerate().skip(left).take(long) {
                pixel.copy_from_slice(if x < done { &BAR } else { &REST });
            }
        }
    }
}

/// Draws a background that brightens towards the middle, and a ring with a bright head that rotates.
struct Scene {
    middle: (f32, f32),
    radius: f32,
    width: f32,
    /// The position of the head, in turns.
    head: f32,
    /// The drift of the background's colour.
    drift: f32,
}

impl Scene {
    fn new(width: u32, height: u32, ms: u64) -> Self {
        let side = width.min(height) as f32;
        let turns = (ms % 3_600_000) as f32 / TURN;
        Self {
            middle: (width as f32 / 2.0, height as f32 / 2.0),
            radius: side * 0.16,
            width: (side * 0.022).max(1.5),
            head: turns.fract(),
            drift: (turns * 0.35).sin(),
        }
    }

    fn distance(&self, x: f32, y: f32) -> f32 {
        (x - self.middle.0).hypot(y - self.middle.1)
    }

    fn is_near(&self, x: f32, y: f32) -> bool {
        (self.distance(x, y) - self.radius).abs() < self.width * 2.0 + COARSE as f32
    }

    fn ground(&self, x: f32, y: f32) -> [f32; 4] {
        let light = (1.0 - self.distance(x, y) / (self.middle.0 + self.middle.1)).max(0.0);
        let warm = 0.5 + 0.5 * self.drift;
        [14.0 + light * (26.0 + 14.0 * warm), 16.0 + light * 24.0, 26.0 + light * (58.0 - 12.0 * warm), 255.0]
    }

    fn ring(&self, x: f32, y: f32, ground: [f32; 4]) -> [f32; 4] {
        let edge = (self.distance(x, y) - self.radius).abs() / self.width;
        let cover = (1.5 - edge).clamp(0.0, 1.0);
        let angle = (y - self.middle.1).atan2(x - self.middle.0) / std::f32::consts::TAU;
        // 1 at the head, fading along the turn behind it.
        let tail = 1.0 - (self.head - angle).rem_euclid(1.0);
        let glow = cover * (0.12 + 0.88 * tail * tail * tail);
        let mut colour = ground;
        for (to, from) in colour.iter_mut().zip([236.0, 224.0, 255.0]) {
            *to += (from - *to) * glow;
        }
        colour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_moves_and_has_the_size_that_is_asked_for() {
        let mut placeholder = Placeholder::default();
        let first = placeholder.draw(320, 192, 0, None).map(|view| (view.width(), view.height()));
        assert_eq!(first, Some((320, 192)));
        let first = placeholder.pixels.clone();
        placeholder.draw(320, 192, 400, None).unwrap();
        let moved = first.iter().zip(&placeholder.pixels).filter(|(a, b)| a != b).count();
        assert!(moved > 500, "{moved}");
        assert!(placeholder.pixels.chunks_exact(4).all(|pixel| pixel[3] == 255));
    }

    #[test]
    fn any_size_is_drawn_without_a_panic() {
        let mut placeholder = Placeholder::default();
        for (width, height) in [(0, 0), (17, 1), (64, 2048), (513, 511)] {
            for percent in [None, Some(0), Some(100), Some(255)] {
                assert!(placeholder.draw(width, height, 123_456_789, percent).is_some(), "{width}x{height}");
            }
        }
    }

    #[test]
    fn the_bar_grows_with_the_progress() {
        let mut placeholder = Placeholder::default();
        let mut long = |percent| {
            placeholder.draw(320, 200, 0, percent).unwrap();
            placeholder.pixels.chunks_exact(4).filter(|pixel| **pixel == BAR).count()
        };
        // The head of the ring has the colour of the bar.
        let head = long(None);
        // 80 pixels of 2 rows at most.
        assert_eq!([Some(0), Some(50), Some(100)].map(|percent| long(percent) - head), [0, 80, 160]);
    }
}

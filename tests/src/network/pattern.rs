//! Pictures that say their number, in squares that a lossy codec leaves readable, before a ground that moves as a camera's
//! picture does.

use dreamframe::{FrameView, PixelFormat};

/// Squares in a row: sixteen bits, and the same inverted below.
const COLUMNS: u32 = 16;
const ROWS: u32 = 2;

/// How far the ground moves, in pixels, and how far with each picture.
const TRAVEL: u32 = 64;
const STEP: u32 = 2;

/// Draws numbered pictures of one size.
#[derive(Debug)]
pub struct Pattern {
    width: u32,
    height: u32,
    /// Rows of RGBA that are `TRAVEL` pixels longer than a picture's.
    ground: Vec<u8>,
}

impl Pattern {
    /// Creates the background of pictures of this size.
    pub fn new(width: u32, height: u32) -> Self {
        let places = (0..height).flat_map(|y| (0..width + TRAVEL).map(move |x| (x, y)));
        let ground = places.flat_map(|(x, y)| {
            let (patch, grain) = (hash(x / 16, y / 16) % 64, hash(x, y) % 8);
            let slope = x * 60 / (width + TRAVEL) + y * 60 / height;
            [40 + patch + grain + slope, 60 + patch / 2 + grain + slope, 150 - patch - slope / 2 + grain, 255]
                .map(|value| value.min(255) as u8)
        });
        Self { width, height, ground: ground.collect() }
    }

    /// Returns the size of its pictures.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Draws the picture of a number, as packed RGBA.
    pub fn draw(&self, number: u16, pixels: &mut Vec<u8>) {
        let travelled = u32::from(number) * STEP % (2 * TRAVEL);
        let offset = travelled.min(2 * TRAVEL - travelled) as usize * 4;
        let (row, ground_row) = (self.width as usize * 4, (self.width + TRAVEL) as usize * 4);
        pixels.clear();
        for ground in self.ground.chunks_exact(ground_row) {
            pixels.extend_from_slice(&ground[offset..offset + row]);
        }
        let (side, high) = ((self.width / COLUMNS) as usize, (self.height / COLUMNS) as usize);
        let top = top(self.height) as usize;
        for (y, pixels) in pixels.chunks_exact_mut(row).skip(top).take(high * ROWS as usize).enumerate() {
            for (column, square) in pixels.chunks_exact_mut(side * 4).take(COLUMNS as usize).enumerate() {
                square.fill(if bit(number, (y / high) as u32, column as u32) { 255 } else { 0 });
            }
        }
    }
}

/// Reads the number of a decoded picture; `None` if a bit is no bit, as in a picture without a number.
pub fn read(picture: &FrameView<'_>) -> Option<u16> {
    if picture.format() != PixelFormat::I420 {
        return None;
    }
    let (width, height) = (picture.width(), picture.height());
    let rows: Vec<_> = picture.rows(0).collect();
    let (side, high) = (width / COLUMNS, height / COLUMNS);
    let is_light = |row: u32, column: u32| {
        let (x, y) = (column * side + side / 2, top(height) + row * high + high / 2);
        rows.get(y as usize)?.get(x as usize).map(|&luma| luma > 125)
    };
    let mut number = 0;
    for column in 0..COLUMNS {
        number |= u16::from(is_light(0, column)?) << column;
    }
    let is_whole = (0..COLUMNS).all(|column| is_light(1, column) == Some(bit(number, 1, column)));
    is_whole.then_some(number)
}

/// Where the squares begin.
fn top(height: u32) -> u32 {
    height / 2 - height / COLUMNS
}

fn bit(number: u16, row: u32, column: u32) -> bool {
    (number >> column & 1 == 1) == (row == 0)
}

/// Numbers without a pattern.
fn hash(x: u32, y: u32) -> u32 {
    let mixed = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77);
    (mixed ^ mixed >> 15).wrapping_mul(0xc2b2_ae3d) >> 16
}

//! Pictures whose number is in blocks so large that a diffusion model with few steps leaves them light or dark.

use dreamframe::{FrameView, PixelFormat};

/// Blocks in a row, and rows of the number; as many rows below have its bits inverted.
const COLUMNS: u32 = 8;
const ROWS: u32 = 2;
/// The least difference in brightness of a block and the inverted one.
const CONTRAST: i64 = 16;

/// Draws the picture of a number, as packed RGBA.
pub fn draw_blocks(number: u16, (width, height): (u32, u32), pixels: &mut Vec<u8>) {
    pixels.clear();
    for y in 0..height {
        for x in 0..width {
            let (column, row) = (x * COLUMNS / width, y * 2 * ROWS / height);
            let is_light = (number >> (row % ROWS * COLUMNS + column) & 1 == 1) == (row < ROWS);
            let value = if is_light { 255 } else { 0 };
            pixels.extend([value, value, value, 255]);
        }
    }
}

/// Reads the number of a decoded picture; `None` if a block and the inverted one are alike, as in a picture without a
/// number.
pub fn read_blocks(picture: &FrameView<'_>) -> Option<u16> {
    if picture.format() != PixelFormat::I420 {
        return None;
    }
    let rows: Vec<&[u8]> = picture.rows(0).collect();
    let mut number = 0;
    for bit in 0..COLUMNS * ROWS {
        let (column, row) = (bit % COLUMNS, bit / COLUMNS);
        let brightness = |row| brightness(&rows, (picture.width(), picture.height()), (column, row));
        let difference = brightness(row)? - brightness(row + ROWS)?;
        if difference.abs() < CONTRAST {
            return None;
        }
        number |= u16::from(difference > 0) << bit;
    }
    Some(number)
}

/// Returns the mean of the middle of a block.
fn brightness(rows: &[&[u8]], (width, height): (u32, u32), (column, row): (u32, u32)) -> Option<i64> {
    let middle = |at: u32, count: u32, length: u32| {
        let part = |quarters: u32| ((4 * at + quarters) * length / (4 * count)) as usize;
        part(1)..part(3)
    };
    let rows = rows.get(middle(row, 2 * ROWS, height))?;
    let mut values: Vec<u8> = Vec::new();
    for row in rows {
        values.extend(row.get(middle(column, COLUMNS, width))?);
    }
    let sum: i64 = values.iter().map(|&value| i64::from(value)).sum();
    sum.checked_div(i64::try_from(values.len()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::demo_engine;

    const SIDE: u32 = 64;

    /// Reads a picture of RGBA pixels, by their green.
    fn number_of(rgba: &[u8]) -> Option<u16> {
        let mut planes: Vec<u8> = rgba.chunks_exact(4).map(|pixel| pixel[1]).collect();
        planes.resize(planes.len() * 3 / 2, 128);
        read_blocks(&FrameView::packed(PixelFormat::I420, SIDE, SIDE, &planes).unwrap())
    }

    #[test]
    fn pictures_have_their_number_and_others_none() {
        let mut pixels = Vec::new();
        for number in [0, 1, 0x8000, 0x1234, u16::MAX] {
            draw_blocks(number, (SIDE, SIDE), &mut pixels);
            assert_eq!(number_of(&pixels), Some(number));
        }
        assert_eq!(number_of(&vec![90; pixels.len()]), None);
        assert_eq!(read_blocks(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap()), None);
    }

    #[test]
    fn the_demo_model_leaves_the_number_readable() {
        let mut pixels = Vec::new();
        for rows in [vec![41, 46], vec![45]] {
            let lag = rows.len() - 1;
            let mut engine = demo_engine(SIDE, |params, _| params.t_index_list = rows);
            for count in 0..8_usize {
                draw_blocks(count as u16 * 0x1357, (SIDE, SIDE), &mut pixels);
                let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
                let picture = engine.process(&frame).unwrap();
                let shown = count.checked_sub(lag).map(|number| number as u16 * 0x1357);
                let bytes = picture.frame.pixels().len() / (SIDE * SIDE) as usize;
                let rgba: Vec<u8> =
                    picture.frame.pixels().chunks_exact(bytes).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
                assert!(shown.is_none() || number_of(&rgba) == shown, "picture {count} with {lag} before it");
            }
        }
    }
}

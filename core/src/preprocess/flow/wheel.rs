//! Flow as a picture: the direction as the hue, the length as the saturation.

use crate::preprocess::Image;

/// The number of steps from red to yellow, green, cyan, blue, magenta and back to red
/// (Baker et al., "A Database and Evaluation Methodology for Optical Flow").
const STEPS: [usize; 6] = [15, 6, 4, 11, 13, 6];
/// Colours of the wheel.
const COLOURS: usize = 55;

/// The colours of the wheel, in 0..1.
const WHEEL: [[f32; 3]; COLOURS] = wheel();

const fn wheel() -> [[f32; 3]; COLOURS] {
    // In each segment one component is constant, and another one rises or falls.
    const FULL: [usize; 6] = [0, 1, 1, 2, 2, 0];
    const MOVING: [(usize, bool); 6] = [(1, true), (0, false), (2, true), (1, false), (0, true), (2, false)];
    let mut colours = [[0.0; 3]; COLOURS];
    let (mut stretch, mut at) = (0, 0);
    while stretch < STEPS.len() {
        let mut step = 0;
        while step < STEPS[stretch] {
            let come = (255 * step / STEPS[stretch]) as f32 / 255.0;
            let (moving, comes) = MOVING[stretch];
            colours[at][FULL[stretch]] = 1.0;
            colours[at][moving] = if comes { come } else { 1.0 - come };
            (step, at) = (step + 1, at + 1);
        }
        stretch += 1;
    }
    colours
}

/// Fills `shown`, red, green and blue in 0..1, with the picture of `flow`, `[height, width, 2]`.
///
/// The longest flow of the picture is fully saturated, and zero flow is white, so lengths are not comparable between
/// pictures.
pub(super) fn show(flow: &Image, shown: &mut Image) {
    shown.resize(flow.width(), flow.height(), 3);
    let flow = flow.pixels().as_chunks::<2>().0;
    let longest = flow.iter().map(|[u, v]| u.hypot(*v)).fold(0.0, f32::max) + f32::EPSILON;
    for (to, &[u, v]) in shown.pixels_mut().as_chunks_mut::<3>().0.iter_mut().zip(flow) {
        *to = colour(u / longest, v / longest);
    }
}

/// Returns the colour of a flow of length 1 at most, rounded down to bytes.
fn colour(u: f32, v: f32) -> [f32; 3] {
    let place = ((-v).atan2(-u) / std::f32::consts::PI + 1.0) / 2.0 * (COLOURS - 1) as f32;
    let first = (place as usize).min(COLOURS - 1);
    let (share, length) = (place - first as f32, u.hypot(v));
    let (one, other) = (WHEEL[first], WHEEL[(first + 1) % COLOURS]);
    [0, 1, 2].map(|i| {
        let full = one[i] * (1.0 - share) + other[i] * share;
        (255.0 * (1.0 - length * (1.0 - full))).floor() / 255.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_flow_is_white_and_the_longest_is_fully_saturated() {
        let flow = Image::from_pixels(2, 2, 2, vec![0.0, 0.0, 3.0, 0.0, -1.5, 0.0, 0.0, 3.0]).unwrap();
        let mut shown = Image::new();
        show(&flow, &mut shown);
        let pixel = |i: usize| [0, 1, 2].map(|c| (shown.pixels()[3 * i + c] * 255.0).round() as u8);
        assert_eq!(pixel(0), [255; 3]);
        assert_eq!(pixel(1), [255, 0, 0]);
        let [half, full] = [pixel(2), pixel(3)];
        assert!(half.iter().all(|&x| x >= 127) && full.iter().any(|&x| x < 5), "{half:?} {full:?}");
        show(&Image::from_pixels(2, 1, 2, vec![0.0; 4]).unwrap(), &mut shown);
        assert_eq!(shown.pixels(), [1.0; 6]);
    }

    #[test]
    fn colours_match_torchvision() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/annotators/golden.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |name| -> Vec<f32> {
            tensors.tensor(name).unwrap().data().as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
        };
        let flow = Image::from_pixels(11, 9, 2, numbers("flow.vectors")).unwrap();
        let mut shown = Image::new();
        show(&flow, &mut shown);
        // A value that is exactly a byte may be rounded down to the next lower one.
        let apart = shown.pixels().iter().zip(numbers("flow.colours")).map(|(a, b)| ((a - b) * 255.0).abs());
        assert!(apart.fold(0.0, f32::max) < 1.01);
    }

    #[test]
    fn nan_is_no_panic() {
        let flow = Image::from_pixels(1, 2, 2, vec![f32::NAN, 1.0, f32::INFINITY, 0.0]).unwrap();
        show(&flow, &mut Image::new());
    }
}

//! Decodes MoveNet's four output maps into the joints of the most central person.

use crate::models::annotators::{JOINTS, POSE_GRID};

/// The position of a joint, in fractions of the picture's height and width, and its score.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Joint {
    pub(super) y: f32,
    pub(super) x: f32,
    pub(super) score: f32,
}

/// The joints of a person, in COCO's order.
pub(super) type Joints = [Joint; JOINTS];

/// Returns a weight that falls with the distance to an expected position.
fn nearness(dy: f32, dx: f32) -> f32 {
    /// The offset of the distance, in cells of the grid.
    const SOFT: f32 = 1.8;
    1.0 / ((dy * dy + dx * dx).sqrt() + SOFT)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Returns the cell with the largest `value(line, column)`; the first one if there are several.
fn largest(value: impl Fn(usize, usize) -> f32) -> (usize, usize) {
    let mut best = (f32::NEG_INFINITY, (0, 0));
    for place in 0..POSE_GRID * POSE_GRID {
        let (y, x) = (place / POSE_GRID, place % POSE_GRID);
        let value = value(y, x);
        if value > best.0 {
            best = (value, (y, x));
        }
    }
    best.1
}

/// Finds the joints in the network's outputs. The person nearest to the centre determines the expected position of each
/// joint, the maximum of the joint's map near it the cell, and the last map the offset from the cell.
pub(super) fn decode(outputs: &[Vec<f32>]) -> Joints {
    let at = |map: usize, y: usize, x: usize, channel: usize, channels: usize| {
        let numbers = outputs.get(map).map_or(&[] as &[f32], Vec::as_slice);
        numbers.get((y * POSE_GRID + x) * channels + channel).copied().unwrap_or(0.0)
    };
    let middle = (POSE_GRID / 2) as f32;
    let centre = largest(|y, x| sigmoid(at(0, y, x, 0, 1)) * nearness(y as f32 - middle, x as f32 - middle));
    let mut joints = [Joint::default(); JOINTS];
    for (i, joint) in joints.iter_mut().enumerate() {
        let expected_y = centre.0 as f32 + at(2, centre.0, centre.1, 2 * i, 2 * JOINTS);
        let expected_x = centre.1 as f32 + at(2, centre.0, centre.1, 2 * i + 1, 2 * JOINTS);
        let score = |y: usize, x: usize| sigmoid(at(1, y, x, i, JOINTS));
        let (y, x) = largest(|y, x| score(y, x) * nearness(y as f32 - expected_y, x as f32 - expected_x));
        *joint = Joint {
            y: (y as f32 + at(3, y, x, 2 * i, 2 * JOINTS)) / POSE_GRID as f32,
            x: (x as f32 + at(3, y, x, 2 * i + 1, 2 * JOINTS)) / POSE_GRID as f32,
            score: score(y, x),
        };
    }
    joints
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = POSE_GRID * POSE_GRID;

    #[test]
    fn a_joint_is_the_map_maximum_near_its_expected_position() {
        let mut maps = vec![vec![-9.0; PLACES], vec![-9.0; PLACES * JOINTS], vec![0.0; PLACES * 2 * JOINTS]];
        maps.push(vec![0.0; PLACES * 2 * JOINTS]);
        let place = |y: usize, x: usize| y * POSE_GRID + x;
        maps[0][place(20, 30)] = 5.0;
        // The nose is expected 10 cells above. The maximum near it is one cell off; a larger one is far away.
        maps[2][place(20, 30) * 2 * JOINTS] = -10.0;
        maps[1][place(10, 31) * JOINTS] = 1.0;
        maps[1][place(47, 0) * JOINTS] = 3.0;
        maps[3][place(10, 31) * 2 * JOINTS] = 0.5;
        let nose = decode(&maps)[0];
        assert_eq!((nose.y, nose.x), (10.5 / 48.0, 31.0 / 48.0));
        assert!((nose.score - sigmoid(1.0)).abs() < 1e-6);
    }

    #[test]
    fn missing_maps_and_nan_are_no_panic() {
        assert!(decode(&[]).iter().all(|joint| joint.score == 0.5));
        decode(&[vec![f32::NAN; PLACES], vec![f32::NAN; PLACES * JOINTS]]);
    }
}

//! Skeletons: joints, limbs and their colours.

use super::decode::{Joint, Joints};
use super::draw::{Canvas, Point};

/// The shape of OpenPose's limbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limbs {
    /// Ellipses from joint to joint.
    Ellipses,
    /// Lines.
    Lines,
}

/// COCO's joint for each of OpenPose's; `None` for the neck, the midpoint of the shoulders.
const OPENPOSE_JOINTS: [Option<usize>; 18] = [
    Some(0),
    None,
    Some(6),
    Some(8),
    Some(10),
    Some(5),
    Some(7),
    Some(9),
    Some(12),
    Some(14),
    Some(16),
    Some(11),
    Some(13),
    Some(15),
    Some(2),
    Some(1),
    Some(4),
    Some(3),
];

/// OpenPose's limbs. The colour of each is the one with the same index in [`OPENPOSE_COLOURS`].
const OPENPOSE_LIMBS: [[usize; 2]; 17] = [
    [1, 2],
    [1, 5],
    [2, 3],
    [3, 4],
    [5, 6],
    [6, 7],
    [1, 8],
    [8, 9],
    [9, 10],
    [1, 11],
    [11, 12],
    [12, 13],
    [1, 0],
    [0, 14],
    [14, 16],
    [0, 15],
    [15, 17],
];

/// The colours of OpenPose's joints, in the order of hues.
const OPENPOSE_COLOURS: [[u8; 3]; 18] = [
    [255, 0, 0],
    [255, 85, 0],
    [255, 170, 0],
    [255, 255, 0],
    [170, 255, 0],
    [85, 255, 0],
    [0, 255, 0],
    [0, 255, 85],
    [0, 255, 170],
    [0, 255, 255],
    [0, 170, 255],
    [0, 85, 255],
    [0, 0, 255],
    [85, 0, 255],
    [170, 0, 255],
    [255, 0, 255],
    [255, 0, 170],
    [255, 0, 85],
];

/// The brightness of OpenPose's limbs, relative to its joints.
const LIMB_BRIGHTNESS: f32 = 0.6;

/// The service's limbs with their colours; joint 17 is the midpoint of the shoulders. The service stores colours as
/// BGR.
const SERVICE_LIMBS: [([usize; 2], [u8; 3]); 16] = [
    ([0, 17], [0, 0, 255]),
    ([13, 15], [0, 85, 255]),
    ([14, 16], [0, 255, 170]),
    ([12, 14], [0, 255, 85]),
    ([12, 17], [0, 255, 85]),
    ([5, 6], [255, 0, 85]),
    ([11, 13], [0, 170, 255]),
    ([7, 9], [58, 177, 0]),
    ([5, 7], [119, 179, 0]),
    ([17, 11], [0, 179, 179]),
    ([6, 8], [179, 119, 0]),
    ([8, 10], [179, 179, 0]),
    ([1, 3], [179, 0, 119]),
    ([0, 1], [179, 0, 179]),
    ([0, 2], [118, 0, 178]),
    ([2, 4], [118, 0, 178]),
];
/// The colour of all of the service's joints.
const SERVICE_JOINT: [u8; 3] = [0, 255, 0];
/// The opacity of the service's drawing.
const SERVICE_OPACITY: f32 = 0.75;

/// Returns the midpoint of the shoulders.
fn neck(joints: &Joints) -> Joint {
    let (left, right) = (joints[5], joints[6]);
    let middle = |part: fn(&Joint) -> f32| (part(&left) + part(&right)) / 2.0;
    Joint { y: middle(|joint| joint.y), x: middle(|joint| joint.x), score: middle(|joint| joint.score) }
}

/// Returns the position of a joint on the canvas, if its score is above `threshold`.
fn seen(canvas: &Canvas, joint: Joint, threshold: f32) -> Option<Point> {
    let (width, height) = canvas.size();
    (joint.score > threshold).then_some([joint.x * width as f32, joint.y * height as f32])
}

/// Draws a person in the style of OpenPose; `limb` is half of a limb's width, `joint` a joint's radius.
pub(super) fn openpose(canvas: &mut Canvas, joints: &Joints, threshold: f32, limbs: Limbs, [limb, joint]: [f32; 2]) {
    let neck = neck(joints);
    let points = OPENPOSE_JOINTS.map(|at| seen(canvas, at.map_or(neck, |at| joints[at]), threshold));
    for ([from, to], colour) in OPENPOSE_LIMBS.into_iter().zip(OPENPOSE_COLOURS) {
        if let (Some(from), Some(to)) = (points[from], points[to]) {
            let colour = colour.map(|x| (f32::from(x) * LIMB_BRIGHTNESS) as u8);
            match limbs {
                Limbs::Ellipses => canvas.ellipse(from, to, limb, colour),
                Limbs::Lines => canvas.line(from, to, limb, colour),
            }
        }
    }
    for (point, colour) in points.into_iter().zip(OPENPOSE_COLOURS) {
        if let Some(point) = point {
            canvas.disc(point, joint, colour);
        }
    }
}

/// Draws a person in the style of the service.
pub(super) fn service(canvas: &mut Canvas, joints: &Joints, threshold: f32, [limb, joint]: [f32; 2]) {
    let neck = neck(joints);
    let point = |canvas: &Canvas, at: usize| seen(canvas, joints.get(at).copied().unwrap_or(neck), threshold);
    for ([from, to], colour) in SERVICE_LIMBS {
        if let (Some(from), Some(to)) = (point(canvas, from), point(canvas, to)) {
            canvas.line(from, to, limb, colour);
        }
    }
    for at in 0..=joints.len() {
        if let Some(point) = point(canvas, at) {
            canvas.disc(point, joint, SERVICE_JOINT);
        }
    }
    canvas.dim(SERVICE_OPACITY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Image;

    /// Returns joints of which only those in `shown` have a score.
    fn joints(shown: &[(usize, f32, f32)]) -> Joints {
        let mut joints = [Joint::default(); 17];
        for &(at, x, y) in shown {
            joints[at] = Joint { y, x, score: 0.9 };
        }
        joints
    }

    fn pixel(canvas: &Canvas, x: usize, y: usize) -> [u8; 3] {
        let mut image = Image::new();
        canvas.show(&mut image);
        let at = (y * image.width() + x) * 3;
        [0, 1, 2].map(|i| (image.pixels()[at + i] * 255.0).round() as u8)
    }

    fn canvas() -> Canvas {
        let mut canvas = Canvas::default();
        canvas.clear((200, 100));
        canvas
    }

    #[test]
    fn the_service_draws_limbs_and_green_joints_at_three_quarters() {
        let mut canvas = canvas();
        service(&mut canvas, &joints(&[(5, 0.2, 0.5), (6, 0.8, 0.5)]), 0.5, [5.0, 10.0]);
        // Shoulders, and between them the neck.
        for x in [40, 160, 100] {
            assert_eq!(pixel(&canvas, x, 50), [0, 191, 0]);
        }
        assert_eq!(pixel(&canvas, 70, 50), [191, 0, 64]);
        assert_eq!(pixel(&canvas, 70, 56), [0; 3]);
    }

    #[test]
    fn openpose_draws_dim_limbs_and_bright_joints() {
        let mut canvas = canvas();
        // The right shoulder and elbow; the neck lacks the other shoulder.
        openpose(&mut canvas, &joints(&[(6, 0.2, 0.5), (8, 0.8, 0.5)]), 0.5, Limbs::Ellipses, [4.0, 4.0]);
        assert_eq!(pixel(&canvas, 40, 50), [255, 170, 0]);
        assert_eq!(pixel(&canvas, 160, 50), [255, 255, 0]);
        assert_eq!(pixel(&canvas, 100, 50), [153, 102, 0]);
        assert_eq!(pixel(&canvas, 100, 45), [0; 3]);
    }

    #[test]
    fn joints_below_the_threshold_are_not_drawn() {
        let mut canvas = canvas();
        let faint = joints(&[(5, 0.2, 0.5), (6, 0.8, 0.5)]).map(|joint| Joint { score: joint.score / 2.0, ..joint });
        service(&mut canvas, &faint, 0.5, [5.0, 10.0]);
        openpose(&mut canvas, &faint, 0.5, Limbs::Lines, [2.0, 4.0]);
        assert!((0..200).all(|x| pixel(&canvas, x, 50) == [0; 3]));
    }
}

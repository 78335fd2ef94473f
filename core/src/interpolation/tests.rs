//! Pictures between two pictures, compared with what a scene shows at that time.

use super::*;
use crate::frame::{FrameId, PixelFormat};

const WIDTH: u32 = 160;
const HEIGHT: u32 = 120;
const CUT: f64 = 0.12;

/// A texture: smooth, and different everywhere.
fn texture(x: f32, y: f32, phase: f32) -> [f32; 3] {
    let waves = [(0.21, 0.07), (-0.09, 0.17), (0.05, -0.31), (0.13, 0.11), (-0.37, 0.05)];
    std::array::from_fn(|channel| {
        let phase = phase + channel as f32 * 0.9;
        let sum: f32 = waves.iter().map(|(a, b)| (a * x + b * y + phase * (1.0 + a * 7.0)).sin()).sum();
        (0.5 + 0.16 * sum).clamp(0.0, 1.0)
    })
}

/// A textured square on a textured background: its upper left corner, its side, and the shift of the background.
#[derive(Clone, Copy)]
struct Scene {
    square: [f32; 2],
    side: f32,
    background: [f32; 2],
    phase: f32,
}

const SCENE: Scene = Scene { square: [40.0, 36.0], side: 44.0, background: [0.0, 0.0], phase: 0.0 };

impl Scene {
    /// Returns the scene at a time between 0 and 1, at which the square has moved by `square`, and the background by
    /// `background`.
    fn moved(self, square: [f32; 2], background: [f32; 2], time: f32) -> Self {
        let moved = |from: [f32; 2], by: [f32; 2]| [from[0] + time * by[0], from[1] + time * by[1]];
        Self { square: moved(self.square, square), background: moved(self.background, background), ..self }
    }

    fn holds(&self, x: f32, y: f32) -> bool {
        let inside = |x: f32, from: f32| x >= from && x < from + self.side;
        inside(x, self.square[0]) && inside(y, self.square[1])
    }

    fn frame(&self) -> Frame {
        let pixels = (0..WIDTH * HEIGHT).flat_map(|place| {
            let (x, y) = ((place % WIDTH) as f32, (place / WIDTH) as f32);
            let colour = if self.holds(x, y) {
                texture(x - self.square[0], y - self.square[1], self.phase + 2.0).map(|value| 0.3 + 0.7 * value)
            } else {
                texture(x - self.background[0], y - self.background[1], self.phase).map(|value| 0.7 * value)
            };
            let [r, g, b] = colour.map(|value| (value * 255.0).round() as u8);
            [r, g, b, 255]
        });
        Frame::from_packed(PixelFormat::Rgba8, WIDTH, HEIGHT, pixels.collect()).unwrap()
    }
}

/// Returns the mean difference of two pictures, of values in 0..255.
fn apart(one: &Frame, other: &Frame) -> f64 {
    let pairs = one.pixels().iter().zip(other.pixels());
    let sum: f64 = pairs.map(|(&one, &other)| f64::from(one.abs_diff(other))).sum();
    // Of three values in four: the last is constant.
    sum / one.pixels().len() as f64 * 4.0 / 3.0
}

fn cross_fade(one: &Frame, other: &Frame, time: f32) -> Frame {
    let pairs = one.pixels().iter().zip(other.pixels());
    let mixed = pairs.map(|(&one, &other)| (f32::from(one) * (1.0 - time) + f32::from(other) * time).round() as u8);
    Frame::from_packed(one.format(), one.width(), one.height(), mixed.collect()).unwrap()
}

/// Returns the error of the picture at a time, and that of a cross-fade.
fn errors(interpolator: &mut Interpolator, square: [f32; 2], background: [f32; 2], time: f32) -> (f64, f64) {
    let [older, newer, truth] = [0.0, 1.0, time].map(|time| SCENE.moved(square, background, time).frame());
    interpolator.forget();
    assert_eq!(interpolator.advance(&older, CUT, None).unwrap(), Between::Nothing);
    assert_eq!(interpolator.advance(&newer, CUT, None).unwrap(), Between::Motion);
    let made = interpolator.picture(time).unwrap().expect("a picture between two");
    (apart(&made, &truth), apart(&cross_fade(&older, &newer, time), &truth))
}

#[test]
fn a_moving_square_is_midway_at_half_the_time() {
    let mut interpolator = Interpolator::new();
    for square in [[12.0, 0.0], [0.0, -8.0], [-8.0, 6.0], [2.0, 4.0]] {
        let (error, faded) = errors(&mut interpolator, square, [0.0; 2], 0.5);
        assert!(error < 0.3 * faded, "{square:?}: {error:.2}, a cross-fade {faded:.2}");
    }
}

#[test]
fn a_square_and_its_background_move_in_different_directions() {
    let mut interpolator = Interpolator::new();
    for (square, background) in [([8.0, 0.0], [-4.0, 0.0]), ([-6.0, 4.0], [2.0, 4.0])] {
        let (error, faded) = errors(&mut interpolator, square, background, 0.5);
        assert!(error < 0.3 * faded, "{square:?}, {background:?}: {error:.2}, a cross-fade {faded:.2}");
    }
}

#[test]
fn three_pictures_are_at_a_quarter_a_half_and_three_quarters() {
    let mut interpolator = Interpolator::new();
    for time in [0.25, 0.5, 0.75] {
        let (error, faded) = errors(&mut interpolator, [12.0, -8.0], [0.0; 2], time);
        assert!(error < 0.3 * faded, "{time}: {error:.2}, a cross-fade {faded:.2}");
        // It is not the picture of another time.
        let made = interpolator.picture(time).unwrap().unwrap();
        for other in [0.0, 0.25, 0.5, 0.75, 1.0].into_iter().filter(|other| *other != time) {
            let truth = SCENE.moved([12.0, -8.0], [0.0; 2], other).frame();
            assert!(apart(&made, &truth) > 2.0 * error, "{time} is close to {other}");
        }
    }
}

#[test]
fn a_moving_background_enters_at_the_edge() {
    let mut interpolator = Interpolator::new();
    let (error, faded) = errors(&mut interpolator, [10.0, 0.0], [10.0, 0.0], 0.5);
    assert!(error < 0.2 * faded, "{error:.2}, a cross-fade {faded:.2}");
}

#[test]
fn between_identical_pictures_is_the_same_picture() {
    let mut interpolator = Interpolator::new();
    let frame = SCENE.frame();
    interpolator.advance(&frame, CUT, None).unwrap();
    assert_eq!(interpolator.advance(&frame, CUT, None).unwrap(), Between::Same);
    for time in [0.25, 0.5, 0.75] {
        assert_eq!(interpolator.picture(time).unwrap().unwrap().pixels(), frame.pixels());
    }
}

#[test]
fn what_does_not_move_stays_exactly_the_same() {
    let mut interpolator = Interpolator::new();
    let (older, newer) = (SCENE.frame(), SCENE.moved([4.0, 0.0], [0.0; 2], 1.0).frame());
    interpolator.advance(&older, CUT, None).unwrap();
    interpolator.advance(&newer, CUT, None).unwrap();
    let made = interpolator.picture(0.5).unwrap().unwrap();
    // Far from the square.
    let row = (HEIGHT as usize - 4) * WIDTH as usize * 4;
    let worst = made.pixels()[row..].iter().zip(&older.pixels()[row..]).map(|(one, other)| one.abs_diff(*other)).max();
    assert!(worst <= Some(1), "{worst:?}");
}

#[test]
fn nothing_is_interpolated_at_a_scene_cut() {
    let mut interpolator = Interpolator::new();
    let other = Scene { phase: 3.0, square: [90.0, 10.0], side: 60.0, ..SCENE };
    interpolator.advance(&SCENE.frame(), CUT, None).unwrap();
    assert_eq!(interpolator.advance(&other.frame(), CUT, None).unwrap(), Between::SceneCut);
    assert!(interpolator.picture(0.5).unwrap().is_none());
    // The new scene continues.
    assert_eq!(
        interpolator.advance(&other.moved([4.0, 0.0], [0.0; 2], 1.0).frame(), CUT, None).unwrap(),
        Between::Motion
    );
    assert!(interpolator.picture(0.5).unwrap().is_some());
    // At a threshold of 1 there is no cut.
    assert_eq!(interpolator.advance(&SCENE.frame(), 1.0, None).unwrap(), Between::Motion);
}

#[test]
fn there_is_nothing_between_pictures_of_different_sizes() {
    let mut interpolator = Interpolator::new();
    assert!(interpolator.picture(0.5).unwrap().is_none());
    let small = Frame::from_packed(PixelFormat::Rgba8, 8, 8, vec![9; 8 * 8 * 4]).unwrap();
    interpolator.advance(&SCENE.frame(), CUT, None).unwrap();
    for frame in [&small, &SCENE.frame()] {
        assert_eq!(interpolator.advance(frame, CUT, None).unwrap(), Between::Nothing);
        assert!(interpolator.picture(0.5).unwrap().is_none());
    }
}

#[test]
fn a_network_makes_the_pictures_of_its_size_and_the_flow_those_of_others() {
    let network = |size| Some(Arc::new(Rife::new(rife::tests::weights("v4.7"), size).unwrap()));
    let scenes = [0.0, 1.0, 2.0].map(|time| SCENE.moved([4.0, 0.0], [0.0; 2], time).frame());
    let made = |network: Option<Arc<Rife>>| {
        let mut interpolator = Interpolator::new();
        scenes.each_ref().map(|frame| {
            interpolator.advance(frame, CUT, network.clone()).unwrap();
            interpolator.picture(0.5).unwrap().map(|made| made.pixels().to_vec())
        })
    };
    let (size, flow) = ((WIDTH as usize, HEIGHT as usize), made(None));
    let network_of_size = made(network(size));
    for index in 1..3 {
        assert!(flow[index].is_some() && network_of_size[index].is_some());
        assert!(flow[index] != network_of_size[index]);
    }
    assert!(made(network((size.0, size.1 - 1))) == flow);
    // It can be taken away, and be back.
    let mut interpolator = Interpolator::new();
    let networks = [network(size), None, network(size)];
    let made = scenes.iter().zip(networks).map(|(frame, network)| {
        interpolator.advance(frame, CUT, network).unwrap();
        interpolator.picture(0.5).unwrap().map(|made| made.pixels().to_vec())
    });
    let expected = [None, flow[1].clone(), network_of_size[2].clone()];
    assert!(made.eq(expected));
}

#[test]
fn pictures_of_any_size_format_and_content_can_be_interpolated() {
    let mut interpolator = Interpolator::new();
    for (width, height) in [(1, 1), (3, 200), (64, 2), (17, 9), (300, 280)] {
        for format in [PixelFormat::Rgb8, PixelFormat::Bgra8, PixelFormat::Rgba16F, PixelFormat::Nv12] {
            let bytes = format.packed_len(width, height);
            let frame = |factor: usize| {
                let pixels = (0..bytes).map(|i| (i * factor % 251) as u8).collect();
                Frame::from_packed(format, width, height, pixels).unwrap()
            };
            interpolator.advance(&frame(0), 1.0, None).unwrap();
            for factor in [7919, 31, 0] {
                let next = frame(factor);
                let between = interpolator.advance(&next, 1.0, None).unwrap();
                let made = interpolator.picture(0.5).unwrap();
                assert_eq!(made.is_some(), matches!(between, Between::Same | Between::Motion));
                if let Some(made) = made {
                    assert_eq!((made.format(), made.width(), made.height()), (format, width, height));
                    assert_eq!(made.id(), FrameId::default());
                }
            }
        }
    }
}

#[test]
fn the_way_back_is_the_mirror_of_the_way_there() {
    let mut interpolator = Interpolator::new();
    let (one, other) = (SCENE.frame(), SCENE.moved([8.0, 4.0], [0.0; 2], 1.0).frame());
    let mut between = |older: &Frame, newer: &Frame, time: f32| {
        interpolator.forget();
        interpolator.advance(older, CUT, None).unwrap();
        interpolator.advance(newer, CUT, None).unwrap();
        interpolator.picture(time).unwrap().unwrap()
    };
    let (there, back) = (between(&one, &other, 0.25), between(&other, &one, 0.75));
    assert!(apart(&there, &back) < 0.5, "{}", apart(&there, &back));
}

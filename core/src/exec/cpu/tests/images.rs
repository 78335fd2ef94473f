//! Operations on neighbourhoods of pixels, per channel.

use super::check_one;
use crate::net::{Activation, Padding, Shape};

#[test]
fn dilated_convolutions_match_the_definition() {
    for (h, w, c_in, c_out, dilation) in [(9, 7, 5, 9, 2), (20, 17, 32, 32, 4), (3, 40, 16, 33, 5), (1, 1, 3, 4, 3)] {
        check_one(Shape::new(2, h, w, c_in), |b, x| {
            let y = b.dilated3x3("conv", x, c_out, dilation);
            b.activate(y, Activation::Relu)
        });
    }
}

#[test]
fn depthwise_convolutions_match_the_definition() {
    for (h, w, c) in [(1, 1, 3), (7, 9, 24), (6, 5, 33), (12, 4, 96)] {
        for (kernel, stride, padding) in [
            (3, 1, Padding::all(1)),
            (3, 2, Padding { top: 0, left: 0, bottom: 1, right: 1 }),
            (1, 1, Padding::all(0)),
            (5, 1, Padding::all(2)),
        ] {
            if kernel > h + padding.top + padding.bottom || kernel > w + padding.left + padding.right {
                continue;
            }
            check_one(Shape::new(2, h, w, c), |b, x| {
                let y = b.depthwise("conv", x, kernel, stride, padding, c % 2 == 0);
                let y = b.activate(y, Activation::ReluUpTo { limit: 0.5 });
                let z = b.depthwise("other", x, kernel, stride, padding, false);
                b.add(z, y)
            });
        }
    }
}

#[test]
fn products_with_an_image_or_a_pixel_match_the_definition() {
    for (h, w, c) in [(1, 1, 3), (7, 9, 24), (6, 5, 33), (12, 4, 96)] {
        check_one(Shape::new(2, h, w, c), |b, x| {
            let gate = b.activate(x, Activation::ReluUpTo { limit: 1.0 });
            let y = b.mul(x, gate);
            let y = b.affine(y, 0.5, 1.0);
            let pixel = b.refold(x, 1, 1);
            let y = b.mul(y, pixel);
            b.add(y, x)
        });
    }
}

#[test]
fn image_operations_match_the_definition() {
    for (h, w, c) in [(2, 3, 4), (5, 4, 16), (7, 7, 36)] {
        let shape = Shape::new(2, h, w, c);
        check_one(shape, |b, x| b.max_pool(x));
        for (tall, wide) in [(1, 1), (h, w), (2 * h, 2 * w), (h + 4, w - 1)] {
            check_one(shape, |b, x| b.resize(x, tall, wide, true));
            check_one(shape, |b, x| {
                let y = b.resize(x, tall, wide, false);
                let z = b.conv3x3("conv", y, c);
                b.add(y, z)
            });
        }
        check_one(shape, |b, x| b.refold(x, h * w + 1, 1));
        check_one(shape, |b, x| b.refold(x, 1, h * w - 1));
        check_one(shape, |b, x| b.depth_to_space(x, 2));
        check_one(shape, |b, x| {
            let y = b.reflect(x, 1);
            b.affine(y, 2.0, 1.0)
        });
    }
}

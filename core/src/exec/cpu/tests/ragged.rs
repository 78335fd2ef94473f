//! All kernels on random shapes, most of which are not multiples of vectors and tiles.

use proptest::prelude::*;

use super::{check, check_one, frame};
use crate::net::{Activation, Padding, ProgramBuilder, Rate, Shape};

/// Sides of an image.
fn sides() -> impl Strategy<Value = (usize, usize)> {
    (1_usize..20, 1_usize..20)
}

/// Numbers of channels: few, about the width of a vector, and about that of a tile.
fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![1_usize..9, 13_usize..20, 30_usize..36, 61_usize..68, 125_usize..132]
}

/// Padding of an image.
fn padding() -> impl Strategy<Value = Padding> {
    (0_usize..3, 0_usize..3, 0_usize..3, 0_usize..3).prop_map(|(top, left, bottom, right)| Padding {
        top,
        left,
        bottom,
        right,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn convolutions(
        n in 1_usize..4,
        (h, w) in sides(),
        (c_in, c_out) in (channels(), channels()),
        (kernel, stride) in (1_usize..6, 1_usize..4),
        padding in padding(),
        (upsample, bias) in (any::<bool>(), any::<bool>()),
    ) {
        let grow = if upsample { 2 } else { 1 };
        let (tall, wide) = (h * grow + padding.top + padding.bottom, w * grow + padding.left + padding.right);
        prop_assume!(kernel <= tall && kernel <= wide);
        check_one(Shape::new(n, h, w, c_in), |b, x| b.conv2d("conv", x, c_out, kernel, stride, padding, upsample, bias));
    }

    #[test]
    fn dilated_convolutions(n in 1_usize..3, (h, w) in sides(), c in channels(), dilation in 1_usize..5) {
        check_one(Shape::new(n, h, w, c), |b, x| b.dilated3x3("conv", x, c + 1, dilation));
    }

    #[test]
    fn depthwise_convolutions(
        n in 1_usize..3,
        (h, w) in sides(),
        c in channels(),
        (kernel, stride) in (1_usize..6, 1_usize..4),
        padding in padding(),
    ) {
        prop_assume!(kernel <= h + padding.top + padding.bottom && kernel <= w + padding.left + padding.right);
        check_one(Shape::new(n, h, w, c), |b, x| b.depthwise("conv", x, kernel, stride, padding, true));
    }

    #[test]
    fn linear_layers(n in 1_usize..4, tokens in 1_usize..100, (c_in, c_out) in (channels(), channels()), gated: bool) {
        check_one(Shape::tokens(n, tokens, c_in), |b, x| {
            if gated {
                let y = b.linear("linear", x, 2 * c_out, true);
                b.geglu(y)
            } else {
                let y = b.linear("linear", x, c_out, false);
                b.activate(y, Activation::Gelu)
            }
        });
    }

    #[test]
    fn norms(n in 1_usize..4, (h, w) in sides(), (groups, width) in (1_usize..9, 1_usize..20)) {
        check_one(Shape::new(n, h, w, groups * width), |b, x| {
            let y = b.group_norm("group", x, groups, 1e-3);
            let y = b.silu(y);
            b.layer_norm("layer", y, 1e-3)
        });
    }

    #[test]
    fn attention(
        (rows, heads) in (1_usize..4, 1_usize..5),
        (width, value_width) in (1_usize..70, 1_usize..70),
        (queries, keys) in (1_usize..100, 1_usize..100),
        of_row in prop::collection::vec(any::<usize>(), 3),
        causal: bool,
    ) {
        let mut b = ProgramBuilder::new("attention");
        let keys = if causal { queries } else { keys };
        let q = frame(&mut b, Shape::tokens(rows, queries, heads * width));
        let k = b.input("k", Shape::tokens(rows, keys, heads * width), Rate::Constant);
        let v = b.input("v", Shape::tokens(rows, keys, heads * value_width), Rate::Frame);
        let of_row = (0..rows).map(|row| of_row[row] % rows).collect();
        let y = b.attention([q, k, v], heads, causal, of_row);
        b.output("y", y);
        check(b);
    }

    #[test]
    fn images(n in 1_usize..3, (h, w) in sides(), c in channels(), (tall, wide) in sides(), align_corners: bool) {
        check_one(Shape::new(n, h, w, 4 * c), |b, x| {
            let y = b.max_pool(x);
            let y = b.resize(y, tall, wide, align_corners);
            let y = b.depth_to_space(y, 2);
            let y = b.reflect(y, 1);
            b.upsample(y)
        });
    }

    #[test]
    fn sums_products_and_parts(n in 1_usize..4, (h, w) in sides(), (c, other) in (channels(), channels()), start in 0_usize..8) {
        let mut b = ProgramBuilder::new("parts");
        let x = frame(&mut b, Shape::new(n, h, w, c));
        let y = b.input("y", Shape::new(n, h, w, other), Rate::Frame);
        let each = b.input("each", Shape::vector(n, c), Rate::Constant);
        let sum = b.add(x, each);
        let product = b.mul(sum, x);
        let both = b.concat(product, y);
        let part = b.slice(both, start.min(c), other);
        let part = b.affine(part, 0.5, 0.25);
        b.output("both", both);
        b.output("part", part);
        check(b);
    }
}

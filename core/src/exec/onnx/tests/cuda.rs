//! The operators of the CUDA provider: where they are used, and that they mean what the definitions say.

use super::*;
use crate::exec::onnx::dialect::{BIAS_SPLIT_GELU, GROUP_NORM, MULTI_HEAD_ATTENTION, SKIP_GROUP_NORM};
use crate::models::{UnetConfig, UnetShape, unet_program};

/// Returns the operators in the frame's graph in order, besides those of outputs and of conversions to other layouts.
fn operators(builder: ProgramBuilder) -> Vec<String> {
    let graphs = emit::emit(&builder.finish().unwrap(), ElementType::F16, Dialect::Cuda);
    let nodes = decode::nodes(&graphs.frame.bytes);
    nodes
        .into_iter()
        .map(|node| node.operator)
        .filter(|operator| !["Identity", "Reshape"].contains(&&**operator))
        .collect()
}

#[test]
fn a_group_norm_computes_the_silu_after_it_if_nothing_else_reads_it() {
    let shape = Shape::new(2, 3, 3, 8);
    let once = |b: &mut ProgramBuilder, x| {
        let y = b.group_norm("w", x, 4, 1e-5);
        b.silu(y)
    };
    let twice = |b: &mut ProgramBuilder, x| {
        let y = b.group_norm("w", x, 4, 1e-5);
        let z = b.silu(y);
        b.add(y, z)
    };
    let relu = |b: &mut ProgramBuilder, x| {
        let y = b.group_norm("w", x, 4, 1e-5);
        b.activate(y, Activation::Relu)
    };
    assert_eq!(operators(program(shape, once)), [GROUP_NORM]);
    assert_eq!(operators(program(shape, twice)), [GROUP_NORM, "Sigmoid", "Mul", "Add"]);
    assert_eq!(operators(program(shape, relu)), [GROUP_NORM, "Relu"]);
    check(program(shape, once));
    check(program(shape, twice));
    check(program(shape, relu));
}

#[test]
fn a_group_norm_adds_the_vector_of_each_row_before_it_if_nothing_else_reads_the_sum() {
    let shape = Shape::new(2, 3, 3, 8);
    for (vector, silu, again, expected) in [
        (Shape::vector(2, 8), true, false, &[SKIP_GROUP_NORM][..]),
        (Shape::vector(2, 8), false, false, &[SKIP_GROUP_NORM]),
        (Shape::vector(1, 8), true, false, &["Add", GROUP_NORM]),
        (shape, true, false, &["Add", GROUP_NORM]),
        (Shape::vector(2, 8), false, true, &["Add", GROUP_NORM, "Add"]),
    ] {
        let builder = || {
            program(shape, |b, x| {
                let vector = b.input("vector", vector, Rate::Constant);
                let sum = b.add(x, vector);
                let mut y = b.group_norm("w", sum, 2, 1e-3);
                if silu {
                    y = b.silu(y);
                }
                if again { b.add(y, sum) } else { y }
            })
        };
        assert_eq!(operators(builder()), expected, "{vector:?}, {silu}, {again}");
        check(builder());
    }
}

#[test]
fn geglu_adds_the_bias_of_the_linear_layer_before_it_at_the_widths_of_the_provider() {
    let shape = Shape::tokens(2, 3, 5);
    let gated = |width: usize, bias: bool| {
        move |b: &mut ProgramBuilder, x| {
            let y = b.linear("w", x, width, bias);
            b.geglu(y)
        }
    };
    let unfused = ["Split", "Gelu", "Mul"];
    for width in [2560, 5120, 10240] {
        assert_eq!(operators(program(shape, gated(width, true))), ["MatMul", BIAS_SPLIT_GELU]);
        check(program(shape, gated(width, true)));
    }
    assert_eq!(operators(program(shape, gated(2560, false))), [&["MatMul"], &unfused[..]].concat());
    assert_eq!(operators(program(shape, gated(1280, true))), [&["MatMul", "Add"], &unfused[..]].concat());
    check(program(shape, gated(1280, true)));
    let read_twice = program(shape, |b, x| {
        let y = b.linear("w", x, 2560, true);
        b.output("linear", y);
        b.geglu(y)
    });
    assert_eq!(operators(read_twice), [&["MatMul", "Add"], &unfused[..]].concat());
}

#[test]
fn group_norms_have_scale_and_shift_in_single_precision() {
    let builder = program(Shape::new(2, 3, 3, 8), |b, x| {
        let y = b.conv3x3("conv", x, 8);
        b.group_norm("norm", y, 4, 1e-5)
    });
    let program = builder.finish().unwrap();
    let elements = |dialect| {
        let graphs = emit::emit(&program, ElementType::F16, dialect);
        graphs.frame.weights.iter().map(|weight| weight.element).collect::<Vec<_>>()
    };
    assert_eq!(elements(Dialect::Standard), [ElementType::F16; 4]);
    assert_eq!(elements(Dialect::Cuda), [ElementType::F16, ElementType::F16, ElementType::F32, ElementType::F32]);
}

#[test]
fn models_import_the_operator_sets_of_their_nodes() {
    let program = program(Shape::new(2, 3, 3, 8), |b, x| b.group_norm("norm", x, 4, 1e-5)).finish().unwrap();
    let sets = |dialect| {
        let graphs = emit::emit(&program, ElementType::F32, dialect);
        decode::all(&graphs.frame.bytes, 8).into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let set = |domain, version| proto::operator_set(domain, version).into_bytes();
    assert_eq!(sets(Dialect::Standard), [set("", 23)]);
    assert_eq!(sets(Dialect::Cuda), [set("", 20), set("com.microsoft", 1)]);
}

#[test]
fn operators_of_the_cuda_provider_have_no_kernel_on_the_cpu_provider() {
    let Some(library) = library_for_cpu() else { return };
    let (image, tokens) = (Shape::new(2, 3, 3, 8), Shape::tokens(2, 3, 5));
    let norm = program(image, |b, x| b.group_norm("w", x, 4, 1e-5));
    let sum = program(image, |b, x| {
        let vector = b.input("vector", Shape::vector(2, 8), Rate::Constant);
        let sum = b.add(x, vector);
        b.group_norm("w", sum, 4, 1e-5)
    });
    let gated = program(tokens, |b, x| {
        let y = b.linear("w", x, 2560, true);
        b.geglu(y)
    });
    for (builder, operator) in [(norm, GROUP_NORM), (sum, SKIP_GROUP_NORM), (gated, BIAS_SPLIT_GELU)] {
        let program = Arc::new(builder.finish().unwrap());
        for dtype in [Dtype::F32, Dtype::F16] {
            let executor = executor(&library, dtype).unwrap();
            let graphs = emit::emit(&program, executor.device.element, Dialect::Cuda);
            let error = executor.network(&program, &Weights::new(Arc::new(GeneratedWeights)), graphs).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let cause = std::error::Error::source(&error).unwrap().to_string();
            let (_, name) = proto::domain_and_name(operator);
            // The library has two messages for it, by the type.
            let causes = [
                format!("Failed to find kernel for {operator}(1)"),
                format!("Could not find an implementation for {name}(1)"),
            ];
            assert!(causes.iter().any(|expected| cause.starts_with(expected)), "{cause}");
        }
    }
}

/// Peak signal-to-noise ratio of `found` in decibels; the peak is the range of `expected`.
fn decibels(expected: &[f32], found: &[f32]) -> f64 {
    let [low, high] = [f32::min, f32::max].map(|of| f64::from(expected.iter().copied().reduce(of).unwrap()));
    let squares = expected.iter().zip(found).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>();
    20.0 * (high - low).log10() - 10.0 * (squares / expected.len() as f64).log10()
}

#[test]
fn a_unet_in_half_precision_is_close_to_one_in_single_precision_in_every_dialect() {
    const LEAST_DECIBELS: f64 = 40.0;

    let Some(library) = library() else { return };
    // The width of the second block is one for which GEGLU has its own operator.
    let config = r#"{"block_out_channels": [32, 320], "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 16, "attention_head_dim": [1, 5], "use_linear_projection": true}"#;
    let config = UnetConfig::from_json(config).unwrap();
    let shape = UnetShape { text_rows: 2, text_of_row: vec![0, 1, 0], text_tokens: 7, ..UnetShape::new(3, 8, 8) };
    let program = Arc::new(unet_program(&config, &shape).unwrap());
    let graphs = emit::emit(&program, ElementType::F16, Dialect::Cuda);
    let nodes = decode::nodes(&graphs.frame.bytes);
    let operators = decode::operators(&nodes);
    for operator in [GROUP_NORM, SKIP_GROUP_NORM, BIAS_SPLIT_GELU, MULTI_HEAD_ATTENTION] {
        assert!(operators.contains_key(operator), "{operator}: {operators:?}");
    }
    let run = |dtype, dialect| {
        let executor = executor(&library, dtype).unwrap();
        run(&*network(&executor, &program, dialect)).remove(0)
    };
    let expected = run(Dtype::F32, Dialect::Standard);
    let found = run(Dtype::F32, Dialect::Cuda);
    let exact: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
    let difference = error(&exact, found.iter().map(|&x| f64::from(x)));
    assert!(difference < 1e-5, "f32: {difference:e}");
    for dialect in [Dialect::Standard, Dialect::Cuda] {
        let found = decibels(&expected, &run(Dtype::F16, dialect));
        assert!(found >= LEAST_DECIBELS, "{dialect:?}: {found} dB");
    }
}

use super::*;
use crate::exec::Scratch;
use crate::net::{Activation, Padding, ProgramBuilder, WeightSource};

/// Weights 0, 1, 2 and so on, in units of an eighth.
#[derive(Debug)]
struct Counting;

impl WeightSource for Counting {
    fn shape(&self, _name: &str) -> Option<Vec<usize>> {
        None
    }

    fn read(&self, _name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok((0..shape.iter().product()).map(|i| i as f32 / 8.0).collect())
    }
}

fn compile(builder: ProgramBuilder) -> Arc<dyn Network> {
    ReferenceExecutor.compile(&Arc::new(builder.finish().unwrap()), &Weights::new(Arc::new(Counting))).unwrap()
}

/// Evaluates a program for its constant and frame inputs.
fn run(builder: ProgramBuilder, constant: &[&[f32]], frame: &[&[f32]]) -> Result<Vec<f32>> {
    let network = compile(builder);
    let constants = network.constants(constant)?;
    let mut out = vec![f32::NAN; network.program().shape(network.program().outputs()[0].value).len()];
    network.run_on_host(&constants, &mut Scratch::new(), frame, &mut [&mut out])?;
    Ok(out)
}

/// Evaluates one operation for one image.
fn one_op(shape: Shape, elements: &[f32], op: impl FnOnce(&mut ProgramBuilder, ValueId) -> ValueId) -> Vec<f32> {
    let mut builder = ProgramBuilder::new("test");
    let x = builder.input("x", shape, Rate::Frame);
    let y = op(&mut builder, x);
    builder.output("y", y);
    run(builder, &[], &[elements]).unwrap()
}

#[test]
fn a_convolution_sees_zeros_where_its_padding_says() {
    let shape = Shape::new(1, 2, 2, 1);
    let ones = [1.0; 4];
    // Kernel 0..9 eighths; only its right column and lowest row fall on zeros.
    let padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };
    let y = one_op(shape, &ones, |b, x| b.conv2d("w", x, 1, 3, 2, padding, false, false));
    assert_eq!(y, [(0.0 + 1.0 + 3.0 + 4.0) / 8.0]);
    let y = one_op(shape, &ones, |b, x| b.conv2d("w", x, 1, 3, 4, Padding::all(0), true, true));
    assert_eq!(y, [36.0 / 8.0]);
}

#[test]
fn pixels_are_mixed_and_moved_as_the_names_say() {
    let shape = Shape::new(1, 2, 3, 1);
    let elements = [1.0, 5.0, 3.0, 4.0, 2.0, 6.0];
    assert_eq!(one_op(shape, &elements, |b, x| b.max_pool(x)), [5.0, 6.0]);
    assert_eq!(one_op(shape, &elements, |b, x| b.resize(x, 1, 5, true)), [1.0, 3.0, 5.0, 4.0, 3.0]);
    assert_eq!(one_op(shape, &elements, |b, x| b.resize(x, 1, 3, false)), [2.5, 3.5, 4.5]);
    assert_eq!(one_op(shape, &elements, |b, x| b.reflect(x, 1))[..5], [2.0, 4.0, 2.0, 6.0, 2.0]);
    let deep = Shape::new(1, 1, 2, 4);
    let elements = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    assert_eq!(one_op(deep, &elements, |b, x| b.depth_to_space(x, 2)), [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
    // Kernel of ones and zeros: 0 to 8 eighths, each channel its own; two pixels apart.
    let y = one_op(Shape::new(1, 3, 3, 1), &[1.0; 9], |b, x| b.dilated3x3("w", x, 1, 2));
    assert_eq!((y[0], y[4]), ((4.0 + 5.0 + 7.0 + 8.0) / 8.0, 4.0 / 8.0));
    let y = one_op(Shape::vector(1, 2), &[1.0, 1.0], |b, x| b.depthwise("w", x, 1, 1, Padding::all(0), true));
    assert_eq!(y, [0.0, 0.25]);
}

#[test]
fn a_factor_with_one_pixel_is_repeated() {
    let shape = Shape::new(1, 1, 2, 2);
    let elements = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(one_op(shape, &elements, |b, x| b.mul(x, x)), [1.0, 4.0, 9.0, 16.0]);
    let first = |b: &mut ProgramBuilder, x| {
        let factor = b.refold(x, 1, 1);
        b.mul(x, factor)
    };
    assert_eq!(one_op(shape, &elements, first), [1.0, 4.0, 3.0, 8.0]);
}

#[test]
fn channels_lie_innermost() {
    let shape = Shape::new(1, 1, 2, 2);
    let elements = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(one_op(shape, &elements, |b, x| b.slice(x, 1, 1)), [2.0, 4.0]);
    assert_eq!(one_op(shape, &elements, |b, x| b.concat(x, x)), [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
    assert_eq!(
        one_op(shape, &elements, |b, x| b.upsample(x)),
        [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]
    );
    // Weight [[0, 1/8], [2/8, 3/8]], bias [0, 1/8].
    assert_eq!(one_op(shape, &elements, |b, x| b.linear("w", x, 2, true)), [0.25, 1.125, 0.5, 2.375]);
}

#[test]
fn groups_are_normed_over_pixels_and_layers_over_channels() {
    let shape = Shape::new(1, 1, 2, 2);
    // The scale of channel 0 is 0, of channel 1 an eighth; so is the shift.
    let close = |got: Vec<f32>, expected: [f32; 4]| {
        assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6), "{got:?}");
    };
    close(one_op(shape, &[1.0, 2.0, 3.0, 4.0], |b, x| b.group_norm("w", x, 2, 0.0)), [0.0, 0.0, 0.0, 0.25]);
    close(one_op(shape, &[1.0, 3.0, 7.0, 5.0], |b, x| b.layer_norm("w", x, 0.0)), [0.0, 0.25, 0.0, 0.0]);
}

#[test]
fn activations_are_what_their_names_say() {
    let at = |activation| one_op(Shape::vector(1, 1), &[2.0], |b, x| b.activate(x, activation))[0];
    for (activation, expected) in [
        (Activation::Silu, 1.761_594_2),
        (Activation::Gelu, 1.954_499_7),
        (Activation::QuickGelu, 1.935_653_4),
        (Activation::Relu, 2.0),
        (Activation::ReluUpTo { limit: 1.5 }, 1.5),
        (Activation::LeakyRelu { slope: 0.2 }, 2.0),
        (Activation::SoftClamp { limit: 3.0 }, 1.748_352),
    ] {
        assert!((at(activation) - expected).abs() < 1e-5, "{activation:?}: {}", at(activation));
    }
    let y = one_op(Shape::vector(1, 2), &[3.0, 2.0], |b, x| b.geglu(x));
    assert!((y[0] - 3.0 * 1.954_499_7).abs() < 1e-5);
}

#[test]
fn rows_attend_to_given_rows_and_not_to_later_tokens() {
    let mut builder = ProgramBuilder::new("test");
    let text = builder.input("text", Shape::tokens(2, 1, 2), Rate::Constant);
    let x = builder.input("x", Shape::new(2, 1, 1, 2), Rate::Frame);
    let y = builder.attention([x, text, text], 2, false, vec![1, 0]);
    builder.output("y", y);
    // One token has all the weight, whatever the query.
    assert_eq!(run(builder, &[&[1.0, 2.0, 3.0, 4.0]], &[&[9.0; 4]]).unwrap(), [3.0, 4.0, 1.0, 2.0]);

    let causal = one_op(Shape::tokens(1, 2, 1), &[0.0, 5.0], |b, x| b.attention([x, x, x], 1, true, vec![0]));
    assert_eq!(causal[0], 0.0);
    assert!(causal[1] > 4.9);
}

#[test]
fn ids_outside_a_table_are_refused() {
    for id in [4.0, -1.0, 0.5, f32::NAN] {
        let mut builder = ProgramBuilder::new("test");
        let ids = builder.input("ids", Shape::tokens(1, 1, 1), Rate::Frame);
        let y = builder.embed("table", ids, 4, 2);
        builder.output("y", y);
        let error = run(builder, &[], &[&[id]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("expected less than 4"), "{error}");
    }
}

#[test]
fn what_does_not_fit_the_program_is_refused() {
    let program = || {
        let mut builder = ProgramBuilder::new("test");
        let c = builder.input("c", Shape::vector(1, 2), Rate::Constant);
        let x = builder.input("x", Shape::vector(1, 2), Rate::Frame);
        let y = builder.add(x, c);
        builder.output("y", y);
        compile(builder)
    };
    let (one, other) = (program(), program());
    let kind = |result: Result<()>| result.unwrap_err().kind();
    assert_eq!(one.constants(&[&[0.0; 3]]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(one.constants(&[]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let (own, foreign) = (one.constants(&[&[1.0, 2.0]]).unwrap(), other.constants(&[&[1.0, 2.0]]).unwrap());
    let (mut scratch, mut y) = (Scratch::new(), [0.0; 2]);
    assert_eq!(kind(one.run_on_host(&foreign, &mut scratch, &[&[0.0; 2]], &mut [&mut y])), ErrorKind::InvalidArgument);
    assert_eq!(kind(one.run_on_host(&own, &mut scratch, &[&[0.0; 2]], &mut [])), ErrorKind::InvalidArgument);
    assert_eq!(kind(one.run_on_host(&own, &mut scratch, &[&[0.0; 1]], &mut [&mut y])), ErrorKind::InvalidArgument);
    one.run_on_host(&own, &mut scratch, &[&[1.0; 2]], &mut [&mut y]).unwrap();
    assert_eq!(y, [2.0, 3.0]);
}

//! Several copies of a program in one batch.

use super::{OpKind, Program, Shape};
use crate::error::{Error, ErrorKind, Result};

impl Program {
    /// Returns the program that computes `copies` copies of this one in one batch: each input and output has the rows
    /// of the first copy, then those of the second, and so on. No row depends on those of another copy.
    ///
    /// Executors choose algorithms by the rows of one copy, so that each copy has the same results as the program
    /// itself where they choose algorithms by the shapes of values.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for 0 copies, or for copies of copies; `Unsupported` if an operation adds or multiplies one
    /// row to several, or if the program uses tokens of earlier frames; `BadModel` if a value is larger than the
    /// address space.
    pub fn times(&self, copies: usize) -> Result<Self> {
        if copies == 0 || self.copies != 1 {
            let text = format!("copies: got {copies} of {}, expected at least 1 of 1", self.copies);
            return Err(Error::new(ErrorKind::InvalidArgument, text).within(self.name()));
        }
        self.check_copies(copies)?;
        let mut program = self.clone();
        program.copies = copies;
        program.shapes.iter_mut().for_each(|shape| shape.n *= copies);
        for op in &mut program.ops {
            if let OpKind::Attention { kv_row, .. } = &mut op.kind {
                let rows = self.shape(op.inputs[1]).n;
                *kv_row = (0..copies).flat_map(|copy| kv_row.iter().map(move |row| row + copy * rows)).collect();
            }
        }
        Ok(program)
    }

    /// Returns the number of [copies](Self::times) of another program that it consists of; 1 for any other program.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// Returns the shape of one copy's part of a value with this shape, by which executors choose algorithms.
    pub(crate) fn shape_of_copy(&self, shape: Shape) -> Shape {
        Shape { n: shape.n / self.copies, ..shape }
    }

    /// Checks that rows of several copies can be put in one batch.
    fn check_copies(&self, copies: usize) -> Result<()> {
        let refused = |kind, text: String| Err(Error::new(kind, text).within(self.name()));
        let too_large =
            |shape: &&Shape| shape.n.checked_mul(copies).and_then(|n| Shape { n, ..**shape }.checked_len()).is_none();
        if let Some(shape) = self.shapes.iter().find(too_large) {
            let text = format!("value: got {copies} of the shape {shape:?}, expected fewer elements");
            return refused(ErrorKind::BadModel, text);
        }
        if self.cached_attention_layers() > 0 || self.injects() {
            let text = format!("{copies} copies: got tokens of earlier frames, expected none");
            return refused(ErrorKind::Unsupported, text);
        }
        let sums = self.ops.iter().filter(|op| matches!(op.kind, OpKind::Add | OpKind::Mul));
        for [a, b] in sums.filter_map(|op| <[_; 2]>::try_from(&*op.inputs).ok()) {
            let [a, b] = [a, b].map(|value| self.shape(value).n);
            if a != b {
                let text = format!("{copies} copies: got a sum or product of {a} rows with {b}, expected as many");
                return refused(ErrorKind::Unsupported, text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::{Padding, ProgramBuilder, Rate, Weights, random_program};
    use super::*;
    use crate::exec::cpu::{CpuExecutor, CpuOptions};
    use crate::exec::{Dtype, Executor as _, Scratch};
    use crate::load::RandomWeights;

    /// Runs `program` on the CPU in `f32` with these constant and frame inputs; returns its outputs.
    fn run(program: &Program, weights: &Weights, inputs: [&[Vec<f32>]; 2]) -> Vec<Vec<f32>> {
        let executor = CpuExecutor::new(CpuOptions { dtype: Dtype::F32, ..CpuOptions::default() }).unwrap();
        let network = executor.compile(&Arc::new(program.clone()), weights).unwrap();
        let [constant, frame] = inputs.map(|inputs| inputs.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let lens = program.outputs().iter().map(|output| program.shape(output.value).len());
        let mut outputs: Vec<Vec<f32>> = lens.map(|len| vec![f32::NAN; len]).collect();
        let mut views: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let constants = network.constants(&constant).unwrap();
        network.run_on_host(&constants, &mut Scratch::new(), &frame, &mut views).unwrap();
        outputs
    }

    /// Inputs of `program` at `rate`, different for each `copy`.
    fn inputs(program: &Program, rate: Rate, copy: usize) -> Vec<Vec<f32>> {
        let element = |i: usize| ((i * 7 + copy * 3) as f32 * 0.37).sin();
        program.inputs_at(rate).map(|input| (0..program.shape(input.value).len()).map(element).collect()).collect()
    }

    /// Compares each copy of a batch with the program itself, bit by bit.
    fn check_equal_to_each_copy(program: &Program, copies: usize) {
        let weights = Weights::new(Arc::new(RandomWeights::new(1, program.weights())));
        let rates = [Rate::Constant, Rate::Frame];
        let of_copy = |copy: usize| rates.map(|rate| inputs(program, rate, copy));
        let all = rates.map(|rate| {
            let mut all = inputs(program, rate, 0);
            for copy in 1..copies {
                all.iter_mut().zip(inputs(program, rate, copy)).for_each(|(all, more)| all.extend(more));
            }
            all
        });
        let batch = run(&program.times(copies).unwrap(), &weights, [&all[0], &all[1]]);
        for copy in 0..copies {
            let [constant, frame] = of_copy(copy);
            for (output, alone) in batch.iter().zip(run(program, &weights, [&constant, &frame])) {
                let part = &output[copy * alone.len()..][..alone.len()];
                assert!(part.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "copy {copy} of {copies}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn each_copy_has_the_results_of_the_program_itself(
            choices in proptest::collection::vec(0_usize..1 << 16, 200), len in 1_usize..24, copies in 1_usize..5
        ) {
            let mut choices = choices.into_iter().cycle();
            let mut pick = |n: usize| choices.next().unwrap_or(0) % n.max(1);
            let program = random_program(len, &mut pick).finish().unwrap();
            if program.check_copies(copies).is_ok() {
                check_equal_to_each_copy(&program, copies);
            }
        }
    }

    /// Image sizes at which the rows of several copies would be enough for Winograd's algorithm, or for larger tiles of
    /// it, and those of one are not.
    #[test]
    fn the_algorithm_of_a_convolution_is_that_of_one_copy() {
        for side in [4, 8, 12, 16, 24] {
            let mut b = ProgramBuilder::new("test");
            let x = b.input("x", Shape::new(1, side, side, 64), Rate::Frame);
            let y = b.conv3x3("narrow", x, 64);
            let y = b.conv2d("up", y, 256, 3, 1, Padding::all(1), true, true);
            b.output("y", y);
            check_equal_to_each_copy(&b.finish().unwrap(), 4);
        }
    }

    #[test]
    fn programs_whose_rows_depend_on_others_have_no_copies() {
        let mut b = ProgramBuilder::new("test");
        let (x, y) =
            (b.input("x", Shape::vector(2, 4), Rate::Frame), b.input("y", Shape::vector(1, 4), Rate::Constant));
        let sum = b.add(x, y);
        b.output("sum", sum);
        let program = b.finish().unwrap();
        let refused = program.times(2).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert_eq!(refused.to_string(), "test: 2 copies: got a sum or product of 2 rows with 1, expected as many");
        assert_eq!(program.times(0).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(program.times(usize::MAX).unwrap_err().kind(), ErrorKind::BadModel);
    }
}

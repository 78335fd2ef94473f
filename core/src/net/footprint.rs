//! The memory that a program needs on a device, estimated from its operations.

use super::{Op, OpKind, Program};

/// The memory that a program needs, in elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Elements of the weights.
    pub weights: usize,
    /// The largest number of elements of values that are in use at once, with the whole matrix of scores for attention. A
    /// provider that computes attention in blocks needs fewer; work areas of convolutions and the driver need more.
    pub values: usize,
}

impl Footprint {
    /// Returns the sum of both: that of two programs whose memory is separate.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { weights: self.weights + other.weights, values: self.values + other.values }
    }

    /// Returns the bytes of all elements, of `each` bytes.
    pub fn bytes(self, each: usize) -> u64 {
        (self.weights as u64 + self.values as u64) * each as u64
    }
}

impl Program {
    /// Returns the memory that the program needs.
    pub fn footprint(&self) -> Footprint {
        let weights = self.weights().iter().map(|weight| weight.shape.iter().product::<usize>()).sum();
        Footprint { weights, values: self.values_at_once() }
    }

    /// Returns the number of multiplications in convolutions, linear layers and attention, which take most of the time.
    pub fn multiplications(&self) -> u64 {
        let of_op = |op: &Op| {
            let output = self.shape(op.output);
            if let OpKind::Conv2d { weight, .. } | OpKind::Depthwise { weight, .. } | OpKind::Linear { weight, .. } =
                &op.kind
            {
                let each: usize = self.weights()[weight.index()].shape.iter().product();
                return (output.len() / output.c.max(1) * each) as u64;
            }
            // Scores, and their products with the values.
            let OpKind::Attention { heads, .. } = op.kind else { return 0 };
            2 * (self.scores(op) / heads * output.c) as u64
        };
        self.ops().iter().map(of_op).sum()
    }

    /// Returns the number of elements of the inputs and of the outputs of convolutions: most of what a run keeps that
    /// keeps all values, since other operations are done together with convolutions.
    pub fn kept_values(&self) -> usize {
        let inputs = self.inputs().iter().map(|input| self.shape(input.value).len());
        let is_convolution = |op: &&Op| matches!(op.kind, OpKind::Conv2d { .. });
        inputs.chain(self.ops().iter().filter(is_convolution).map(|op| self.shape(op.output).len())).sum()
    }

    /// A value is in use from the operation that writes it to the last one that reads it.
    fn values_at_once(&self) -> usize {
        let mut last_read = vec![0; self.shapes().len()];
        for (step, op) in self.ops().iter().enumerate() {
            op.inputs.iter().for_each(|input| last_read[input.index()] = step);
        }
        let kept = self.outputs().iter().map(|output| output.value);
        kept.for_each(|value| last_read[value.index()] = usize::MAX);
        let len = |value: usize| self.shapes()[value].len();
        let mut live: usize = self.inputs().iter().map(|input| len(input.value.index())).sum();
        let mut most = live;
        for (step, op) in self.ops().iter().enumerate() {
            live += len(op.output.index());
            most = most.max(live + self.scores(op));
            let mut read: Vec<usize> = op.inputs.iter().map(|input| input.index()).collect();
            read.sort_unstable();
            read.dedup();
            live -= read.into_iter().filter(|&value| last_read[value] == step).map(len).sum::<usize>();
        }
        most
    }

    /// Returns the number of scores of an attention operation.
    fn scores(&self, op: &Op) -> usize {
        let OpKind::Attention { heads, .. } = op.kind else { return 0 };
        let [queries, keys] = [0, 1].map(|input| self.shape(op.inputs[input]));
        queries.len() / queries.c * keys.len() / keys.c / keys.n * heads
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProgramBuilder, Rate, Shape};

    #[test]
    fn a_value_counts_until_it_is_read_for_the_last_time() {
        let mut builder = ProgramBuilder::new("chain");
        let x = builder.input("x", Shape::tokens(1, 10, 8), Rate::Frame);
        let a = builder.linear("a", x, 16, false);
        let b = builder.linear("b", a, 4, false);
        builder.output("b", b);
        let footprint = builder.finish().unwrap().footprint();
        assert_eq!(footprint.weights, 8 * 16 + 16 * 4);
        // `x` and `a` together; later `a` and `b` are fewer.
        assert_eq!(footprint.values, 10 * 8 + 10 * 16);
    }

    #[test]
    fn multiplications_are_those_of_products() {
        let mut builder = ProgramBuilder::new("products");
        let x = builder.input("x", Shape::new(2, 6, 4, 8), Rate::Frame);
        let y = builder.conv3x3("conv", x, 16);
        let z = builder.conv1x1("mix", y, 4);
        builder.output("z", z);
        let pixels = 2 * 6 * 4;
        assert_eq!(builder.finish().unwrap().multiplications(), pixels * (8 * 16 * 9 + 16 * 4));
        let mut builder = ProgramBuilder::new("attention");
        let [q, k, v] = ["q", "k", "v"].map(|name| builder.input(name, Shape::tokens(2, 12, 8), Rate::Frame));
        let y = builder.attention([q, k, v], 4, false, vec![0, 1]);
        builder.output("y", y);
        assert_eq!(builder.finish().unwrap().multiplications(), 2 * 2 * 12 * 12 * 8);
    }

    #[test]
    fn scores_of_attention_count() {
        let mut builder = ProgramBuilder::new("attention");
        let [q, k, v] = ["q", "k", "v"].map(|name| builder.input(name, Shape::tokens(2, 12, 8), Rate::Frame));
        let y = builder.attention([q, k, v], 4, false, vec![0, 1]);
        builder.output("y", y);
        let footprint = builder.finish().unwrap().footprint();
        assert_eq!(footprint.values, 4 * 2 * 12 * 8 + 2 * 4 * 12 * 12);
    }
}

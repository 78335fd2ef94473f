//! Low-rank branches: `W x + B (s * (A x))` instead of merged weights, where the scales `s` are inputs of the program.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::program::{Input, ValueId, WeightId, WeightSpec};
use super::{LowRank, Op, OpKind, Padding, Program, Rate, Shape, WeightSource, Weights, same_layout};
use crate::error::{Error, ErrorKind, Result};

/// What follows the name of a layer's weight in the names of the factors of its branch.
const DOWN: &str = ".lora_A";
const UP: &str = ".lora_B";

/// A LoRA that changes a layer, by its index, and the change.
type Change = (usize, Arc<LowRank>);

/// The low-rank branches of a network's layers, of one or more LoRAs, each with its own scale.
///
/// A layer that several LoRAs change has one branch, whose rank is the sum of theirs: the factors are stacked, and the
/// vector that scales the channels between them has the scale of each LoRA as often as its rank is high.
#[derive(Clone, Default)]
pub struct Branches {
    /// The changes of each layer, by the name of its weight.
    layers: BTreeMap<String, Vec<Change>>,
    /// The highest rank of each LoRA.
    ranks: Vec<usize>,
}

impl Branches {
    /// Creates the branches of `loras`: of each, the names of the weights that it changes, and the changes.
    pub fn new<L>(loras: impl IntoIterator<Item = L>) -> Self
    where
        L: IntoIterator<Item = (String, Arc<LowRank>)>,
    {
        let mut layers: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let mut ranks = Vec::new();
        for (index, changes) in loras.into_iter().enumerate() {
            let mut highest = 1;
            for (name, change) in changes {
                highest = highest.max(change.rank());
                layers.entry(name).or_default().push((index, change));
            }
            ranks.push(highest);
        }
        Self { layers, ranks }
    }

    /// Returns `program` with the branches, and after its own inputs one constant input `lora_scale.N` for each LoRA,
    /// `[1, 1, 1, rank]` with its highest rank. Layers that `program` does not have are left out.
    ///
    /// # Errors
    ///
    /// `BadModel` if a layer has another shape than its change; `Unsupported` if the program uses a changed weight in
    /// an operation that is no linear layer and no convolution.
    pub fn add_to(&self, program: Program) -> Result<Program> {
        let mut writer = Writer::new(self, program);
        let ops = std::mem::take(&mut writer.program.ops);
        for op in ops {
            writer.op(op)?;
        }
        Ok(writer.program)
    }

    /// Returns the constant inputs that [`add_to`](Self::add_to) adds, for `scales` of the LoRAs in order.
    pub fn inputs(&self, scales: &[f32]) -> Vec<Vec<f32>> {
        self.ranks.iter().zip(scales).map(|(&rank, &scale)| vec![scale; rank]).collect()
    }

    /// Returns the weights of `base` and of the branches; `base` itself without branches. The weights of `base` share
    /// its packed forms, and its layers in int8 stay in int8. Forms of the branches are not stored.
    pub fn weights(&self, base: &Arc<Weights>) -> Arc<Weights> {
        if self.layers.is_empty() {
            return base.clone();
        }
        let names = self.layers.keys().flat_map(|name| Factor::ALL.map(|factor| factor.name(name))).collect();
        base.extended(names, |source| Arc::new(BranchWeights { base: source, branches: self.clone() }))
    }

    /// Returns the number of layers with a branch.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Returns whether the layer with the weight `name` has a branch.
    pub fn contains(&self, name: &str) -> bool {
        self.layers.contains_key(name)
    }

    /// Returns whether no layer has a branch.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl fmt::Debug for Branches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branches").field("layers", &self.layers.len()).field("ranks", &self.ranks).finish()
    }
}

/// Writes the operations of a program again, with branches.
struct Writer<'a> {
    branches: &'a Branches,
    program: Program,
    /// The input with the scale of each LoRA.
    scales: Vec<ValueId>,
    /// The vectors that scale branches, by the LoRAs of the branch and their ranks.
    vectors: HashMap<Vec<(usize, usize)>, ValueId>,
    /// The weights of each branch, which operations with one weight share.
    weights: HashMap<WeightId, [WeightId; 2]>,
}

impl<'a> Writer<'a> {
    fn new(branches: &'a Branches, program: Program) -> Self {
        let mut writer =
            Self { branches, program, scales: Vec::new(), vectors: HashMap::new(), weights: HashMap::new() };
        for (index, &rank) in branches.ranks.iter().enumerate() {
            let value = writer.value(Shape::vector(1, rank), true);
            writer.program.inputs.push(Input { name: format!("lora_scale.{index}"), value, rate: Rate::Constant });
            writer.scales.push(value);
        }
        writer
    }

    /// Writes `op`, with a branch if its weight has one.
    fn op(&mut self, op: Op) -> Result<()> {
        let branches = self.branches;
        let changed = |weight: WeightId| branches.layers.get(&self.program.weight(weight).name);
        let layer = match op.kind {
            OpKind::Conv2d { weight, .. } | OpKind::Linear { weight, .. } => changed(weight).map(|list| (weight, list)),
            OpKind::Depthwise { weight, .. } | OpKind::Embed { weight } | OpKind::AddWeight { weight } => {
                if changed(weight).is_some() {
                    let name = &self.program.weight(weight).name;
                    let text = format!("layer of {name}: got {:?}, expected a linear layer or a convolution", op.kind);
                    return Err(Error::new(ErrorKind::Unsupported, text));
                }
                None
            }
            // Biases and norms are vectors, which no product of matrices changes.
            OpKind::Image(_)
            | OpKind::GroupNorm { .. }
            | OpKind::LayerNorm { .. }
            | OpKind::Attention { .. }
            | OpKind::Inject { .. }
            | OpKind::Activate(_)
            | OpKind::Geglu
            | OpKind::Add
            | OpKind::Mul
            | OpKind::Affine { .. }
            | OpKind::Concat
            | OpKind::Upsample
            | OpKind::Slice { .. }
            | OpKind::TakeToken => None,
        };
        match layer {
            Some((weight, changes)) => self.branched(op, weight, changes),
            None => {
                self.program.ops.push(op);
                Ok(())
            }
        }
    }

    /// Writes `op` and its branch, whose sum is the value that `op` wrote.
    fn branched(&mut self, op: Op, weight: WeightId, changes: &[Change]) -> Result<()> {
        let spec = self.program.weight(weight);
        if let Some((_, change)) = changes.iter().find(|(_, change)| !same_layout(change.shape(), &spec.shape)) {
            let text =
                format!("{}: got the shape {:?}, expected {:?} as in the LoRA", spec.name, spec.shape, change.shape());
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let ranks: Vec<(usize, usize)> = changes.iter().map(|(lora, change)| (*lora, change.rank())).collect();
        let rank = ranks.iter().map(|(_, rank)| rank).sum();
        let [down, up] = self.factors(weight, rank);
        let (kind_down, kind_up) = if let OpKind::Conv2d { kernel, stride, dilation, padding, upsample, .. } = op.kind {
            let bias = None;
            (
                OpKind::Conv2d { weight: down, bias, kernel, stride, dilation, padding, upsample },
                OpKind::Conv2d {
                    weight: up,
                    bias,
                    kernel: 1,
                    stride: 1,
                    dilation: 1,
                    padding: Padding::all(0),
                    upsample: false,
                },
            )
        } else {
            (OpKind::Linear { weight: down, bias: None }, OpKind::Linear { weight: up, bias: None })
        };
        let (out, constant) = (self.program.shape(op.output), self.program.is_constant(op.output));
        let scale = self.vector(ranks);
        let narrow = self.push(kind_down, op.inputs.clone(), out.with_c(rank), constant);
        let scaled = self.push(OpKind::Mul, vec![narrow, scale], out.with_c(rank), constant);
        let change = self.push(kind_up, vec![scaled], out, constant);
        // The layer itself comes last: executors add the branch, whose rounding error is smaller, as they store its
        // result.
        let Op { kind, inputs, output } = op;
        let plain = self.push(kind, inputs, out, constant);
        self.program.ops.push(Op { kind: OpKind::Add, inputs: vec![plain, change], output });
        Ok(())
    }

    /// Returns the vector that scales the channels of a branch between its factors: for each LoRA as many as its rank.
    fn vector(&mut self, ranks: Vec<(usize, usize)>) -> ValueId {
        if let Some(&known) = self.vectors.get(&ranks) {
            return known;
        }
        let mut whole: Option<ValueId> = None;
        for &(lora, len) in &ranks {
            let mut part = self.scales[lora];
            if len < self.program.shape(part).c {
                part = self.push(OpKind::Slice { start: 0, len }, vec![part], Shape::vector(1, len), true);
            }
            whole = Some(match whole {
                Some(before) => {
                    let channels = self.program.shape(before).c + len;
                    self.push(OpKind::Concat, vec![before, part], Shape::vector(1, channels), true)
                }
                None => part,
            });
        }
        // A branch has at least one LoRA.
        let vector = whole.unwrap_or(self.scales[0]);
        self.vectors.insert(ranks, vector);
        vector
    }

    /// Returns the two weights of the branch of `weight`.
    fn factors(&mut self, weight: WeightId, rank: usize) -> [WeightId; 2] {
        if let Some(&known) = self.weights.get(&weight) {
            return known;
        }
        let WeightSpec { name, shape } = self.program.weight(weight).clone();
        let factors = Factor::ALL.map(|factor| {
            let spec = WeightSpec { name: factor.name(&name), shape: factor.shape(&shape, rank) };
            self.program.weights.push(spec);
            WeightId(self.program.weights.len() - 1)
        });
        self.weights.insert(weight, factors);
        factors
    }

    fn value(&mut self, shape: Shape, constant: bool) -> ValueId {
        self.program.shapes.push(shape);
        self.program.constant.push(constant);
        ValueId(self.program.shapes.len() - 1)
    }

    fn push(&mut self, kind: OpKind, inputs: Vec<ValueId>, shape: Shape, constant: bool) -> ValueId {
        let output = self.value(shape, constant);
        self.program.ops.push(Op { kind, inputs, output });
        output
    }
}

/// A factor of a branch.
#[derive(Debug, Clone, Copy)]
enum Factor {
    /// `[rank, in, …]`, which is applied first.
    Down,
    /// `[out, rank, …]`, with the strengths.
    Up,
}

impl Factor {
    const ALL: [Self; 2] = [Self::Down, Self::Up];

    /// Returns its name in the branch of the weight `of`.
    fn name(self, of: &str) -> String {
        let end = match self {
            Self::Down => DOWN,
            Self::Up => UP,
        };
        format!("{of}{end}")
    }

    /// Returns the factor, and the weight of whose branch it is, if `name` has the form of a factor's.
    fn parse(name: &str) -> Option<(Self, &str)> {
        let [down, up] =
            [(Self::Down, DOWN), (Self::Up, UP)].map(|(factor, end)| Some((factor, name.strip_suffix(end)?)));
        down.or(up)
    }

    /// Returns its shape in the branch of rank `rank` of a weight of shape `of`.
    fn shape(self, of: &[usize], rank: usize) -> Vec<usize> {
        match self {
            Self::Down => std::iter::once(rank).chain(of[1..].iter().copied()).collect(),
            // The kernel is that of the first factor; this one has a single tap.
            Self::Up => [of[0], rank].into_iter().chain(std::iter::repeat_n(1, of.len().saturating_sub(2))).collect(),
        }
    }

    /// Returns its elements in the branch of `changes`.
    fn elements(self, changes: &[Change]) -> Vec<f32> {
        match self {
            Self::Down => changes.iter().flat_map(|(_, change)| change.down()).copied().collect(),
            Self::Up => {
                let rows = changes.first().map_or(0, |(_, change)| change.shape()[0]);
                (0..rows).flat_map(|row| changes.iter().flat_map(move |(_, change)| change.up_row(row))).collect()
            }
        }
    }
}

/// Weights with those of branches in addition.
struct BranchWeights {
    base: Arc<dyn WeightSource>,
    branches: Branches,
}

impl BranchWeights {
    /// Returns the factor `name`, and the changes of its branch; `None` for a weight of the base.
    fn factor(&self, name: &str) -> Option<(Factor, &[Change])> {
        let (factor, layer) = Factor::parse(name)?;
        Some((factor, self.branches.layers.get(layer)?))
    }
}

impl WeightSource for BranchWeights {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let Some((factor, changes)) = self.factor(name) else { return self.base.shape(name) };
        let rank = changes.iter().map(|(_, change)| change.rank()).sum();
        changes.first().map(|(_, change)| factor.shape(change.shape(), rank))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some((factor, changes)) = self.factor(name) else { return self.base.read(name, shape) };
        let own = self.shape(name).unwrap_or_default();
        if !same_layout(&own, shape) {
            return Err(Error::new(ErrorKind::BadModel, format!("{name}: got the shape {own:?}, expected {shape:?}")));
        }
        let elements = factor.elements(changes);
        match elements.iter().find(|x| !x.is_finite()) {
            None => Ok(elements),
            Some(x) => Err(Error::new(ErrorKind::BadModel, format!("{name}: got {x}, expected finite values"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ProgramBuilder;

    /// A change of a weight of `shape` whose elements count up.
    fn change(shape: &[usize], rank: usize) -> Arc<LowRank> {
        let columns: usize = shape[1..].iter().product();
        let numbers = |len: usize| (0..len).map(|i| i as f32).collect();
        Arc::new(LowRank::new(shape.to_vec(), rank, numbers(shape[0] * rank), numbers(rank * columns), 0.5).unwrap())
    }

    fn lora(name: &str, shape: &[usize], rank: usize) -> Vec<(String, Arc<LowRank>)> {
        vec![(name.to_owned(), change(shape, rank))]
    }

    struct NoWeights;

    impl WeightSource for NoWeights {
        fn shape(&self, _name: &str) -> Option<Vec<usize>> {
            None
        }

        fn read(&self, name: &str, _shape: &[usize]) -> Result<Vec<f32>> {
            Err(Error::new(ErrorKind::BadModel, format!("{name}: missing, expected a weight")))
        }
    }

    fn two_uses() -> Program {
        let mut b = ProgramBuilder::new("net");
        let x = b.input("x", Shape::new(2, 4, 4, 3), Rate::Frame);
        let y = b.conv3x3("conv", x, 3);
        let z = b.conv3x3("conv", y, 3);
        b.output("z", z);
        b.finish().unwrap()
    }

    #[test]
    fn factors_of_two_loras_are_stacked_with_their_strengths() {
        let (one, two) = (lora("a.weight", &[2, 3], 1), lora("a.weight", &[2, 3, 1, 1], 2));
        let weights = Branches::new([one, two]).weights(&Arc::new(Weights::new(Arc::new(NoWeights))));
        let source = weights.source();
        assert_eq!(source.shape("a.weight.lora_A"), Some(vec![3, 3]));
        let down = source.read("a.weight.lora_A", &[3, 3]).unwrap();
        assert_eq!(down, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let up = source.read("a.weight.lora_B", &[2, 3]).unwrap();
        assert_eq!(up, [0.0, 0.0, 0.5, 0.5, 1.0, 1.5]);
        assert!(source.read("a.weight.lora_A", &[3, 4]).unwrap_err().to_string().contains("expected [3, 4]"));
        assert!(source.read("b.weight.lora_A", &[3, 3]).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn a_program_gets_one_scale_for_each_lora_and_two_weights_for_each_layer() {
        let branches = Branches::new([lora("conv.weight", &[3, 3, 3, 3], 2), lora("other.weight", &[3, 3], 4)]);
        let program = branches.add_to(two_uses()).unwrap();
        let inputs: Vec<_> = program.inputs_at(Rate::Constant).map(|input| &*input.name).collect();
        assert_eq!(inputs, ["lora_scale.0", "lora_scale.1"]);
        let lens: Vec<usize> =
            program.inputs_at(Rate::Constant).map(|input| program.shape(input.value).len()).collect();
        assert_eq!((lens, branches.inputs(&[0.5, 2.0])), (vec![2, 4], vec![vec![0.5; 2], vec![2.0; 4]]));
        let names: Vec<_> = program.weights().iter().map(|spec| (&*spec.name, &*spec.shape)).collect();
        assert_eq!(
            names,
            [
                ("conv.weight", &[3, 3, 3, 3][..]),
                ("conv.bias", &[3]),
                ("conv.weight.lora_A", &[2, 3, 3, 3]),
                ("conv.weight.lora_B", &[3, 2, 1, 1])
            ]
        );
        assert_eq!(program.ops().len(), 2 * 5);
        let unchanged = Branches::default().add_to(two_uses()).unwrap();
        assert_eq!((unchanged.ops(), unchanged.inputs().len()), (two_uses().ops(), 1));
    }

    #[test]
    fn layers_of_another_shape_or_kind_are_refused() {
        let refused = |name: &str, shape: &[usize]| {
            let mut b = ProgramBuilder::new("net");
            let x = b.input("x", Shape::new(1, 4, 4, 3), Rate::Frame);
            let y = b.depthwise("deep", x, 3, 1, Padding::all(1), true);
            let z = b.linear("wide", y, 5, true);
            b.output("z", z);
            let error = Branches::new([lora(name, shape, 1)]).add_to(b.finish().unwrap()).unwrap_err();
            (error.kind(), error.to_string())
        };
        let (kind, text) = refused("deep.weight", &[3, 1, 3, 3]);
        assert_eq!(kind, ErrorKind::Unsupported);
        assert!(text.starts_with("layer of deep.weight: got Depthwise"), "{text}");
        let text = "wide.weight: got the shape [5, 3], expected [5, 4] as in the LoRA";
        assert_eq!(refused("wide.weight", &[5, 4]), (ErrorKind::BadModel, text.to_owned()));
    }
}

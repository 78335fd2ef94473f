//! The cost of a program, counted from its shapes alone.

/// The kinds of step whose rates differ, so that each is measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CostKind {
    /// A convolution as a direct sum, of kernels of side 2 or more.
    Direct,
    /// A convolution by Winograd's algorithm.
    Winograd {
        /// Output pixels per side of a tile.
        side: usize,
        /// Whether all threads work on one block.
        shared: bool,
    },
    /// A linear layer, or a convolution of side 1.
    Linear,
    /// A linear layer with GEGLU.
    Gated,
    /// Attention to many keys.
    Attention,
    /// Attention to the few keys of a text.
    TextAttention,
    /// A group norm.
    GroupNorm,
    /// A layer norm.
    LayerNorm,
    /// Any other step, which reads and writes elements.
    Elements,
}

impl CostKind {
    /// Whether its cost is that of multiplications; otherwise it is that of elements.
    pub fn multiplies(self) -> bool {
        !matches!(self, Self::GroupNorm | Self::LayerNorm | Self::Elements)
    }
}

/// The cost of a step of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCost {
    /// Its kind.
    pub kind: CostKind,
    /// Multiplications and additions of its products, counted as for the direct algorithm; 0 for other steps.
    pub operations: f64,
    /// What its time is proportional to, for the same kind and `scale`: for products the operations that the device
    /// computes (by Winograd's algorithm those of the direct one), otherwise bytes of values; 0 for a step that has nothing
    /// to do.
    pub work: f64,
    /// What the time for a unit of work depends on. For products this is the part of fixed costs, such as transforms and
    /// partly filled vectors, which falls with the channels: the sum of the inverse lengths of a sum and of an output.
    /// For other steps it is the logarithm of the bytes of values, which says in which memory they are.
    pub scale: f64,
    /// Bytes of weights that it reads.
    pub bytes: f64,
}

/// The cost of a program.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProgramCost {
    /// The steps of a frame, in order.
    pub steps: Vec<StepCost>,
    /// Bytes of the packed weights.
    pub weight_bytes: u64,
    /// Bytes of values that are in use at once: scratch memory of a frame, and what is computed once.
    pub value_bytes: u64,
}

impl ProgramCost {
    /// Returns the multiplications and additions of a frame, counted as for the direct algorithm.
    pub fn operations(&self) -> f64 {
        self.steps.iter().map(|step| step.operations).sum()
    }
}

//! Compiled steps of a plan, with their weights.

use std::sync::Arc;

use dreamframe_kernels::{Kernels, PostAt};

use super::attention::Attention;
use super::elementwise;
use super::image;
use super::inject::Inject;
use super::keys::{KeyLayout, KvCacheLayout};
use super::merge::Merge;
use super::norm::{self, Norm};
use super::pack::Source;
use super::pointwise;
use super::pool::Pool;
use super::product::Product;
use super::run::Run;
use super::small_weights;
use super::span::{Aligned, Span};
use super::winograd::{self, Winograd};
use super::winograd_policy::WinogradPolicy;
use crate::error::{Error, ErrorKind, Result};
use crate::net::bytes::ByteScale;
use crate::net::plan::{Place, Planned, Space};
use crate::net::steps::{
    Depthwise, MAX_POSTS, PlanValue, Post, Product as Geometry, Repeat, Slot, Step, StepKind, StorageLayout,
};
use crate::net::{ImageOp, Program, Shape, WeightId, Weights};

/// A compiled step, independent of addresses.
#[derive(Debug)]
pub(super) struct CompiledStep {
    pub(super) planned: Planned,
    operation: Operation,
}

#[derive(Debug)]
enum Operation {
    Product(Product),
    Winograd(Winograd),
    Depthwise(Depthwise, Arc<Aligned>),
    Image(ImageOp),
    GroupNorm(Norm, usize),
    LayerNorm(Norm),
    PackKeys(KeyLayout),
    Attention(Attention),
    Inject(Inject),
    Pointwise,
    Mul,
    Geglu,
    Concat,
    Upsample,
    Embed(Arc<Aligned>),
    AddWeight(Arc<Aligned>),
    TakeToken,
    Import,
    ToBytes(ByteScale),
}

/// The plan's layout for these kernels.
pub(super) struct CpuLayout<'a> {
    pub(super) kernels: &'static Kernels,
    pub(super) winograd: WinogradPolicy,
    pub(super) program: &'a Program,
    /// The quantization of layers; all run in the number format if there is none.
    pub(super) weights: Option<&'a Weights>,
}

impl StorageLayout for CpuLayout<'_> {
    fn keys_len(&self, k: Shape, v: Shape, heads: usize) -> usize {
        KeyLayout::new(k, v, heads, self.kernels).len()
    }

    fn stores_f32(&self) -> bool {
        self.kernels.stores_f32()
    }

    fn byte_scale(&self, weight: WeightId) -> Option<ByteScale> {
        let weights = self.weights.filter(|_| self.kernels.bytes.is_some())?;
        weights.byte_scales().get(&self.program.weight(weight).name)
    }

    fn scratch_len(&self, step: &Step, input: Shape, output: Shape) -> usize {
        // In `f32`, regardless of the storage format.
        let stored = |len: usize| len * size_of::<f32>() / self.kernels.size;
        // All other kinds need no scratch memory.
        if let StepKind::GroupNorm { .. } = step.kind {
            stored(norm::group_norm_scratch(input))
        } else if let StepKind::Product(ref geometry) = step.kind {
            let form = self.winograd.form(geometry, input.c, self.program.shape_of_copy(output), self.kernels);
            form.map_or(0, |form| stored(winograd::scratch(form, input.c, output, self.kernels)))
        } else if !self.program.merges_tokens() {
            0
        } else if let StepKind::Attention { keys, cached_layer: Some(_), .. } = step.kind {
            Merge::scratch(keys, [input.c, output.c], self.kernels)
        } else if let StepKind::Inject { .. } = step.kind {
            Merge::lines_len(input.pixels(), input.c)
        } else {
            0
        }
    }
}

/// Compiles steps: reads and packs their weights.
pub(super) struct StepCompiler<'a> {
    pub(super) program: &'a Program,
    pub(super) values: &'a [PlanValue],
    pub(super) places: &'a [Place],
    pub(super) weights: &'a Weights,
    pub(super) kernels: &'static Kernels,
    pub(super) winograd: WinogradPolicy,
    /// The layout of each packed value so far.
    pub(super) keys: Vec<(Slot, KeyLayout)>,
    /// The layout of cached keys and values so far.
    pub(super) kv_cache: KvCacheLayout,
    /// How the tokens of each layer with cached attention so far are merged, by its index.
    pub(super) merges: Vec<(usize, Merge)>,
    /// The longest side of a kernel so far.
    pub(super) widest_kernel: usize,
}

impl StepCompiler<'_> {
    /// Reads and packs the weights of a step.
    pub(super) fn compile(&mut self, planned: Planned) -> Result<CompiledStep> {
        let Step { ref inputs, output, .. } = planned.step;
        let shape = |value: Slot| self.values[value].shape;
        let operation = match planned.step.kind {
            StepKind::Product(geometry) => {
                let (input, out) = (shape(inputs[0]), shape(output));
                let form = self.winograd.form(&geometry, input.c, self.program.shape_of_copy(out), self.kernels);
                let packed = self.source(&planned.step, &geometry).pack(self.weights, self.kernels)?;
                self.widest_kernel = self.widest_kernel.max(geometry.kernel);
                match form {
                    Some(form) => {
                        Operation::Winograd(Winograd::new(packed, form, geometry.upsample, out, self.kernels))
                    }
                    None => Operation::Product(Product::new(packed, geometry, input, self.kernels)?),
                }
            }
            StepKind::Depthwise(depthwise) => Operation::Depthwise(depthwise, self.taps(depthwise)?),
            StepKind::Image(op) => Operation::Image(op),
            StepKind::GroupNorm { groups, eps, weight, bias } => {
                Operation::GroupNorm(self.norm(weight, bias, eps)?, groups)
            }
            StepKind::LayerNorm { eps, weight, bias } => Operation::LayerNorm(self.norm(weight, bias, eps)?),
            StepKind::PackKeys { heads } => {
                let layout = KeyLayout::new(shape(inputs[0]), shape(inputs[1]), heads, self.kernels);
                self.keys.push((output, layout));
                Operation::PackKeys(layout)
            }
            StepKind::Attention { causal, ref kv_row, cached_layer, .. } => {
                let keys = self.keys.iter().find(|(packed, _)| *packed == inputs[1]).map(|(_, layout)| *layout);
                let keys = keys.ok_or_else(|| Error::new(ErrorKind::Internal, "attention before its keys"))?;
                let past = cached_layer.map(|_| self.kv_cache.add(&keys));
                let merges = cached_layer.filter(|_| self.program.merges_tokens());
                let merge = merges.map(|layer| {
                    let merge = Merge::new(&keys, &mut self.kv_cache);
                    self.merges.push((layer, merge));
                    merge
                });
                Operation::Attention(Attention { keys, causal, kv_row: kv_row.clone(), past, merge })
            }
            StepKind::Inject { layer } => {
                let merge = self.merges.iter().find(|(of, _)| *of == layer).map(|(_, merge)| *merge);
                Operation::Inject(Inject::new(shape(output), merge, &mut self.kv_cache, self.kernels))
            }
            StepKind::Pointwise => Operation::Pointwise,
            StepKind::Mul => Operation::Mul,
            StepKind::Geglu => Operation::Geglu,
            StepKind::Concat => Operation::Concat,
            StepKind::Upsample => Operation::Upsample,
            StepKind::Embed { weight } => {
                self.check_indices(inputs[0])?;
                Operation::Embed(self.table(weight)?)
            }
            StepKind::AddWeight { weight } => Operation::AddWeight(self.table(weight)?),
            StepKind::TakeToken => {
                self.check_indices(inputs[1])?;
                Operation::TakeToken
            }
            StepKind::Import => Operation::Import,
            StepKind::ToBytes { scale } => Operation::ToBytes(scale),
        };
        Ok(CompiledStep { planned, operation })
    }

    /// Packs the weights of the products of `steps`, the largest first, on all threads: a few at a time, so that frames
    /// of other engines get the threads in between. An error here occurs again when the step is compiled.
    pub(super) fn pack_all<'p>(&self, steps: impl Iterator<Item = &'p Planned>, pool: &Pool) -> Result<()> {
        let product = |planned: &Planned| {
            if let StepKind::Product(ref geometry) = planned.step.kind {
                Some(self.source(&planned.step, geometry))
            } else {
                None
            }
        };
        let mut sources: Vec<Source<'_>> = steps.filter_map(product).collect();
        sources.sort_by_key(|source| std::cmp::Reverse(source.len()));
        for some in sources.chunks(2 * pool.threads()) {
            pool.run(some.len(), &|i, _| drop(some[i].pack(self.weights, self.kernels)));
            self.weights.check_cancelled()?;
        }
        Ok(())
    }

    /// Returns the weight of a product.
    fn source(&self, step: &Step, geometry: &Geometry) -> Source<'_> {
        let spec = self.program.weight(geometry.weight);
        let (c_in, out) = (self.values[step.inputs[0]].shape.c, self.values[step.output].shape);
        let form = self.winograd.form(geometry, c_in, self.program.shape_of_copy(out), self.kernels);
        Source {
            weight: &spec.name,
            bias: geometry.bias.map(|bias| self.program.weight(bias).name.as_str()),
            c_out: spec.shape[0],
            c_in: spec.shape[1],
            kernel: spec.shape.get(2).copied(),
            geglu: geometry.geglu,
            phases: form.is_none() && Product::in_phases(geometry),
            winograd: form.map(|form| form.side),
            bytes: self.kernels.bytes.filter(|_| geometry.bytes.is_some()),
        }
    }

    fn norm(&self, weight: WeightId, bias: WeightId, eps: f32) -> Result<Norm> {
        Ok(Norm { weight: self.plain(weight)?, bias: self.plain(bias)?, eps })
    }

    fn plain(&self, weight: WeightId) -> Result<Arc<Aligned>> {
        let spec = self.program.weight(weight);
        small_weights::plain(self.weights, &spec.name, &spec.shape, self.kernels)
    }

    fn taps(&self, depthwise: Depthwise) -> Result<Arc<Aligned>> {
        if !image::is_supported(depthwise.kernel) {
            let text = format!("depthwise convolutions with kernels of side {} are not supported", depthwise.kernel);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let spec = self.program.weight(depthwise.weight);
        let bias = depthwise.bias.map(|bias| self.program.weight(bias).name.as_str());
        small_weights::taps(self.weights, &spec.name, bias, &spec.shape, self.kernels)
    }

    /// Inputs that contain indices must not be converted: a narrower format could not represent them.
    fn check_indices(&self, value: Slot) -> Result<()> {
        if self.kernels.stores_f32() || matches!(self.places[value].space, Space::Input(_)) {
            return Ok(());
        }
        let text = "a program that computes token indices for each frame is supported for f32 only";
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    fn table(&self, weight: WeightId) -> Result<Arc<Aligned>> {
        let spec = self.program.weight(weight);
        small_weights::table(self.weights, &spec.name, &spec.shape, self.kernels)
    }

    /// Returns the elements of scratch memory of each thread for the steps.
    pub(super) fn thread_scratch(&self, steps: &[CompiledStep]) -> usize {
        let need = |compiled: &CompiledStep| match &compiled.operation {
            Operation::Product(product) => product.thread_scratch(self.kernels),
            Operation::Winograd(winograd) => winograd.thread_scratch(),
            Operation::Attention(attention) => attention.thread_scratch(),
            Operation::Inject(inject) => inject.thread_scratch(),
            Operation::Depthwise(..)
            | Operation::Image(_)
            | Operation::GroupNorm(..)
            | Operation::LayerNorm(_)
            | Operation::PackKeys(_)
            | Operation::Pointwise
            | Operation::Mul
            | Operation::Geglu
            | Operation::Concat
            | Operation::Upsample
            | Operation::Embed(_)
            | Operation::AddWeight(_)
            | Operation::TakeToken
            | Operation::Import
            | Operation::ToBytes(_) => 0,
        };
        steps.iter().map(need).max().unwrap_or(0)
    }
}

impl CompiledStep {
    /// Returns the bytes of the weights that it reads.
    pub(super) fn weight_bytes(&self) -> usize {
        match &self.operation {
            Operation::Product(product) => product.weight_bytes(),
            Operation::Winograd(winograd) => winograd.weight_bytes(),
            Operation::Depthwise(_, table) | Operation::AddWeight(table) => table.len(),
            Operation::GroupNorm(norm, _) | Operation::LayerNorm(norm) => norm.weight.len() + norm.bias.len(),
            // Of a table it reads few rows.
            Operation::Embed(_)
            | Operation::Image(_)
            | Operation::PackKeys(_)
            | Operation::Attention(_)
            | Operation::Inject(_)
            | Operation::Pointwise
            | Operation::Mul
            | Operation::Geglu
            | Operation::Concat
            | Operation::Upsample
            | Operation::TakeToken
            | Operation::Import
            | Operation::ToBytes(_) => 0,
        }
    }

    /// Returns the side of the squares of output pixels that are computed together.
    pub(super) fn square(&self) -> usize {
        if let Operation::Winograd(winograd) = &self.operation { winograd.tile_side() } else { 1 }
    }

    /// Runs the step; `span` returns the memory of a value, `scratch` is the step's scratch memory.
    pub(super) fn run(&self, run: &Run<'_>, span: &dyn Fn(Slot) -> Span, scratch: *mut f32) -> Result<()> {
        let step = &self.planned.step;
        let (x, out) = (span(step.inputs[0]), span(step.output));
        let second = || span(step.inputs[1]);
        let mut storage = [PostAt::Affine { mul: 1.0, add: 0.0 }; MAX_POSTS];
        let posts = &mut storage[..step.posts.len()];
        for (at, post) in posts.iter_mut().zip(&step.posts) {
            *at = resolve(post, span, out.shape);
        }
        match &self.operation {
            Operation::Product(product) => product.run(run, x, out, posts),
            Operation::Winograd(winograd) => winograd.run(run, x, out, posts, scratch),
            Operation::Depthwise(depthwise, table) => image::depthwise(run, *depthwise, table, [x, out], posts),
            Operation::Image(op) => image::image(run, *op, [x, out], posts),
            Operation::GroupNorm(norm, groups) => norm::group_norm(run, norm, *groups, [x, out], scratch, posts),
            Operation::LayerNorm(norm) => norm::layer_norm(run, norm, [x, out], posts),
            Operation::PackKeys(layout) => layout.pack(run, x, second(), out),
            Operation::Attention(attention) => attention.run(run, [x, second(), out], scratch),
            Operation::Inject(inject) => inject.run(run, x, out, scratch),
            Operation::Pointwise => pointwise::pointwise(run, x, out, posts),
            Operation::Mul => image::mul(run, [x, second(), out], posts),
            Operation::Geglu => elementwise::geglu(run, x, out),
            Operation::Concat => {
                let mut start = 0;
                for part in step.inputs.iter().map(|&part| span(part)) {
                    // A part that was computed in place needs no copy.
                    if !std::ptr::eq(part.ptr(), out.ptr().wrapping_add(start * out.size())) {
                        elementwise::copy(run, part, out, start);
                    }
                    start += part.shape.c;
                }
            }
            Operation::Upsample => elementwise::upsample(run, x, out),
            Operation::Embed(table) => elementwise::embed(x, out, table.bytes())?,
            Operation::AddWeight(table) => {
                // The same rows of the table for every row of the batch.
                let add = PostAt::Add { from: table.ptr(), ld: x.shape.c, div: 1, modulo: x.shape.pixels() };
                pointwise::pointwise(run, x, out, &[add]);
            }
            Operation::TakeToken => elementwise::take_token(x, second(), out)?,
            Operation::Import => elementwise::convert(run, x, out, run.kernels.store),
            Operation::ToBytes(scale) => elementwise::to_bytes(run, x, out, *scale)?,
        }
        Ok(())
    }
}

/// Returns a post with the address of its operand.
fn resolve(post: &Post, span: &dyn Fn(Slot) -> Span, shape: Shape) -> PostAt {
    match *post {
        Post::Add { value, repeat } => {
            let operand = span(value);
            let (div, modulo) = match repeat {
                Repeat::None => (1, usize::MAX),
                Repeat::Pixels => (shape.pixels(), usize::MAX),
                Repeat::Rows => (1, shape.pixels()),
                Repeat::Both => (1, 1),
            };
            PostAt::Add { from: operand.ptr(), ld: operand.ld, div, modulo }
        }
        Post::Activate(activation) => PostAt::Activate(activation),
        Post::Affine { mul, add } => PostAt::Affine { mul, add },
    }
}

//! Operations that [`Dialect::Basic`](super::Dialect::Basic) writes with several operators.

use super::super::dialect::GroupNorm;
use super::super::graph::Form;
use super::super::proto::Attribute::{Float, Int, Ints};
use super::{Emitter, Layout};
use crate::net::{Shape, ValueId};

impl Emitter<'_> {
    /// Writes a group norm as a norm of instances, which are the groups, with scale and shift after it. Returns an image.
    pub(super) fn group_norm_of_instances(&mut self, x: ValueId, norm: GroupNorm) -> String {
        let shape = self.program.shape(x);
        let groups = norm.groups;
        let image = self.tensor(x, Layout::Image);
        let instances =
            self.reshape(&image, &[shape.n, groups, shape.len() / (shape.n * groups)].map(|dim| dim as i64));
        let [one, zero] = [1.0, 0.0].map(|value| self.graph.vector(self.element, groups, value));
        let normal =
            self.graph.node("InstanceNormalization", &[&instances, &one, &zero], &[("epsilon", Float(norm.eps))]);
        let normal = self.reshape(&normal, &Layout::Image.dims(shape));
        let [scale, shift] = [norm.weight, norm.bias].map(|weight| {
            let weight = self.weight(weight, Form::Plain);
            self.reshape(&weight, &[shape.c as i64, 1, 1])
        });
        let scaled = self.graph.node("Mul", &[&normal, &scale], &[]);
        self.graph.node("Add", &[&scaled, &shift], &[])
    }

    /// Writes attention of tokens with the shape `queries` to `keys` others of each row.
    pub(super) fn attention_of_products(
        &mut self,
        [q, k, v]: [&str; 3],
        heads: usize,
        causal: bool,
        queries: Shape,
        keys: usize,
    ) -> String {
        let width = queries.c / heads;
        let mut of_heads = |x: &str, order: [i64; 4]| {
            // 0 is the number of tokens of `x`, which is not known if there are those of earlier frames.
            let split = self.reshape(x, &[queries.n, 0, heads, width].map(|dim| dim as i64));
            self.graph.node("Transpose", &[&split], &[("perm", Ints(&order))])
        };
        let q = of_heads(q, [0, 2, 1, 3]);
        let k = of_heads(k, [0, 2, 3, 1]);
        let v = of_heads(v, [0, 2, 1, 3]);
        let q = self.affine(&q, 1.0 / (width as f32).sqrt(), 0.0);
        let mut scores = self.graph.node("MatMul", &[&q, &k], &[]);
        if causal {
            let masked = |query: usize, key: usize| if key > query { f32::from(half::f16::MIN) } else { 0.0 };
            let mask = (0..queries.pixels()).flat_map(|query| (0..keys).map(move |key| masked(query, key)));
            let mask = self.graph.matrix(self.element, [queries.pixels(), keys], mask);
            scores = self.graph.node("Add", &[&scores, &mask], &[]);
        }
        let shares = self.graph.node("Softmax", &[&scores], &[("axis", Int(-1))]);
        let mixed = self.graph.node("MatMul", &[&shares, &v], &[]);
        let tokens = self.graph.node("Transpose", &[&mixed], &[("perm", Ints(&[0, 2, 1, 3]))]);
        self.reshape(&tokens, &Layout::Tokens.dims(queries))
    }
}

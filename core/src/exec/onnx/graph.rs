//! A graph of ONNX while it is written.

use std::collections::{BTreeMap, BTreeSet};

use super::dialect::Dialect;
use super::proto::{self, Attribute, ElementType, Message};

/// The version of every operator set besides that of ONNX.
const CONTRIB_VERSION: i64 = 1;
const IR_VERSION: i64 = 10;

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) element: ElementType,
    pub(super) dims: Vec<i64>,
}

/// How the elements of a weight are ordered in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Form {
    /// As in the checkpoint.
    Plain,
    /// A matrix `[out, in]` of the checkpoint as `[in, out]`.
    Transposed,
}

/// A weight that the graph reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GraphWeight {
    /// The index in [`Program::weights`](crate::net::Program::weights).
    pub(super) weight: usize,
    pub(super) element: ElementType,
    pub(super) form: Form,
    pub(super) name: String,
    pub(super) dims: Vec<i64>,
}

/// A finished graph.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// The encoded `ModelProto`, without the elements of the weights.
    pub(super) bytes: Vec<u8>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) weights: Vec<GraphWeight>,
}

/// Writes a graph.
#[derive(Debug)]
pub(super) struct GraphBuilder {
    dialect: Dialect,
    nodes: Vec<Message>,
    initializers: Vec<Message>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    weights: Vec<GraphWeight>,
    /// The domains of operators besides that of ONNX.
    domains: BTreeSet<&'static str>,
    /// Names of constants, by their bytes and dimensions.
    constants: BTreeMap<(i64, Vec<i64>, Vec<u8>), String>,
}

impl GraphBuilder {
    /// Starts an empty graph.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            nodes: Vec::new(),
            initializers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            weights: Vec::new(),
            domains: BTreeSet::new(),
            constants: BTreeMap::new(),
        }
    }

    /// Adds a node with one output and returns the output's name. `op` is one of [`Dialect::operators`].
    pub(super) fn node(&mut self, op: &'static str, inputs: &[&str], attributes: &[(&str, Attribute<'_>)]) -> String {
        let output = format!("n{}", self.nodes.len());
        self.node_with_outputs(op, inputs, &[&output], attributes);
        output
    }

    /// Adds a node with named outputs.
    pub(super) fn node_with_outputs(
        &mut self,
        op: &'static str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute<'_>)],
    ) {
        debug_assert!(self.dialect.operators().any(|operator| operator == op), "{op} in {:?}", self.dialect);
        let (domain, _) = proto::domain_and_name(op);
        if !domain.is_empty() {
            self.domains.insert(domain);
        }
        self.nodes.push(proto::node(op, inputs, outputs, attributes));
    }

    /// Returns the name of the next node, for nodes with several outputs.
    pub(super) fn next_name(&self) -> String {
        format!("n{}", self.nodes.len())
    }

    pub(super) fn input(&mut self, port: Port) {
        self.inputs.push(port);
    }

    pub(super) fn output(&mut self, port: Port) {
        self.outputs.push(port);
    }

    /// Returns the name of a weight's tensor.
    pub(super) fn weight(&mut self, element: ElementType, weight: usize, form: Form, dims: Vec<i64>) -> String {
        let is_same = |known: &&GraphWeight| (known.weight, known.element, known.form) == (weight, element, form);
        if let Some(known) = self.weights.iter().find(is_same) {
            return known.name.clone();
        }
        let precision = if element == ElementType::F16 { "h" } else { "" };
        let order = if form == Form::Transposed { "t" } else { "" };
        let name = format!("w{weight}{precision}{order}");
        self.initializers.push(proto::external_tensor(&name, element, &dims));
        self.weights.push(GraphWeight { weight, element, form, name: name.clone(), dims });
        name
    }

    /// Returns the name of a list of integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(ElementType::I64, vec![values.len() as i64], bytes)
    }

    /// Returns the name of a list of floats, which stay single precision (`Resize` takes no others).
    pub(super) fn floats(&mut self, values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(ElementType::F32, vec![values.len() as i64], bytes)
    }

    /// Returns the name of a scalar of type `element`.
    pub(super) fn scalar(&mut self, element: ElementType, value: f32) -> String {
        self.constant(element, Vec::new(), float_bytes(element, value))
    }

    /// Returns the name of a vector of type `element` with `len` equal elements.
    pub(super) fn vector(&mut self, element: ElementType, len: usize, value: f32) -> String {
        self.constant(element, vec![len as i64], float_bytes(element, value).repeat(len))
    }

    /// Returns the name of a matrix of type `element` with these rows and columns.
    pub(super) fn matrix(
        &mut self,
        element: ElementType,
        dims: [usize; 2],
        values: impl Iterator<Item = f32>,
    ) -> String {
        let bytes = values.flat_map(|value| float_bytes(element, value)).collect();
        self.constant(element, dims.map(|dim| dim as i64).into(), bytes)
    }

    fn constant(&mut self, element: ElementType, dims: Vec<i64>, bytes: Vec<u8>) -> String {
        let next = format!("c{}", self.constants.len());
        let key = (element.code(), dims, bytes);
        if let Some(name) = self.constants.get(&key) {
            return name.clone();
        }
        self.initializers.push(proto::tensor(&next, element, &key.1, &key.2));
        self.constants.insert(key, next.clone());
        next
    }

    /// Returns the encoded model.
    pub(super) fn finish(self, name: &str) -> Model {
        let mut graph = self.nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node));
        graph = graph.text(2, name);
        graph = self.initializers.iter().fold(graph, |graph, tensor| graph.message(5, tensor));
        let info = |port: &Port| proto::value_info(&port.name, port.element, &port.dims);
        graph = self.inputs.iter().fold(graph, |graph, port| graph.message(11, &info(port)));
        graph = self.outputs.iter().fold(graph, |graph, port| graph.message(12, &info(port)));
        let model = Message::default().int(1, IR_VERSION).text(2, "dreamframe").message(7, &graph);
        let model = model.message(8, &proto::operator_set("", self.dialect.standard_version()));
        let set = |model: Message, domain: &&str| model.message(8, &proto::operator_set(domain, CONTRIB_VERSION));
        let model = self.domains.iter().fold(model, set);
        Model { bytes: model.into_bytes(), inputs: self.inputs, outputs: self.outputs, weights: self.weights }
    }
}

fn float_bytes(element: ElementType, value: f32) -> Vec<u8> {
    match element {
        ElementType::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
        ElementType::F32 | ElementType::I64 | ElementType::U8 => value.to_le_bytes().to_vec(),
    }
}

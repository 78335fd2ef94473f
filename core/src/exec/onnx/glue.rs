//! Graphs of a queue's operations, for any number of elements `n`. They compute in single precision.

use super::dialect::Dialect;
use super::graph::{GraphBuilder, Model, Port};
use super::proto::Attribute::Int;
use super::proto::ElementType;
use super::runtime::Session;
use super::sessions::Sessions;
use crate::error::Result;

/// Maximum number of terms of one graph; longer sums take several.
pub(super) const MOST_TERMS: usize = 4;

/// The sessions of a queue's operations.
#[derive(Debug)]
pub(super) struct Glue {
    /// Bytes to -1..1.
    pub(super) import: Session,
    /// -1..1 to bytes.
    pub(super) export: Session,
    /// Single precision to values.
    pub(super) upload: Session,
    /// Single precision to the same on the device, for token ids and indices.
    pub(super) copy_floats: Session,
    /// Values to single precision.
    pub(super) download: Session,
    /// -1..1 to 0..1.
    pub(super) to_unit: Session,
    /// Zeros in place of the elements.
    pub(super) clear: Session,
    /// The sum of `index + 1` terms, each with a factor.
    pub(super) sums: Vec<Session>,
}

impl Glue {
    /// Compiles the graphs for values of type `element`.
    ///
    /// # Errors
    ///
    /// Those of [`Sessions::session`].
    pub(super) fn new(element: ElementType, sessions: &Sessions) -> Result<Self> {
        let make = |model: Model| sessions.session(&model, &[]);
        Ok(Self {
            import: make(import(element))?,
            export: make(export(element))?,
            upload: make(converted("upload", ElementType::F32, element))?,
            copy_floats: make(converted("copy", ElementType::F32, ElementType::F32))?,
            download: make(converted("download", element, ElementType::F32))?,
            to_unit: make(to_unit(element))?,
            clear: make(clear(element))?,
            sums: (1..=MOST_TERMS).map(|terms| make(sum(element, terms))).collect::<Result<_>>()?,
        })
    }
}

/// A graph with one output, on vectors of `n` elements.
pub(super) struct Vectors(pub(super) GraphBuilder);

impl Vectors {
    pub(super) fn new() -> Self {
        Self(GraphBuilder::new(Dialect::Basic))
    }

    /// Adds an input and returns its elements in single precision.
    pub(super) fn input(&mut self, name: &str, element: ElementType) -> String {
        self.0.input(Port { name: name.to_owned(), element, dims: vec![-1] });
        if element == ElementType::F32 {
            return name.to_owned();
        }
        self.0.node("Cast", &[name], &[("to", Int(ElementType::F32.code()))])
    }

    fn scaled(&mut self, x: &str, factor: f32) -> String {
        let factor = self.0.scalar(ElementType::F32, factor);
        self.0.node("Mul", &[x, &factor], &[])
    }

    fn shifted(&mut self, x: &str, by: f32) -> String {
        let by = self.0.scalar(ElementType::F32, by);
        self.0.node("Add", &[x, &by], &[])
    }

    /// Returns `x * 0.5 + 0.5`, clamped to 0..1. Not-a-number becomes 0.
    fn unit(&mut self, x: &str) -> String {
        let zero = self.0.scalar(ElementType::F32, 0.0);
        let one = self.0.scalar(ElementType::F32, 1.0);
        let half = self.scaled(x, 0.5);
        let unit = self.shifted(&half, 0.5);
        let is_invalid = self.0.node("IsNaN", &[&unit], &[]);
        let valid = self.0.node("Where", &[&is_invalid, &zero, &unit], &[]);
        self.0.node("Clip", &[&valid, &zero, &one], &[])
    }

    /// Returns the values of bytes: 0 is -1, and 255 is 1. As on the CPU, so that the results are the same to the bit.
    pub(super) fn signed(&mut self, x: &str) -> String {
        let scale = self.0.scalar(ElementType::F32, 127.5);
        let scaled = self.0.node("Div", &[x, &scale], &[]);
        self.shifted(&scaled, -1.0)
    }

    /// Returns the bytes of values, which are whole numbers: -1 is 0, and 1 is 255.
    pub(super) fn whole(&mut self, x: &str) -> String {
        let unit = self.unit(x);
        let scaled = self.scaled(&unit, 255.0);
        self.rounded(&scaled)
    }

    /// Returns `x` rounded to the nearest whole number, halves upwards.
    pub(super) fn rounded(&mut self, x: &str) -> String {
        let rounded = self.shifted(x, 0.5);
        self.0.node("Floor", &[&rounded], &[])
    }

    /// Returns the graph whose output is `tensor`.
    pub(super) fn finish(mut self, name: &str, tensor: &str, element: ElementType) -> Model {
        if element == ElementType::F32 {
            self.0.node_with_outputs("Identity", &[tensor], &["output"], &[]);
        } else {
            self.0.node_with_outputs("Cast", &[tensor], &["output"], &[("to", Int(element.code()))]);
        }
        self.0.output(Port { name: "output".to_owned(), element, dims: vec![-1] });
        self.0.finish(name)
    }
}

fn converted(name: &str, from: ElementType, to: ElementType) -> Model {
    let mut graph = Vectors::new();
    let x = graph.input("x", from);
    graph.finish(name, &x, to)
}

fn import(element: ElementType) -> Model {
    let mut graph = Vectors::new();
    let x = graph.input("x", ElementType::U8);
    let signed = graph.signed(&x);
    graph.finish("import", &signed, element)
}

fn export(element: ElementType) -> Model {
    let mut graph = Vectors::new();
    let x = graph.input("x", element);
    let whole = graph.whole(&x);
    graph.finish("export", &whole, ElementType::U8)
}

fn to_unit(element: ElementType) -> Model {
    let mut graph = Vectors::new();
    let x = graph.input("x", element);
    let unit = graph.unit(&x);
    graph.finish("to_unit", &unit, element)
}

/// The input is not read: it may not be a number.
fn clear(element: ElementType) -> Model {
    let mut graph = Vectors::new();
    let x = "x".to_owned();
    graph.0.input(Port { name: x.clone(), element, dims: vec![-1] });
    let len = graph.0.node("Shape", &[&x], &[]);
    let zeros = graph.0.node("ConstantOfShape", &[&len], &[]);
    graph.finish("clear", &zeros, element)
}

/// The sum of `terms` inputs, each times its factor; the factors are the last input.
fn sum(element: ElementType, terms: usize) -> Model {
    let mut graph = Vectors::new();
    let inputs: Vec<String> = (0..terms).map(|term| graph.input(&format!("x{term}"), element)).collect();
    graph.0.input(Port { name: "factors".to_owned(), element: ElementType::F32, dims: vec![terms as i64] });
    let mut product = |term: usize| {
        let index = graph.0.ints(&[term as i64]);
        let factor = graph.0.node("Gather", &["factors", &index], &[]);
        graph.0.node("Mul", &[&inputs[term], &factor], &[])
    };
    let products: Vec<String> = (0..terms).map(&mut product).collect();
    let mut sum = products[0].clone();
    for product in &products[1..] {
        sum = graph.0.node("Add", &[&sum, product], &[]);
    }
    graph.finish("sum", &sum, element)
}

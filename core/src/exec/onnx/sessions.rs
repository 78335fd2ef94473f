//! Sessions on one device.

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::dialect::Dialect;
use super::graph::{GraphBuilder, Model, Port};
use super::proto::ElementType;
use super::runtime::{Operand, OperandMut, Runtime, Session, Target, Weight};
use crate::error::{Error, ErrorKind, Result};

/// Makes sessions on one device.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) runtime: Arc<Runtime>,
    pub(super) target: Target,
    pub(super) threads: usize,
    /// Whether runs of networks are captured as CUDA graphs.
    pub(super) captures: bool,
}

impl Sessions {
    /// Returns a session of a graph with its weights, in its order.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the provider does not run a node of the graph, `OutOfMemory` if it does not fit on the device.
    pub(super) fn session(&self, model: &Model, weights: &[Arc<Weight>]) -> Result<Session> {
        self.runtime.session(model, weights, self.threads, &self.target, false)
    }

    /// Like [`session`](Self::session), for the graph of a frame, whose runs are captured if that is requested.
    ///
    /// # Errors
    ///
    /// Those of `session`.
    pub(super) fn frame_session(&self, model: &Model, weights: &[Arc<Weight>]) -> Result<Session> {
        self.with_capture(model, |captures| self.runtime.session(model, weights, self.threads, &self.target, captures))
    }

    /// Calls `make` to capture runs, if that is requested; also without, if it fails: only graphs whose nodes all run on the
    /// device can be captured, and only those whose operands have fixed lengths are.
    fn with_capture(&self, model: &Model, make: impl Fn(bool) -> Result<Session>) -> Result<Session> {
        let is_fixed = model.inputs.iter().all(|port| port.dims.iter().all(|&dim| dim >= 0));
        if self.captures && is_fixed {
            match make(true) {
                Ok(session) => return Ok(session),
                Err(error) if error.kind() == ErrorKind::OutOfMemory => return Err(error),
                Err(error) => tracing::debug!(%error, "a network is not captured"),
            }
        }
        make(false)
    }

    /// Returns `model` as the provider compiles it, with its weights.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the provider does not compile it.
    pub(super) fn compile(&self, model: &Model, weights: &[Arc<Weight>]) -> Result<Vec<u8>> {
        self.runtime.compile(model, weights, &self.target, &[], &[])
    }

    /// Returns a session of what [`compile`](Self::compile) returned for `model`.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the provider does not load it.
    pub(super) fn compiled_session(&self, model: &Model, compiled: &[u8]) -> Result<Session> {
        self.with_capture(model, |captures| {
            self.runtime.compiled_session(model, compiled, self.threads, &self.target, captures)
        })
    }
}

impl Sessions {
    /// Adds two numbers on the device.
    ///
    /// # Errors
    ///
    /// Those of the device, and `Device` for another sum.
    pub(super) fn check(&self, element: ElementType) -> Result<()> {
        let mut graph = GraphBuilder::new(Dialect::Basic);
        let port = |name: &str| Port { name: name.to_owned(), element, dims: vec![1] };
        ["a", "b"].map(port).into_iter().for_each(|port| graph.input(port));
        graph.node_with_outputs("Add", &["a", "b"], &["sum"], &[]);
        graph.output(port("sum"));
        let session = self.session(&graph.finish("check"), &[])?;
        let mut sum = [0.0];
        if element == ElementType::F16 {
            let [a, b, mut half] = [1.0, 2.0, 0.0].map(|number| [f16::from_f32(number)]);
            session.run(&[Operand::Halves(&a), Operand::Halves(&b)], &mut [OperandMut::Halves(&mut half)])?;
            half.convert_to_f32_slice(&mut sum);
        } else {
            let inputs = [Operand::Floats(&[1.0]), Operand::Floats(&[2.0])];
            session.run(&inputs, &mut [OperandMut::Floats(&mut sum)])?;
        }
        if sum == [3.0] {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Device, format!("1 + 2 on the device: got {}, expected 3", sum[0])))
    }
}

//! Compiles programs with a plug-in for devices that this machine need not have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::proto::ElementType;
use super::runtime::{Runtime, Target};
use super::{Dtype, OnnxConfig, OnnxExecutor, Row, decode, emit};
use crate::error::Result;
use crate::net::{Program, Weights};

/// Settings of a session that only compiles.
const WITHOUT_DEVICE: &[(&str, &str)] = &[("session.compile_only", "1"), ("session.disable_cpu_ep_fallback", "1")];

/// Compiles programs with a plug-in.
#[derive(Debug)]
pub struct OnnxCompiler {
    runtime: Arc<Runtime>,
    target: Target,
    row: &'static Row,
    element: ElementType,
    options: Vec<(String, String)>,
}

/// A compiled graph.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The encoded model, with the engines of the plug-in.
    pub model: Vec<u8>,
    /// The number of nodes before.
    pub nodes: usize,
    /// The number of engines.
    pub engines: usize,
    /// The number of nodes that are not part of an engine.
    pub other_nodes: usize,
    /// How long the plug-in took.
    pub time: Duration,
}

impl OnnxCompiler {
    /// Loads the library and the plug-in. `options` are options of the plug-in, such as the device to compile for.
    ///
    /// # Errors
    ///
    /// Those of [`OnnxExecutor::new`], without those of a device that does not compute.
    pub fn new(config: &OnnxConfig<'_>, options: &[(&str, &str)]) -> Result<Self> {
        let row = Row::of(config.provider);
        let runtime = Runtime::load(config.library)?;
        let target = runtime.target(row, config.device_index, config.plug_in)?;
        let element = if config.dtype == Dtype::F16 { ElementType::F16 } else { ElementType::F32 };
        let options = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { runtime, target, row, element, options })
    }

    /// Compiles the graph of a frame.
    ///
    /// # Errors
    ///
    /// Those of the weights, and `Unsupported` if the plug-in does not run a node of the graph.
    pub fn compile(&self, program: &Program, weights: &Weights) -> Result<Compiled> {
        let model = emit::emit(program, self.element, self.row.dialect).frame;
        let tensors = model.weights.iter().map(|weight| OnnxExecutor::weight(program, weights, weight));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        let compiled = self.runtime.compile(&model, &tensors, &self.target, &self.options, WITHOUT_DEVICE)?;
        let time = start.elapsed();
        let nodes = decode::nodes(&compiled);
        let engines = nodes.iter().filter(|node| node.operator == "com.microsoft.EPContext").count();
        let other_nodes = nodes.len() - engines;
        Ok(Compiled { model: compiled, nodes: decode::nodes(&model.bytes).len(), engines, other_nodes, time })
    }
}

//! A size without enough memory is rejected, and the stream continues; memory shared by engines.

use std::sync::Arc;

use super::context::context;
use crate::engine::{Active, Engine, EngineOptions};
use crate::error::{ErrorKind, Result};
use crate::exec::reference::ReferenceExecutor;
use crate::exec::{Constants, Executor, Network, RunArgs};
use crate::frame::{FrameView, PixelFormat};
use crate::load::{ModelSource, PackedCache};
use crate::net::{Program, Weights};
use crate::params::StreamDiffusionParams;

const SIDE: u32 = 64;

/// The reference executor, except that programs with larger values need more memory than any machine has.
#[derive(Debug)]
struct Greedy;

impl Executor for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        let shapes = program.outputs().iter().map(|output| program.shape(output.value));
        let large = shapes.map(|shape| shape.h * shape.w).max() > Some((SIDE * SIDE) as usize);
        Ok(Arc::new(GreedyNetwork { inner: ReferenceExecutor.compile(program, weights)?, large }))
    }
}

#[derive(Debug)]
struct GreedyNetwork {
    inner: Arc<dyn Network>,
    large: bool,
}

impl Network for GreedyNetwork {
    fn program(&self) -> &Program {
        self.inner.program()
    }

    fn scratch_bytes(&self) -> usize {
        if self.large { usize::MAX / 16 } else { self.inner.scratch_bytes() }
    }

    fn frame_keys_bytes(&self) -> usize {
        if self.inner.frame_keys_bytes() > 0 { usize::MAX / 64 } else { 0 }
    }

    fn constants(&self, inputs: &[&[f32]]) -> Result<Constants> {
        self.inner.constants(inputs)
    }

    fn run(&self, args: RunArgs<'_, '_>) -> Result<()> {
        self.inner.run(args)
    }
}

fn engine(side: u32) -> Result<Engine> {
    let options = EngineOptions { dtype: crate::Dtype::F32, ..EngineOptions::default() };
    let mut params = StreamDiffusionParams::demo();
    (params.width, params.height) = (side, side);
    Engine::new(context(ModelSource::Demo, options, Arc::new(Greedy)), params, Vec::new())
}

#[test]
fn size_without_enough_memory_is_rejected_with_its_bytes_and_the_old_size_stays() {
    let needed = (usize::MAX / 16 / 1_000_000_000).to_string();
    let mut engine = engine(SIDE).unwrap();
    let pixels = vec![90; (SIDE * SIDE * 4) as usize];
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    engine.process(&frame).unwrap();
    let refused = engine.edit(|params| params.width = 2 * SIDE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
    assert!(refused.to_string().contains(&needed), "{refused}");
    assert_eq!(engine.size(), (SIDE, SIDE));
    let picture = engine.process(&frame).unwrap();
    assert_eq!(picture.frame.width(), SIDE);
}

#[test]
fn cached_attention_without_enough_memory_is_rejected_and_pictures_continue() {
    let mut engine = engine(SIDE).unwrap();
    let pixels = vec![90; (SIDE * SIDE * 4) as usize];
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    let before = engine.process(&frame).unwrap().frame.pixels().to_vec();
    let refused = engine.edit(|params| params.cached_attention.enabled = true).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
    assert!(refused.to_string().contains("memory for cached attention: got"), "{refused}");
    assert!(!engine.params().cached_attention.enabled);
    assert!(engine.process(&frame).unwrap().frame.pixels() == before);
}

#[test]
fn an_engine_for_such_a_size_is_not_built() {
    assert_eq!(engine(2 * SIDE).unwrap_err().kind(), ErrorKind::OutOfMemory);
}

#[test]
fn engines_share_the_weights_of_one_model_and_the_last_takes_them_along() {
    let weights = |engine: &Engine| match &engine.active {
        Active::Ready(pipeline) => pipeline.components.models().unet_weights.forms().clone(),
        Active::Released(_) => unreachable!("nothing was released"),
    };
    // With a separate cache, so that no other test's engine uses them.
    let folder = tempfile::tempdir().unwrap();
    let build = |cache: &str| {
        let cache = PackedCache::Folder(folder.path().join(cache));
        Engine::builder().options(EngineOptions { packed_cache: cache, ..EngineOptions::default() }).build().unwrap()
    };
    let (first, second, other) = (build("one"), build("one"), build("other"));
    assert!(Arc::ptr_eq(&weights(&first), &weights(&second)));
    assert!(!Arc::ptr_eq(&weights(&first), &weights(&other)));
    let left = Arc::downgrade(&weights(&first));
    drop(first);
    assert!(left.upgrade().is_some());
    drop(second);
    assert!(left.upgrade().is_none());
}

//! A frame processor without networks: its pictures show its parameters, and names and pixels make it wait, fail or
//! panic.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::super::engine_traits::{FrameProcessor, Preparer};
use super::LIMIT;
use crate::conditioning::transition::Transition;
use crate::engine::{Picture, PictureKind};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameId, FramePool, PixelFormat};
use crate::params::{Notice, StreamDiffusionParams};
use crate::telemetry::Timings;

/// Special values of a frame's first pixel.
pub(super) const FAILS: u8 = 13;
pub(super) const PANICS: u8 = 66;
pub(super) const WAITS: u8 = 7;
/// A `delta` that cannot be applied.
pub(super) const UNFIT: f64 = 9.0;
/// A prompt that requires a ControlNet.
pub(super) const NEEDS_NET: &str = "needs a net";
/// A prompt whose transition fails.
pub(super) const HAS_NO_WAY: &str = "has no way";

/// Gates that are closed until a test opens them, and a record of what was built.
#[derive(Debug, Default)]
pub(super) struct Script {
    open: Mutex<BTreeSet<String>>,
    opened: Condvar,
    reached: Mutex<BTreeSet<String>>,
    arrived: Condvar,
    pub(super) made: Mutex<Vec<String>>,
}

impl Script {
    /// Opens `gate` permanently.
    pub(super) fn open(&self, gate: &str) {
        self.open.lock().unwrap().insert(gate.to_owned());
        self.opened.notify_all();
    }

    /// Waits until a thread waits at `gate`.
    pub(super) fn wait_for(&self, gate: &str) {
        let reached = self.reached.lock().unwrap();
        let (_reached, late) =
            self.arrived.wait_timeout_while(reached, LIMIT, |reached| !reached.contains(gate)).unwrap();
        assert!(!late.timed_out(), "no thread came to {gate}");
    }

    fn pass(&self, gate: &str) {
        self.reached.lock().unwrap().insert(gate.to_owned());
        self.arrived.notify_all();
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !open.contains(gate)).unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) params: StreamDiffusionParams,
    pieces: BTreeSet<String>,
    /// Steps of a transition: done, total.
    way: Option<(u32, u32)>,
}

#[derive(Debug, Clone)]
pub(super) struct ToyPreparer(Arc<Script>);

#[derive(Debug)]
pub(super) struct ToyPrepared {
    pipeline: Arc<Pipeline>,
    base: Option<Arc<Pipeline>>,
}

fn error(kind: ErrorKind, text: &str) -> Error {
    Error::new(kind, text)
}

impl Preparer for ToyPreparer {
    type Prepared = ToyPrepared;
    type Snapshot = Arc<Pipeline>;

    fn prepare(
        &self,
        params: &StreamDiffusionParams,
        base: Option<&Arc<Pipeline>>,
        others: &[&Arc<Pipeline>],
    ) -> Result<ToyPrepared> {
        params.validate()?;
        let nets = params.controlnets.iter().filter(|net| net.enabled).map(|net| &net.model_id);
        let pieces: BTreeSet<String> = nets.chain([&params.model_id]).cloned().collect();
        let known =
            |piece: &String| base.into_iter().chain(others.iter().copied()).any(|one| one.pieces.contains(piece));
        for piece in pieces.iter().filter(|piece| !known(piece)) {
            match piece.split('/').next().unwrap_or_default() {
                "slow" => self.0.pass(piece),
                "missing" => return Err(error(ErrorKind::NotFound, "no such model")),
                "panics" => panic!("a network without weights"),
                "huge" if base.is_some() => return Err(error(ErrorKind::OutOfMemory, "not with another")),
                "giant" => return Err(error(ErrorKind::OutOfMemory, "not even alone")),
                _ => {}
            }
            self.0.made.lock().unwrap().push(piece.clone());
        }
        if params.prompt.iter().any(|(text, _)| text == NEEDS_NET) && params.controlnets.is_empty() {
            return Err(error(ErrorKind::InvalidParams, "prompt needs a net"));
        }
        let is_new = base.is_none_or(|base| base.params.prompt != params.prompt);
        for (text, _) in params.prompt.iter().filter(|(text, _)| is_new && text.starts_with("slow/")) {
            self.0.pass(text);
        }
        let way = base.filter(|base| base.params.prompt == params.prompt).and_then(|base| base.way);
        let pipeline = Arc::new(Pipeline { params: params.clone(), pieces, way });
        Ok(ToyPrepared { pipeline, base: base.cloned() })
    }

    fn transition(&self, base: &Arc<Pipeline>, transition: &Transition) -> Result<ToyPrepared> {
        let params = StreamDiffusionParams { prompt: transition.target_prompts.clone(), ..base.params.clone() };
        let prepared = self.prepare(&params, Some(base), &[])?;
        let way = (transition.num_steps > 1).then_some((1, transition.num_steps));
        Ok(on_its_way(prepared.pipeline, way, base))
    }

    fn step(&self, base: &Arc<Pipeline>) -> Result<Option<ToyPrepared>> {
        let Some((step, steps)) = base.way else { return Ok(None) };
        if base.params.prompt.iter().any(|(text, _)| text == HAS_NO_WAY) {
            return Err(error(ErrorKind::OutOfMemory, "no step"));
        }
        Ok(Some(on_its_way(base.clone(), (step + 1 < steps).then_some((step + 1, steps)), base)))
    }

    fn progress(pipeline: &Arc<Pipeline>) -> Option<(u32, u32)> {
        pipeline.way
    }

    fn snapshot(prepared: &ToyPrepared) -> Arc<Pipeline> {
        prepared.pipeline.clone()
    }

    fn is_short(&self, _base: &Arc<Pipeline>, params: &StreamDiffusionParams) -> bool {
        params.model_id.starts_with("short/")
    }
}

fn on_its_way(pipeline: Arc<Pipeline>, way: Option<(u32, u32)>, base: &Arc<Pipeline>) -> ToyPrepared {
    let (params, pieces) = (pipeline.params.clone(), pipeline.pieces.clone());
    ToyPrepared { pipeline: Arc::new(Pipeline { params, pieces, way }), base: Some(base.clone()) }
}

/// The pipeline in use, or the last one after a release.
#[derive(Debug)]
enum Active {
    Ready(Arc<Pipeline>),
    Released(Box<StreamDiffusionParams>),
}

#[derive(Debug)]
pub(super) struct Toy {
    script: Arc<Script>,
    active: Active,
    version: u64,
    last: Option<FrameId>,
    pool: FramePool,
}

impl Toy {
    pub(super) fn new() -> (Self, Arc<Script>) {
        let script = Arc::new(Script::default());
        let params = StreamDiffusionParams::demo();
        let pieces = BTreeSet::from([params.model_id.clone()]);
        let active = Active::Ready(Arc::new(Pipeline { params, pieces, way: None }));
        (Self { script: script.clone(), active, version: 0, last: None, pool: FramePool::new(4) }, script)
    }

    /// Shows the guidance scale and `delta`, both times ten, and the step of a transition.
    fn picture(&self, id: FrameId, source_id: FrameId, kind: PictureKind) -> Result<Picture> {
        let mut frame = self.pool.frame(PixelFormat::Rgba8, 1, 1)?;
        let params = self.params();
        let shown = [params.guidance_scale * 10.0, params.delta * 10.0].map(|value| value.round() as u8);
        let step = match &self.active {
            Active::Ready(pipeline) => pipeline.way.map_or(0, |(step, _)| step as u8),
            Active::Released(_) => 0,
        };
        frame.pixels_mut().copy_from_slice(&[shown[0], shown[1], step, 255]);
        let version = self.version;
        Ok(Picture {
            frame,
            id,
            source_id,
            kind,
            version,
            timings: Timings { unet: 5, total: 9, ..Timings::default() },
        })
    }
}

impl FrameProcessor for Toy {
    type Preparer = ToyPreparer;

    fn preparer(&self) -> ToyPreparer {
        ToyPreparer(self.script.clone())
    }

    fn params(&self) -> &StreamDiffusionParams {
        match &self.active {
            Active::Ready(pipeline) => &pipeline.params,
            Active::Released(params) => params,
        }
    }

    fn snapshot(&self) -> Result<Arc<Pipeline>> {
        match &self.active {
            Active::Ready(pipeline) => Ok(pipeline.clone()),
            Active::Released(_) => Err(error(ErrorKind::InvalidArgument, "released")),
        }
    }

    fn process(&mut self, frame: &Frame) -> Result<Picture> {
        let id = frame.id();
        match frame.pixels().first() {
            Some(&FAILS) => return Err(error(ErrorKind::Device, "a frame that fails")),
            Some(&PANICS) => panic!("a frame that panics"),
            Some(&WAITS) => self.script.pass("frame"),
            _ => {}
        }
        if let (Active::Released(_), Some(last)) = (&self.active, self.last) {
            return self.picture(id, last, PictureKind::Repeated);
        }
        self.last = Some(id);
        self.picture(id, id, PictureKind::New)
    }

    fn repeat(&mut self, id: FrameId) -> Result<Option<Picture>> {
        self.last.map(|last| self.picture(id, last, PictureKind::Repeated)).transpose()
    }

    fn swap(&mut self, prepared: &mut ToyPrepared, version: u64) -> Result<Vec<Notice>> {
        let right = match (&self.active, &prepared.base) {
            (Active::Ready(pipeline), Some(base)) => Arc::ptr_eq(pipeline, base),
            (Active::Released(_), None) => true,
            (Active::Ready(_), None) | (Active::Released(_), Some(_)) => false,
        };
        assert!(right, "made onto something that is not in use");
        if prepared.pipeline.params.delta == UNFIT {
            for (text, _) in prepared.pipeline.params.prompt.iter().filter(|(text, _)| text.starts_with("held/")) {
                self.script.pass(text);
            }
            return Err(error(ErrorKind::OutOfMemory, "cannot be applied"));
        }
        self.active = Active::Ready(prepared.pipeline.clone());
        self.version = version;
        Ok(Vec::new())
    }

    fn release(&mut self) {
        self.active = Active::Released(Box::new(self.params().clone()));
    }
}

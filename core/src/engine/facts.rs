//! What an engine tells of itself.

use std::sync::atomic::Ordering;

use super::pipeline::Pieces;
use super::{Active, Engine, EngineOptions};
use crate::params::{Notice, StreamDiffusionParams};
use crate::telemetry::{ControlWork, Work};

impl Engine {
    /// The parameters in use.
    pub fn params(&self) -> &StreamDiffusionParams {
        match &self.active {
            Active::Ready(pipeline) => &pipeline.params,
            Active::Released(params) => params,
        }
    }

    /// What was fixed when the engine was built.
    pub fn options(&self) -> &EngineOptions {
        &self.workshop.options
    }

    /// What was accepted at the start and means something else here.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The size of pictures in pixels: width, height. It is that of the parameters, times what processors of
    /// `image_postprocessing` enlarge pictures by.
    pub fn size(&self) -> (u32, u32) {
        // No side is longer than a frame's may be.
        (self.buffers.result.width() as u32, self.buffers.result.height() as u32)
    }

    /// How many frames later than its frame a picture leaves.
    pub fn delay(&self) -> usize {
        self.stream.delay()
    }

    /// UNet rows that one frame costs; 0 for an engine that [was released](Self::release).
    pub fn evaluations_per_frame(&self) -> usize {
        self.pieces().map_or(0, |pieces| pieces.unet().evaluations())
    }

    /// Counts what frames took, and what updates did for texts, since the engine was built.
    pub fn work(&self) -> Work {
        Work { text_encodings: self.workshop.text_encodings.load(Ordering::Relaxed), ..self.work }
    }

    /// Counts what frames took of the ControlNet at `index` of the parameters' `controlnets`, since it was loaded; nothing
    /// where there is none, or it is not enabled.
    pub fn control_work(&self, index: usize) -> ControlWork {
        self.pieces().and_then(|pieces| self.control.work(&pieces.controls, index)).unwrap_or_default()
    }

    /// The base model in use: where it was found; empty for an engine that [was released](Self::release).
    pub fn model(&self) -> &str {
        self.pieces().map_or("", |pieces| &pieces.models().location)
    }

    pub(super) fn pieces(&self) -> Option<&Pieces> {
        match &self.active {
            Active::Ready(pipeline) => Some(&pipeline.pieces),
            Active::Released(_) => None,
        }
    }

    /// What runs the networks and what it uses of this machine, in words.
    pub fn device(&self) -> String {
        self.workshop.executor.describe()
    }

    /// How many threads work on a frame.
    pub fn threads(&self) -> usize {
        self.workshop.executor.threads()
    }
}

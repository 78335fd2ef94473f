//! Read-only accessors of [`Engine`].

use std::sync::atomic::Ordering;

use super::pipeline::{Components, Pipeline};
use super::{Active, Engine, EngineOptions};
use crate::net::Footprint;
use crate::params::{Notice, StreamDiffusionParams};
use crate::telemetry::{ControlWork, Work};

impl Active {
    /// The pipeline in use, unless it was released.
    pub(super) fn pipeline(&self) -> Option<&Pipeline> {
        match self {
            Self::Ready(pipeline) => Some(pipeline),
            Self::Released(_) => None,
        }
    }
}

impl Engine {
    /// Returns the parameters in use.
    pub fn params(&self) -> &StreamDiffusionParams {
        match &self.active {
            Active::Ready(pipeline) => &pipeline.params,
            Active::Released(params) => params,
        }
    }

    /// Returns the options that the engine was built with.
    pub fn options(&self) -> &EngineOptions {
        &self.context.options
    }

    /// Returns notices of values that were accepted with another meaning when the engine was built.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Returns width and height of pictures in pixels: those of the parameters, times the factors of processors in
    /// `image_postprocessing` that enlarge pictures.
    pub fn size(&self) -> (u32, u32) {
        // No side is longer than a frame's may be.
        self.state.picture_size()
    }

    /// Returns how many frames after its frame a picture is returned.
    pub fn delay(&self) -> usize {
        self.state.delay()
    }

    /// Returns how many UNet rows are evaluated for a frame; 0 for a [released](Self::release) engine.
    pub fn evaluations_per_frame(&self) -> usize {
        self.components().map_or(0, |components| components.unet().evaluations())
    }

    /// Returns how often networks and processors ran for frames, and how many texts were encoded, since the engine was
    /// built.
    pub fn work(&self) -> Work {
        Work { text_encodings: self.context.text_encodings.load(Ordering::Relaxed), ..self.state.work() }
    }

    /// Returns how often the ControlNet at `index` of the parameters' `controlnets` ran since it was loaded; zeros if
    /// there is none, or it is disabled.
    pub fn control_work(&self, index: usize) -> ControlWork {
        self.active.pipeline().and_then(|pipeline| self.state.control_work(pipeline, index)).unwrap_or_default()
    }

    /// Returns where the base model in use was found; empty for a [released](Self::release) engine.
    pub fn model(&self) -> &str {
        self.components().map_or("", |components| &components.models().location)
    }

    /// Returns the memory that the networks of a frame need, as estimated from their programs: autoencoder, UNet and
    /// ControlNets; zeros for a [released](Self::release) engine.
    pub fn footprint(&self) -> Footprint {
        let networks = self.components().map(Components::frame_networks).unwrap_or_default();
        networks.iter().map(|network| network.program().footprint()).fold(Footprint::default(), Footprint::plus)
    }

    pub(super) fn components(&self) -> Option<&Components> {
        self.active.pipeline().map(|pipeline| &pipeline.components)
    }

    /// Returns a description of the device that runs the networks.
    pub fn device(&self) -> String {
        self.context.executor.describe()
    }

    /// Returns how many threads process a frame.
    pub fn threads(&self) -> usize {
        self.context.executor.threads()
    }
}

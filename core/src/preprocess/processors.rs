//! The table of processors: the implementation of each name.
//!
//! Names, settings and their bounds are in `params`.

use serde_json::{Map, Value};

use super::Preprocessor;
use super::blur::Blur;
use super::canny::Canny;
use super::feedback::{Feedback, LatentFeedback};
use super::network::Network;
use super::passthrough::Passthrough;
use super::pose::PoseStyle;
use super::sharpen::Sharpen;
use super::soft_edge::SoftEdge;
use super::standard_lineart::StandardLineart;
use super::upscale::Upscale;
use crate::params::{ProcessorName, UpscaleSettings};

/// The scale factor of `realesrgan_trt`.
const REALESRGAN_SCALE: f64 = 2.0;

/// The settings of a processor, by name.
type Settings = Map<String, Value>;

/// The code of a processor.
pub(super) enum Runs {
    /// Native code, which loads nothing.
    Native(fn(&Settings) -> Box<dyn Preprocessor>),
    /// A network, which must be loaded.
    Network(fn(&Settings) -> Network),
    /// An image of the host, which the registry has.
    HostImage,
}

/// The implementation of a processor.
pub(super) struct Processor {
    pub(super) runs: Runs,
    /// Returns the scale factor for its settings; `None` if the size does not change.
    pub(super) scale: Option<fn(&Settings) -> f64>,
}

impl Processor {
    const fn native(start: fn(&Settings) -> Box<dyn Preprocessor>) -> Self {
        Self { runs: Runs::Native(start), scale: None }
    }

    const fn network(network: fn(&Settings) -> Network) -> Self {
        Self { runs: Runs::Network(network), scale: None }
    }

    const fn scaling(self, scale: fn(&Settings) -> f64) -> Self {
        Self { scale: Some(scale), ..self }
    }
}

/// Returns the implementation of a processor.
pub(super) const fn processor(name: ProcessorName) -> Processor {
    match name {
        ProcessorName::Blur => Processor::native(|settings| Box::new(Blur::new(settings))),
        ProcessorName::Canny => Processor::native(|settings| Box::new(Canny::new(settings))),
        ProcessorName::Depth => Processor::network(Network::depth),
        ProcessorName::DepthTensorrt => Processor::network(Network::depth_tensorrt),
        ProcessorName::External => Processor { runs: Runs::HostImage, scale: None },
        ProcessorName::Feedback => Processor::native(|settings| Box::new(Feedback::new(settings))),
        ProcessorName::Hed => Processor::network(|_| Network::Edges),
        ProcessorName::LatentFeedback => Processor::native(|settings| Box::new(LatentFeedback::new(settings))),
        ProcessorName::Lineart => Processor::network(Network::lineart),
        ProcessorName::MediapipePose => Processor::network(|_| Network::Pose(PoseStyle::Mediapipe)),
        ProcessorName::MediapipeSegmentation => Processor::network(Network::segmentation),
        ProcessorName::Openpose => Processor::network(|_| Network::Pose(PoseStyle::Openpose)),
        ProcessorName::Passthrough => Processor::native(|_| Box::new(Passthrough)),
        ProcessorName::PoseTensorrt => Processor::network(|_| Network::Pose(PoseStyle::Service)),
        ProcessorName::RealesrganTrt => Processor::network(|_| Network::Enlarging).scaling(|_| REALESRGAN_SCALE),
        ProcessorName::Sharpen => Processor::native(|settings| Box::new(Sharpen::new(settings))),
        ProcessorName::SoftEdge => Processor::native(|_| Box::new(SoftEdge::default())),
        ProcessorName::StandardLineart => Processor::native(|settings| Box::new(StandardLineart::new(settings))),
        ProcessorName::TemporalNetTensorrt => Processor::network(Network::flow),
        ProcessorName::Upscale => Processor::native(|settings| Box::new(Upscale::new(settings)))
            .scaling(|settings| UpscaleSettings::read(settings).scale_factor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_processors_with_weights_are_networks() {
        for &name in ProcessorName::ALL {
            assert_eq!(matches!(processor(name).runs, Runs::Network(_)), name.has_weights(), "{name}");
        }
    }
}

//! Names and properties of processors.

use serde_json::{Map, Value};

use super::names::named_enum;
use super::settings::{
    BlurSettings, CannySettings, DepthSettings, DepthTensorrtSettings, ExternalSettings, FeedbackSettings, HedSettings,
    LatentFeedbackSettings, LineartSettings, MediapipePoseSettings, MediapipeSegmentationSettings, NoSettings,
    OpenposeSettings, PATH, PIXELS, Parameter, PoseTensorrtSettings, Settings, SharpenSettings,
    StandardLineartSettings, TemporalNetSettings, UpscaleSettings,
};

named_enum! {
    /// Names a processor of a chain, or the preprocessor of a ControlNet.
    ///
    /// Names that end in `_tensorrt` or `_trt` are kept as they were sent, and run the implementation without TensorRT.
    pub enum ProcessorName {
        /// Gaussian blur.
        Blur = "blur",
        /// Edges by Canny.
        Canny = "canny",
        /// Depth by a network.
        Depth = "depth",
        /// Depth; runs as `depth`.
        DepthTensorrt = "depth_tensorrt",
        /// The caller provides the control image.
        External = "external",
        /// Mixes the previous picture into the frame.
        Feedback = "feedback",
        /// Soft edges by the HED network.
        Hed = "hed",
        /// Line art by a network.
        Lineart = "lineart",
        /// Pose by MediaPipe's network.
        MediapipePose = "mediapipe_pose",
        /// Person mask by MediaPipe's network.
        MediapipeSegmentation = "mediapipe_segmentation",
        /// Pose, drawn in the style of OpenPose.
        Openpose = "openpose",
        /// The frame itself.
        Passthrough = "passthrough",
        /// Pose; runs as `openpose`.
        PoseTensorrt = "pose_tensorrt",
        /// Upscaling by a network.
        RealesrganTrt = "realesrgan_trt",
        /// Unsharp masking and detail.
        Sharpen = "sharpen",
        /// Soft edges by Sobel filters.
        SoftEdge = "soft_edge",
        /// Line art without a network.
        StandardLineart = "standard_lineart",
        /// The previous frame and the optical flow from it.
        TemporalNetTensorrt = "temporal_net_tensorrt",
        /// Interpolated upscaling.
        Upscale = "upscale",
        /// Mixes the previous latent into the latent; the only processor of latent chains.
        LatentFeedback = "latent_feedback",
    }
}

/// Parameters that every processor takes.
const COMMON: &[Parameter] = &[("image_resolution", PIXELS), ("image_width", PIXELS), ("image_height", PIXELS)];

/// The path of a TensorRT engine, which is accepted and has no effect.
const ENGINE_PATH: &[Parameter] = &[("engine_path", PATH)];

/// The properties of a processor. Its implementation is its row in `preprocess::processors`.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// The processor that runs in its place.
    alias_of: Option<ProcessorName>,
    has_weights: bool,
    is_latent: bool,
    /// Parameters that are accepted and have no effect.
    ignored: &'static [Parameter],
    parameters: &'static [Parameter],
    defaults: fn() -> Map<String, Value>,
}

impl Row {
    /// A processor of images, without a network.
    const fn new<S: Settings>() -> Self {
        let (parameters, defaults) = (S::PARAMETERS, S::defaults);
        Self { alias_of: None, has_weights: false, is_latent: false, ignored: &[], parameters, defaults }
    }

    /// A processor of images that is a network.
    const fn network<S: Settings>() -> Self {
        Self { has_weights: true, ..Self::new::<S>() }
    }

    /// A processor of latents.
    const fn latent<S: Settings>() -> Self {
        Self { is_latent: true, ..Self::new::<S>() }
    }

    const fn alias_of(self, plain: ProcessorName) -> Self {
        Self { alias_of: Some(plain), ..self }
    }

    const fn ignoring(self, ignored: &'static [Parameter]) -> Self {
        Self { ignored, ..self }
    }
}

impl ProcessorName {
    const fn row(self) -> Row {
        match self {
            Self::Blur => Row::new::<BlurSettings>(),
            Self::Canny => Row::new::<CannySettings>(),
            Self::Depth => Row::network::<DepthSettings>(),
            Self::DepthTensorrt => Row::network::<DepthTensorrtSettings>().alias_of(Self::Depth).ignoring(ENGINE_PATH),
            Self::External => Row::new::<ExternalSettings>(),
            Self::Feedback => Row::new::<FeedbackSettings>(),
            Self::Hed => Row::network::<HedSettings>(),
            Self::Lineart => Row::network::<LineartSettings>(),
            Self::MediapipePose => Row::network::<MediapipePoseSettings>(),
            Self::MediapipeSegmentation => Row::network::<MediapipeSegmentationSettings>(),
            Self::Openpose => Row::network::<OpenposeSettings>(),
            Self::Passthrough => Row::new::<NoSettings>(),
            Self::PoseTensorrt => Row::network::<PoseTensorrtSettings>().alias_of(Self::Openpose).ignoring(ENGINE_PATH),
            Self::RealesrganTrt => Row::network::<NoSettings>(),
            Self::Sharpen => Row::new::<SharpenSettings>(),
            Self::SoftEdge => Row::new::<NoSettings>(),
            Self::StandardLineart => Row::new::<StandardLineartSettings>(),
            Self::TemporalNetTensorrt => Row::network::<TemporalNetSettings>().ignoring(ENGINE_PATH),
            Self::Upscale => Row::new::<UpscaleSettings>(),
            Self::LatentFeedback => Row::latent::<LatentFeedbackSettings>(),
        }
    }

    /// Returns the processor that runs for this name: itself, or the one that it is an alias of.
    pub fn plain(self) -> Self {
        self.row().alias_of.unwrap_or(self)
    }

    /// Returns whether the name asks for a TensorRT engine.
    pub fn asks_for_tensorrt(self) -> bool {
        self.name().ends_with("_tensorrt") || self.name().ends_with("_trt")
    }

    /// Returns whether the processor is a network, whose weights have to be loaded.
    pub fn has_weights(self) -> bool {
        self.row().has_weights
    }

    /// Returns whether the processor works on latents, not on images.
    pub fn is_latent(self) -> bool {
        self.row().is_latent
    }

    /// Lists the parameters that the processor knows by name, with their bounds.
    pub fn parameters(self) -> impl Iterator<Item = &'static Parameter> {
        let row = self.row();
        row.ignored.iter().chain(row.parameters).chain(COMMON)
    }

    /// Returns the defaults of the parameters that have one; those of [`COMMON`] are the stream's size.
    pub(super) fn defaults(self) -> Map<String, Value> {
        (self.row().defaults)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_keep_their_name_and_run_their_target() {
        let sent: ProcessorName = serde_json::from_str(r#""depth_tensorrt""#).unwrap();
        assert_eq!(sent.name(), "depth_tensorrt");
        assert_eq!(sent.plain(), ProcessorName::Depth);
    }

    #[test]
    fn every_parameter_has_a_valid_default() {
        for &name in ProcessorName::ALL {
            let defaults = name.defaults();
            name.check(&defaults).unwrap();
            for (parameter, _) in name.parameters() {
                let has_none = *parameter == "engine_path" || COMMON.iter().any(|(common, _)| common == parameter);
                assert_eq!(defaults.contains_key(*parameter), !has_none, "{name}: {parameter}");
            }
            for default in defaults.keys() {
                assert!(name.parameters().any(|(parameter, _)| parameter == default), "{name}: {default}");
            }
        }
    }

    #[test]
    fn the_target_of_an_alias_is_not_an_alias() {
        for &name in ProcessorName::ALL {
            assert_eq!(name.plain().plain(), name.plain());
            assert_eq!(name.has_weights(), name.plain().has_weights());
        }
    }
}

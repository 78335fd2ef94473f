//! Names of processors, and the parameters each of them knows.

use serde::Serialize;
use serde_json::{Map, Value};

use super::allowed::Allowed;
use super::names::named_enum;
use super::settings::{self, FlowOutput, MaskOutput, UpscaleAlgorithm};

named_enum! {
    /// Names a processor of a chain, or the preprocessor of a ControlNet.
    ///
    /// Names that end in `_tensorrt` or `_trt` are kept as they were sent and run the plain implementation.
    pub enum ProcessorName {
        /// Gaussian blur.
        Blur = "blur",
        /// Edges by Canny.
        Canny = "canny",
        /// Depth by a network.
        Depth = "depth",
        /// Depth; runs as `depth`.
        DepthTensorrt = "depth_tensorrt",
        /// The caller brings the finished control image.
        External = "external",
        /// Mixes the last picture into the frame.
        Feedback = "feedback",
        /// Soft edges by the HED network.
        Hed = "hed",
        /// Line art by a network.
        Lineart = "lineart",
        /// Pose by MediaPipe's network.
        MediapipePose = "mediapipe_pose",
        /// Person mask by MediaPipe's network.
        MediapipeSegmentation = "mediapipe_segmentation",
        /// Pose, drawn as OpenPose does.
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
        /// The last frame and the optical flow from it.
        TemporalNetTensorrt = "temporal_net_tensorrt",
        /// Interpolated upscaling.
        Upscale = "upscale",
        /// Mixes the last latent into the latent; the only processor of latent chains.
        LatentFeedback = "latent_feedback",
    }
}

/// A parameter of a processor: its name, and what it may be.
type Parameter = (&'static str, Allowed);

const UNIT: Allowed = Allowed::Number { min: 0.0, max: 1.0 };
const STRENGTH: Allowed = Allowed::Number { min: 0.0, max: 10.0 };
const PIXELS: Allowed = Allowed::Integer { min: 16, max: 4096, step: 1 };
const PEN: Allowed = Allowed::Integer { min: 1, max: 64, step: 1 };
const PATH: Allowed = Allowed::Text { min: 0, max: 4096 };

/// Parameters that every processor takes.
const COMMON: &[Parameter] = &[("image_resolution", PIXELS), ("image_width", PIXELS), ("image_height", PIXELS)];

const CANNY: &[Parameter] = &[
    // The L1 norm of the two Sobel gradients of bytes ends at 2 * 4 * 255.
    ("low_threshold", Allowed::Number { min: 0.0, max: 2040.0 }),
    ("high_threshold", Allowed::Number { min: 0.0, max: 2040.0 }),
];
const BLUR: &[Parameter] = &[
    ("blur_intensity", Allowed::Number { min: 0.0, max: 100.0 }),
    ("kernel_size", Allowed::Integer { min: 1, max: 255, step: 1 }),
];
const SHARPEN: &[Parameter] = &[
    ("sharpen_intensity", STRENGTH),
    ("unsharp_radius", Allowed::Number { min: 0.1, max: 50.0 }),
    ("edge_enhancement", STRENGTH),
    ("detail_boost", STRENGTH),
    ("noise_reduction", UNIT),
    ("multi_scale", Allowed::Flag),
];
const UPSCALE: &[Parameter] = &[
    ("scale_factor", Allowed::Number { min: 1.0, max: 8.0 }),
    ("algorithm", Allowed::Choice(UpscaleAlgorithm::NAMES)),
];
const STANDARD_LINEART: &[Parameter] = &[
    ("detect_resolution", PIXELS),
    ("gaussian_sigma", Allowed::Number { min: 0.1, max: 100.0 }),
    ("intensity_threshold", Allowed::Number { min: 0.0, max: 255.0 }),
];
const MEDIAPIPE_POSE: &[Parameter] = &[
    ("detect_resolution", PIXELS),
    ("min_detection_confidence", UNIT),
    ("min_tracking_confidence", UNIT),
    ("model_complexity", Allowed::Integer { min: 0, max: 2, step: 1 }),
    ("static_image_mode", Allowed::Flag),
    ("draw_hands", Allowed::Flag),
    ("draw_face", Allowed::Flag),
    ("line_thickness", PEN),
    ("circle_radius", PEN),
    ("confidence_threshold", UNIT),
    ("enable_smoothing", Allowed::Flag),
    ("smoothing_factor", UNIT),
];
const MEDIAPIPE_SEGMENTATION: &[Parameter] = &[
    ("detect_resolution", PIXELS),
    ("model_selection", Allowed::Integer { min: 0, max: 1, step: 1 }),
    ("mask_threshold", UNIT),
    ("blur_radius", Allowed::Integer { min: 0, max: 255, step: 1 }),
    ("invert_mask", Allowed::Flag),
    ("output_mode", Allowed::Choice(MaskOutput::NAMES)),
];
const TEMPORAL_NET: &[Parameter] = &[
    ("engine_path", PATH),
    ("flow_strength", Allowed::Number { min: 0.0, max: 2.0 }),
    ("height", PIXELS),
    ("width", PIXELS),
    ("output_format", Allowed::Choice(FlowOutput::NAMES)),
];

impl ProcessorName {
    /// Gives the processor that runs for this name: itself, or the plain one behind an alias.
    pub fn plain(self) -> Self {
        match self {
            Self::DepthTensorrt => Self::Depth,
            Self::PoseTensorrt => Self::Openpose,
            Self::Blur
            | Self::Canny
            | Self::Depth
            | Self::External
            | Self::Feedback
            | Self::Hed
            | Self::Lineart
            | Self::MediapipePose
            | Self::MediapipeSegmentation
            | Self::Openpose
            | Self::Passthrough
            | Self::RealesrganTrt
            | Self::Sharpen
            | Self::SoftEdge
            | Self::StandardLineart
            | Self::TemporalNetTensorrt
            | Self::Upscale
            | Self::LatentFeedback => self,
        }
    }

    /// Returns whether the name asks for a TensorRT engine.
    pub fn asks_for_tensorrt(self) -> bool {
        self.name().ends_with("_tensorrt") || self.name().ends_with("_trt")
    }

    /// Returns whether the processor is a network, whose weights have to be loaded.
    pub fn has_weights(self) -> bool {
        match self.plain() {
            Self::Depth
            | Self::DepthTensorrt
            | Self::Hed
            | Self::Lineart
            | Self::MediapipePose
            | Self::MediapipeSegmentation
            | Self::Openpose
            | Self::PoseTensorrt
            | Self::RealesrganTrt
            | Self::TemporalNetTensorrt => true,
            Self::Blur
            | Self::Canny
            | Self::External
            | Self::Feedback
            | Self::Passthrough
            | Self::Sharpen
            | Self::SoftEdge
            | Self::StandardLineart
            | Self::Upscale
            | Self::LatentFeedback => false,
        }
    }

    /// Returns whether the processor works on latents, not on images.
    pub fn is_latent(self) -> bool {
        self == Self::LatentFeedback
    }

    /// Lists the parameters that the processor knows by name, with what each may be.
    pub fn parameters(self) -> impl Iterator<Item = &'static Parameter> {
        let own: &'static [Parameter] = match self {
            Self::Blur => BLUR,
            Self::Canny => CANNY,
            Self::Depth => &[("model", PATH), ("detect_resolution", PIXELS)],
            Self::DepthTensorrt => &[("engine_path", PATH), ("detect_resolution", PIXELS)],
            Self::External => &[("validate_input", Allowed::Flag)],
            Self::Feedback | Self::LatentFeedback => &[("feedback_strength", UNIT)],
            Self::Hed => &[("safe", Allowed::Flag)],
            Self::Lineart => {
                &[("detect_resolution", PIXELS), ("coarse", Allowed::Flag), ("anime_style", Allowed::Flag)]
            }
            Self::MediapipePose => MEDIAPIPE_POSE,
            Self::MediapipeSegmentation => MEDIAPIPE_SEGMENTATION,
            Self::Openpose => &[("detect_resolution", PIXELS)],
            Self::PoseTensorrt => {
                &[("engine_path", PATH), ("detect_resolution", PIXELS), ("confidence_threshold", UNIT)]
            }
            Self::Passthrough | Self::RealesrganTrt | Self::SoftEdge => &[],
            Self::Sharpen => SHARPEN,
            Self::StandardLineart => STANDARD_LINEART,
            Self::TemporalNetTensorrt => TEMPORAL_NET,
            Self::Upscale => UPSCALE,
        };
        own.iter().chain(COMMON)
    }

    /// Returns the defaults of the parameters that have one; the stream's size stands for those of [`COMMON`].
    pub(super) fn defaults(self) -> Map<String, Value> {
        fn object(settings: impl Serialize) -> Map<String, Value> {
            match serde_json::to_value(settings) {
                Ok(Value::Object(object)) => object,
                _ => Map::new(),
            }
        }
        match self {
            Self::Blur => object(settings::BlurSettings::default()),
            Self::Canny => object(settings::CannySettings::default()),
            Self::Depth => object(settings::DepthSettings::default()),
            Self::DepthTensorrt => object(settings::DepthTensorrtSettings::default()),
            Self::External => object(settings::ExternalSettings::default()),
            Self::Feedback => object(settings::FeedbackSettings::default()),
            Self::Hed => object(settings::HedSettings::default()),
            Self::LatentFeedback => object(settings::LatentFeedbackSettings::default()),
            Self::Lineart => object(settings::LineartSettings::default()),
            Self::MediapipePose => object(settings::MediapipePoseSettings::default()),
            Self::MediapipeSegmentation => object(settings::MediapipeSegmentationSettings::default()),
            Self::Openpose => object(settings::OpenposeSettings::default()),
            Self::PoseTensorrt => object(settings::PoseTensorrtSettings::default()),
            Self::Sharpen => object(settings::SharpenSettings::default()),
            Self::StandardLineart => object(settings::StandardLineartSettings::default()),
            Self::TemporalNetTensorrt => object(settings::TemporalNetSettings::default()),
            Self::Upscale => object(settings::UpscaleSettings::default()),
            Self::Passthrough | Self::RealesrganTrt | Self::SoftEdge => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_keep_their_name_and_run_the_plain_processor() {
        let sent: ProcessorName = serde_json::from_str(r#""depth_tensorrt""#).unwrap();
        assert_eq!(sent.name(), "depth_tensorrt");
        assert_eq!(sent.plain(), ProcessorName::Depth);
    }

    #[test]
    fn every_parameter_has_a_default_that_it_allows_and_every_default_a_parameter() {
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
    fn a_plain_processor_is_its_own_plain_processor() {
        for &name in ProcessorName::ALL {
            assert_eq!(name.plain().plain(), name.plain());
            assert_eq!(name.has_weights(), name.plain().has_weights());
        }
    }
}

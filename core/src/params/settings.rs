//! The settings of processors, typed, with their defaults; what each may be is in the table of [`ProcessorName`].
//!
//! [`ProcessorName`]: super::ProcessorName

use serde_json::{Map, Value};

use super::names::named_enum;

named_enum! {
    /// How `upscale` works out the pixels in between.
    pub enum UpscaleAlgorithm {
        /// From the two nearest pixels in each direction.
        Bilinear = "bilinear",
        /// Runs as `bicubic`.
        Lanczos = "lanczos",
        /// From the four nearest pixels in each direction.
        Bicubic = "bicubic",
        /// The nearest pixel.
        Nearest = "nearest",
    }
}

named_enum! {
    /// What `mediapipe_segmentation` gives.
    pub enum MaskOutput {
        /// The mask, black and white.
        Binary = "binary",
        /// The person before black.
        Alpha = "alpha",
        /// What is not the person, before black.
        Background = "background",
    }
}

named_enum! {
    /// What `temporal_net_tensorrt` gives.
    pub enum FlowOutput {
        /// The last frame and the picture of the flow, in six channels.
        Concat = "concat",
        /// The last frame, moved along the flow.
        WarpedOnly = "warped_only",
    }
}

/// Reads one setting out of JSON.
trait Setting: Sized {
    /// The value, where it is of this type.
    fn read(value: &Value) -> Option<Self>;
}

impl Setting for bool {
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Setting for u32 {
    fn read(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl Setting for f64 {
    fn read(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl Setting for String {
    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
}

/// Lets enums be settings.
macro_rules! setting_enum {
    ($($type:ident),+) => {$(
        impl Setting for $type {
            fn read(value: &Value) -> Option<Self> {
                let name = value.as_str()?;
                Self::ALL.iter().find(|known| known.name() == name).copied()
            }
        }
    )+};
}

setting_enum!(UpscaleAlgorithm, MaskOutput, FlowOutput);

/// Declares settings with their defaults, and how they are read.
macro_rules! settings {
    ($($(#[$outer:meta])* $type:ident { $($(#[$inner:meta])* $field:ident: $kind:ty = $default:expr,)+ })+) => {$(
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[non_exhaustive]
        pub struct $type {
            $($(#[$inner])* pub $field: $kind,)+
        }

        impl Default for $type {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $type {
            /// Reads the settings out of values that were checked; what is left out has its default.
            pub fn read(values: &Map<String, Value>) -> Self {
                Self { $($field: values.get(stringify!($field)).and_then(Setting::read).unwrap_or_else(|| $default),)+ }
            }
        }
    )+};
}

settings! {
    /// Settings of `blur`.
    BlurSettings {
        /// The standard deviation, in pixels.
        blur_intensity: f64 = 2.0,
        /// The side of the kernel in pixels; an even one counts as the next odd one.
        kernel_size: u32 = 15,
    }

    /// Settings of `canny`; thresholds are for the sum of both gradients of an image of bytes.
    CannySettings {
        /// What a pixel beside an edge must have to be part of it.
        low_threshold: f64 = 100.0,
        /// What a pixel must have to begin an edge.
        high_threshold: f64 = 200.0,
    }

    /// Settings of `depth`.
    DepthSettings {
        /// The network, as a hub id or a folder.
        model: String = "Intel/dpt-large".to_owned(),
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 512,
    }

    /// Settings of `depth_tensorrt`.
    DepthTensorrtSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 518,
    }

    /// Settings of `external`.
    ExternalSettings {
        /// Refuses images of another size than the stream's.
        validate_input: bool = true,
    }

    /// Settings of `feedback`.
    FeedbackSettings {
        /// How much of the last picture counts.
        feedback_strength: f64 = 0.5,
    }

    /// Settings of `latent_feedback`.
    LatentFeedbackSettings {
        /// How much of the last latent counts; more than 0.4 counts as 0.4.
        feedback_strength: f64 = 0.15,
    }

    /// Settings of `hed`.
    HedSettings {
        /// Changes nothing: the service never passes it on.
        safe: bool = true,
    }

    /// Settings of `lineart`.
    LineartSettings {
        /// The shorter side in pixels at which the network looks.
        detect_resolution: u32 = 512,
        /// Uses the network of coarse lines.
        coarse: bool = true,
        /// Uses the network of drawings.
        anime_style: bool = false,
    }

    /// Settings of `mediapipe_pose`.
    MediapipePoseSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 256,
        /// From which confidence on a person is found.
        min_detection_confidence: f64 = 0.5,
        /// From which confidence on a person is followed.
        min_tracking_confidence: f64 = 0.5,
        /// The size of the network: 0, 1 or 2.
        model_complexity: u32 = 1,
        /// Looks for the person anew in each frame.
        static_image_mode: bool = false,
        /// Draws hands.
        draw_hands: bool = true,
        /// Draws the face.
        draw_face: bool = false,
        /// The thickness of limbs, in pixels.
        line_thickness: u32 = 2,
        /// The radius of joints, in pixels.
        circle_radius: u32 = 4,
        /// From which confidence on a joint is drawn.
        confidence_threshold: f64 = 0.3,
        /// Mixes joints with those of the last frame.
        enable_smoothing: bool = true,
        /// How much the new frame counts in that.
        smoothing_factor: f64 = 0.7,
    }

    /// Settings of `mediapipe_segmentation`.
    MediapipeSegmentationSettings {
        /// The shorter side of the mask, in pixels.
        detect_resolution: u32 = 512,
        /// The network: 0 for any picture, 1 for wide ones.
        model_selection: u32 = 1,
        /// From which value on a pixel is part of the person.
        mask_threshold: f64 = 0.5,
        /// How far the edges of the mask are blurred, in pixels.
        blur_radius: u32 = 0,
        /// Makes the mask that of the background.
        invert_mask: bool = false,
        /// What is given.
        output_mode: MaskOutput = MaskOutput::Binary,
    }

    /// Settings of `openpose`.
    OpenposeSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 512,
    }

    /// Settings of `pose_tensorrt`.
    PoseTensorrtSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 640,
        /// From which confidence on a person is found.
        confidence_threshold: f64 = 0.5,
    }

    /// Settings of `sharpen`.
    SharpenSettings {
        /// How much of what the blur takes away is added.
        sharpen_intensity: f64 = 1.5,
        /// The standard deviation of the blur, in pixels.
        unsharp_radius: f64 = 1.0,
        /// How much edges are brightened.
        edge_enhancement: f64 = 0.5,
        /// How much of the Laplacian is added.
        detail_boost: f64 = 0.3,
        /// How far the frame is blurred first: 0 not, 1 wholly.
        noise_reduction: f64 = 0.1,
        /// Sharpens at half, one and two times the radius.
        multi_scale: bool = true,
    }

    /// Settings of `standard_lineart`.
    StandardLineartSettings {
        /// The shorter side in pixels at which lines are looked for.
        detect_resolution: u32 = 512,
        /// The standard deviation of the blur, in pixels.
        gaussian_sigma: f64 = 6.0,
        /// From which darkness on (of 255) a pixel counts for the typical darkness of a line.
        intensity_threshold: f64 = 8.0,
    }

    /// Settings of `temporal_net_tensorrt`.
    TemporalNetSettings {
        /// What the flow is multiplied by.
        flow_strength: f64 = 1.0,
        /// The height at which flow is worked out, in pixels.
        height: u32 = 512,
        /// The width at which flow is worked out, in pixels.
        width: u32 = 512,
        /// What is given.
        output_format: FlowOutput = FlowOutput::Concat,
    }

    /// Settings of `upscale`.
    UpscaleSettings {
        /// How many times larger the picture gets.
        scale_factor: f64 = 2.0,
        /// How pixels in between are worked out.
        algorithm: UpscaleAlgorithm = UpscaleAlgorithm::Bilinear,
    }
}

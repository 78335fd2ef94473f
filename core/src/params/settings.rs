//! The settings of processors: types, bounds and defaults.

use serde_json::{Map, Value};

use super::allowed::Allowed;
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

/// A parameter of a processor: its name and bounds.
pub(super) type Parameter = (&'static str, Allowed);

/// The settings of a processor.
pub(super) trait Settings {
    /// Names and bounds, in the order of the fields.
    const PARAMETERS: &'static [Parameter];

    /// Returns the defaults, by name.
    fn defaults() -> Map<String, Value>;
}

/// For processors without settings.
pub(super) struct NoSettings;

impl Settings for NoSettings {
    const PARAMETERS: &'static [Parameter] = &[];

    fn defaults() -> Map<String, Value> {
        Map::new()
    }
}

/// Declares settings: each field with its type, default and bounds.
macro_rules! settings {
    ($(
        $(#[$outer:meta])*
        $type:ident { $($(#[$inner:meta])* $field:ident: $kind:ty = $default:expr, $allowed:expr;)+ }
    )+) => {$(
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

        impl Settings for $type {
            const PARAMETERS: &'static [Parameter] = &[$((stringify!($field), $allowed),)+];

            fn defaults() -> Map<String, Value> {
                match serde_json::to_value(Self::default()) {
                    Ok(Value::Object(defaults)) => defaults,
                    _ => Map::new(),
                }
            }
        }
    )+};
}

const FLAG: Allowed = Allowed::Flag;
const UNIT: Allowed = Allowed::Number { min: 0.0, max: 1.0 };
const STRENGTH: Allowed = Allowed::Number { min: 0.0, max: 10.0 };
// The L1 norm of the two Sobel gradients of bytes ends at 2 * 4 * 255.
const GRADIENT: Allowed = Allowed::Number { min: 0.0, max: 2040.0 };
const PEN: Allowed = Allowed::Integer { min: 1, max: 64, step: 1 };
pub(super) const PIXELS: Allowed = Allowed::Integer { min: 16, max: 4096, step: 1 };
pub(super) const PATH: Allowed = Allowed::Text { min: 0, max: 4096 };

settings! {
    /// Settings of `blur`.
    BlurSettings {
        /// The standard deviation, in pixels.
        blur_intensity: f64 = 2.0, Allowed::Number { min: 0.0, max: 100.0 };
        /// The side of the kernel in pixels; an even one counts as the next odd one.
        kernel_size: u32 = 15, Allowed::Integer { min: 1, max: 255, step: 1 };
    }

    /// Settings of `canny`; thresholds are for the sum of both gradients of an image of bytes.
    CannySettings {
        /// What a pixel beside an edge must have to be part of it.
        low_threshold: f64 = 100.0, GRADIENT;
        /// What a pixel must have to begin an edge.
        high_threshold: f64 = 200.0, GRADIENT;
    }

    /// Settings of `depth`.
    DepthSettings {
        /// The network, as a hub id or a folder.
        model: String = "Intel/dpt-large".to_owned(), PATH;
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 512, PIXELS;
    }

    /// Settings of `depth_tensorrt`.
    DepthTensorrtSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 518, PIXELS;
    }

    /// Settings of `external`.
    ExternalSettings {
        /// Refuses images of another size than the stream's.
        validate_input: bool = true, FLAG;
    }

    /// Settings of `feedback`.
    FeedbackSettings {
        /// How much of the last picture counts.
        feedback_strength: f64 = 0.5, UNIT;
    }

    /// Settings of `latent_feedback`.
    LatentFeedbackSettings {
        /// How much of the last latent counts; more than 0.4 counts as 0.4.
        feedback_strength: f64 = 0.15, UNIT;
    }

    /// Settings of `hed`.
    HedSettings {
        /// Changes nothing: the service never passes it on.
        safe: bool = true, FLAG;
    }

    /// Settings of `lineart`.
    LineartSettings {
        /// The shorter side in pixels at which the network looks.
        detect_resolution: u32 = 512, PIXELS;
        /// Uses the network of coarse lines.
        coarse: bool = true, FLAG;
        /// Uses the network of drawings.
        anime_style: bool = false, FLAG;
    }

    /// Settings of `mediapipe_pose`.
    MediapipePoseSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 256, PIXELS;
        /// From which confidence on a person is found.
        min_detection_confidence: f64 = 0.5, UNIT;
        /// From which confidence on a person is followed.
        min_tracking_confidence: f64 = 0.5, UNIT;
        /// The size of the network: 0, 1 or 2.
        model_complexity: u32 = 1, Allowed::Integer { min: 0, max: 2, step: 1 };
        /// Looks for the person anew in each frame.
        static_image_mode: bool = false, FLAG;
        /// Draws hands.
        draw_hands: bool = true, FLAG;
        /// Draws the face.
        draw_face: bool = false, FLAG;
        /// The thickness of limbs, in pixels.
        line_thickness: u32 = 2, PEN;
        /// The radius of joints, in pixels.
        circle_radius: u32 = 4, PEN;
        /// From which confidence on a joint is drawn.
        confidence_threshold: f64 = 0.3, UNIT;
        /// Mixes joints with those of the last frame.
        enable_smoothing: bool = true, FLAG;
        /// How much the new frame counts in that.
        smoothing_factor: f64 = 0.7, UNIT;
    }

    /// Settings of `mediapipe_segmentation`.
    MediapipeSegmentationSettings {
        /// The shorter side of the mask, in pixels.
        detect_resolution: u32 = 512, PIXELS;
        /// The network: 0 for any picture, 1 for wide ones.
        model_selection: u32 = 1, Allowed::Integer { min: 0, max: 1, step: 1 };
        /// From which value on a pixel is part of the person.
        mask_threshold: f64 = 0.5, UNIT;
        /// How far the edges of the mask are blurred, in pixels.
        blur_radius: u32 = 0, Allowed::Integer { min: 0, max: 255, step: 1 };
        /// Makes the mask that of the background.
        invert_mask: bool = false, FLAG;
        /// What is given.
        output_mode: MaskOutput = MaskOutput::Binary, Allowed::Choice(MaskOutput::NAMES);
    }

    /// Settings of `openpose`.
    OpenposeSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 512, PIXELS;
    }

    /// Settings of `pose_tensorrt`.
    PoseTensorrtSettings {
        /// The side in pixels at which the network looks.
        detect_resolution: u32 = 640, PIXELS;
        /// From which confidence on a person is found.
        confidence_threshold: f64 = 0.5, UNIT;
    }

    /// Settings of `sharpen`.
    SharpenSettings {
        /// How much of what the blur takes away is added.
        sharpen_intensity: f64 = 1.5, STRENGTH;
        /// The standard deviation of the blur, in pixels.
        unsharp_radius: f64 = 1.0, Allowed::Number { min: 0.1, max: 50.0 };
        /// How much edges are brightened.
        edge_enhancement: f64 = 0.5, STRENGTH;
        /// How much of the Laplacian is added.
        detail_boost: f64 = 0.3, STRENGTH;
        /// How far the frame is blurred first: 0 not, 1 wholly.
        noise_reduction: f64 = 0.1, UNIT;
        /// Sharpens at half, one and two times the radius.
        multi_scale: bool = true, FLAG;
    }

    /// Settings of `standard_lineart`.
    StandardLineartSettings {
        /// The shorter side in pixels at which lines are looked for.
        detect_resolution: u32 = 512, PIXELS;
        /// The standard deviation of the blur, in pixels.
        gaussian_sigma: f64 = 6.0, Allowed::Number { min: 0.1, max: 100.0 };
        /// From which darkness on (of 255) a pixel counts for the typical darkness of a line.
        intensity_threshold: f64 = 8.0, Allowed::Number { min: 0.0, max: 255.0 };
    }

    /// Settings of `temporal_net_tensorrt`.
    TemporalNetSettings {
        /// What the flow is multiplied by.
        flow_strength: f64 = 1.0, Allowed::Number { min: 0.0, max: 2.0 };
        /// The height at which flow is worked out, in pixels.
        height: u32 = 512, PIXELS;
        /// The width at which flow is worked out, in pixels.
        width: u32 = 512, PIXELS;
        /// What is given.
        output_format: FlowOutput = FlowOutput::Concat, Allowed::Choice(FlowOutput::NAMES);
    }

    /// Settings of `upscale`.
    UpscaleSettings {
        /// How many times larger the picture gets.
        scale_factor: f64 = 2.0, Allowed::Number { min: 1.0, max: 8.0 };
        /// How pixels in between are worked out.
        algorithm: UpscaleAlgorithm = UpscaleAlgorithm::Bilinear, Allowed::Choice(UpscaleAlgorithm::NAMES);
    }
}

//! The settings of processors: types, bounds and defaults.

use serde_json::{Map, Value};

use super::constraint::Constraint;
use super::names::named_enum;

named_enum! {
    /// The interpolation of `upscale`.
    pub enum UpscaleAlgorithm {
        /// Bilinear.
        Bilinear = "bilinear",
        /// Lanczos, over six pixels in each direction; the service runs `bicubic` in its place.
        Lanczos = "lanczos",
        /// Bicubic, over four pixels in each direction.
        Bicubic = "bicubic",
        /// Nearest neighbour.
        Nearest = "nearest",
    }
}

named_enum! {
    /// The output of `mediapipe_segmentation`.
    pub enum MaskOutput {
        /// The mask, black and white.
        Binary = "binary",
        /// The person on black.
        Alpha = "alpha",
        /// The background, with the person in black.
        Background = "background",
    }
}

named_enum! {
    /// The output of `temporal_net_tensorrt`.
    pub enum FlowOutput {
        /// The previous frame and the flow as a picture, in six channels.
        Concat = "concat",
        /// The previous frame, warped by the flow.
        WarpedOnly = "warped_only",
    }
}

/// Reads a setting from JSON.
trait Setting: Sized {
    /// Returns the value, if it is of this type.
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

/// Implements [`Setting`] for enums.
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
pub(super) type Parameter = (&'static str, Constraint);

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
        $type:ident { $($(#[$inner:meta])* $field:ident: $kind:ty = $default:expr, $constraint:expr;)+ }
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
            /// Reads the settings from checked values; those that are missing have their defaults.
            pub fn read(values: &Map<String, Value>) -> Self {
                Self { $($field: values.get(stringify!($field)).and_then(Setting::read).unwrap_or_else(|| $default),)+ }
            }
        }

        impl Settings for $type {
            const PARAMETERS: &'static [Parameter] = &[$((stringify!($field), $constraint),)+];

            fn defaults() -> Map<String, Value> {
                match serde_json::to_value(Self::default()) {
                    Ok(Value::Object(defaults)) => defaults,
                    _ => Map::new(),
                }
            }
        }
    )+};
}

const FLAG: Constraint = Constraint::Flag;
const UNIT: Constraint = Constraint::Number { min: 0.0, max: 1.0 };
const STRENGTH: Constraint = Constraint::Number { min: 0.0, max: 10.0 };
// The maximum of the L1 norm of the two Sobel gradients of bytes is 2 * 4 * 255.
const GRADIENT: Constraint = Constraint::Number { min: 0.0, max: 2040.0 };
const PEN: Constraint = Constraint::Integer { min: 1, max: 64, step: 1 };
pub(super) const PIXELS: Constraint = Constraint::Integer { min: 16, max: 4096, step: 1 };
pub(super) const PATH: Constraint = Constraint::Text { min: 0, max: 4096 };

/// The service's network for `depth`.
pub(super) const DPT: &str = "Intel/dpt-large";

settings! {
    /// Settings of `blur`.
    BlurSettings {
        /// The standard deviation, in pixels.
        blur_intensity: f64 = 2.0, Constraint::Number { min: 0.0, max: 100.0 };
        /// The side of the kernel in pixels; an even one counts as the next odd one.
        kernel_size: u32 = 15, Constraint::Integer { min: 1, max: 255, step: 1 };
    }

    /// Settings of `canny`; thresholds are for the sum of both gradients of an image of bytes.
    CannySettings {
        /// The gradient from which a pixel next to an edge is part of it.
        low_threshold: f64 = 100.0, GRADIENT;
        /// The gradient from which a pixel starts an edge.
        high_threshold: f64 = 200.0, GRADIENT;
    }

    /// Settings of `depth`.
    DepthSettings {
        /// The network, as a hub id or a folder; the default is the service's, and means Depth Anything V2.
        model: String = DPT.to_owned(), PATH;
        /// The shorter side of the network's input, in pixels.
        detect_resolution: u32 = 512, PIXELS;
    }

    /// Settings of `depth_tensorrt`.
    DepthTensorrtSettings {
        /// The shorter side of the network's input, in pixels.
        detect_resolution: u32 = 518, PIXELS;
    }

    /// Settings of `external`.
    ExternalSettings {
        /// Whether an input of another size than the stream's is refused while the host has given no image.
        validate_input: bool = true, FLAG;
    }

    /// Settings of `feedback`.
    FeedbackSettings {
        /// The weight of the previous picture.
        feedback_strength: f64 = 0.5, UNIT;
    }

    /// Settings of `latent_feedback`.
    LatentFeedbackSettings {
        /// The weight of the previous latent; limited to 0.4.
        feedback_strength: f64 = 0.15, UNIT;
    }

    /// Settings of `hed`.
    HedSettings {
        /// Whether edges have three values: 0, 0.5 and 1. The service's default is true, but it has no effect there.
        safe: bool = false, FLAG;
    }

    /// Settings of `lineart`.
    LineartSettings {
        /// The shorter side of the network's input, in pixels.
        detect_resolution: u32 = 512, PIXELS;
        /// Whether the network of coarse lines runs; no effect with `anime_style`.
        coarse: bool = true, FLAG;
        /// Whether the network of anime drawings runs.
        anime_style: bool = false, FLAG;
    }

    /// Settings of `mediapipe_pose`.
    MediapipePoseSettings {
        /// The shorter side of the drawing, in pixels.
        detect_resolution: u32 = 256, PIXELS;
        /// The confidence from which a person is detected.
        min_detection_confidence: f64 = 0.5, UNIT;
        /// The confidence from which a person is tracked.
        min_tracking_confidence: f64 = 0.5, UNIT;
        /// The size of the service's network: 0, 1 or 2; no effect, since the network has one size.
        model_complexity: u32 = 1, Constraint::Integer { min: 0, max: 2, step: 1 };
        /// Detects the person in each frame, without tracking.
        static_image_mode: bool = false, FLAG;
        /// Whether hands are drawn; no effect, since they are not detected. The service's default is true.
        draw_hands: bool = false, FLAG;
        /// Whether the face is drawn; no effect, since only nose, eyes and ears are detected, which are always drawn.
        draw_face: bool = false, FLAG;
        /// The thickness of limbs, in pixels.
        line_thickness: u32 = 2, PEN;
        /// The radius of joints, in pixels.
        circle_radius: u32 = 4, PEN;
        /// The confidence from which a joint is drawn.
        confidence_threshold: f64 = 0.3, UNIT;
        /// Smooths joints over frames.
        enable_smoothing: bool = true, FLAG;
        /// The weight of the new frame in smoothing.
        smoothing_factor: f64 = 0.7, UNIT;
    }

    /// Settings of `mediapipe_segmentation`.
    MediapipeSegmentationSettings {
        /// The shorter side of the mask, in pixels.
        detect_resolution: u32 = 512, PIXELS;
        /// The network: 0 for any picture, 1 for wide ones.
        model_selection: u32 = 1, Constraint::Integer { min: 0, max: 1, step: 1 };
        /// The value from which a pixel is part of the person.
        mask_threshold: f64 = 0.5, UNIT;
        /// The radius of the blur of the mask, in pixels.
        blur_radius: u32 = 0, Constraint::Integer { min: 0, max: 255, step: 1 };
        /// Inverts the mask.
        invert_mask: bool = false, FLAG;
        /// The output.
        output_mode: MaskOutput = MaskOutput::Binary, Constraint::Choice(MaskOutput::NAMES);
    }

    /// Settings of `openpose`.
    OpenposeSettings {
        /// The shorter side of the drawing, in pixels.
        detect_resolution: u32 = 512, PIXELS;
    }

    /// Settings of `pose_tensorrt`.
    PoseTensorrtSettings {
        /// The shorter side of the drawing, in pixels.
        detect_resolution: u32 = 640, PIXELS;
        /// The confidence from which a joint is drawn.
        confidence_threshold: f64 = 0.5, UNIT;
    }

    /// Settings of `sharpen`.
    SharpenSettings {
        /// The weight of the unsharp mask.
        sharpen_intensity: f64 = 1.5, STRENGTH;
        /// The standard deviation of the blur, in pixels.
        unsharp_radius: f64 = 1.0, Constraint::Number { min: 0.1, max: 50.0 };
        /// The weight of edges, which are brightened.
        edge_enhancement: f64 = 0.5, STRENGTH;
        /// The weight of the Laplacian.
        detail_boost: f64 = 0.3, STRENGTH;
        /// The weight of the blurred frame in the input, from 0 to 1.
        noise_reduction: f64 = 0.1, UNIT;
        /// Whether it sharpens at half, one and two times the radius.
        multi_scale: bool = true, FLAG;
    }

    /// Settings of `standard_lineart`.
    StandardLineartSettings {
        /// The shorter side at which lines are detected, in pixels.
        detect_resolution: u32 = 512, PIXELS;
        /// The standard deviation of the blur, in pixels.
        gaussian_sigma: f64 = 6.0, Constraint::Number { min: 0.1, max: 100.0 };
        /// The darkness (0 to 255) from which a pixel counts for the typical darkness of lines.
        intensity_threshold: f64 = 8.0, Constraint::Number { min: 0.0, max: 255.0 };
    }

    /// Settings of `temporal_net_tensorrt`.
    TemporalNetSettings {
        /// The factor of the flow; with `concat`, only 0 has an effect.
        flow_strength: f64 = 1.0, Constraint::Number { min: 0.0, max: 2.0 };
        /// The height at which the flow is computed, in pixels.
        height: u32 = 512, PIXELS;
        /// The width at which the flow is computed, in pixels.
        width: u32 = 512, PIXELS;
        /// The output.
        output_format: FlowOutput = FlowOutput::Concat, Constraint::Choice(FlowOutput::NAMES);
    }

    /// Settings of `upscale`.
    UpscaleSettings {
        /// The factor of the width and of the height.
        scale_factor: f64 = 2.0, Constraint::Number { min: 1.0, max: 8.0 };
        /// The interpolation.
        algorithm: UpscaleAlgorithm = UpscaleAlgorithm::Bilinear, Constraint::Choice(UpscaleAlgorithm::NAMES);
    }
}

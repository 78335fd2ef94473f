//! Poses: MoveNet detects the joints of one person, which are drawn as a control image.

mod decode;
mod draw;
mod skeleton;

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use self::decode::{Joint, Joints, decode};
use self::draw::Canvas;
use super::network_runner::{Loaded, Running};
use super::resize::{Interpolation, Resizer, with_shorter_side};
use super::{Context, Factory, Image, Preprocessor, rgb};
use crate::error::Result;
use crate::exec::Executor;
use crate::models::annotators::POSE_SIDE;
use crate::params::{MediapipePoseSettings, OpenposeSettings, PoseTensorrtSettings};

/// The minimum score of a joint for `openpose`, which has no setting for it.
const OPENPOSE_THRESHOLD: f32 = 0.3;

/// The drawing style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PoseStyle {
    /// OpenPose's colours, as `openpose`.
    Openpose,
    /// OpenPose's colours with a pen of any size and joints that move smoothly, as `mediapipe_pose`.
    Mediapipe,
    /// The service's colours, as `pose_tensorrt`.
    Service,
}

/// Starts processors that draw poses.
pub(super) struct PoseFactory {
    loaded: Arc<Loaded>,
    style: PoseStyle,
}

impl fmt::Debug for PoseFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoseFactory").field("style", &self.style).finish_non_exhaustive()
    }
}

impl PoseFactory {
    /// Compiles MoveNet.
    ///
    /// # Errors
    ///
    /// `Unsupported` if it is not built in, and those of the executor.
    #[cfg(feature = "pose")]
    pub(super) fn load(executor: &dyn Executor, style: PoseStyle) -> Result<Self> {
        use crate::load::WeightFiles;
        use crate::models::annotators::movenet_program;

        let weights = Arc::new(WeightFiles::embedded("movenet/model.safetensors")?);
        Ok(Self { loaded: Arc::new(Loaded::new(executor, movenet_program()?, weights)?), style })
    }

    #[cfg(not(feature = "pose"))]
    pub(super) fn load(_: &dyn Executor, _: PoseStyle) -> Result<Self> {
        let text = "the pose network is not built in: build with the feature `pose`";
        Err(crate::error::Error::new(crate::error::ErrorKind::Unsupported, text))
    }
}

impl Factory for PoseFactory {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(self.pose(settings))
    }
}

impl PoseFactory {
    fn pose(&self, settings: &Map<String, Value>) -> Pose {
        Pose {
            running: Running::new(self.loaded.clone()),
            style: self.style,
            settings: Settings::read(self.style, settings),
            last: None,
            resizer: Resizer::default(),
            resized: Image::new(),
            square: vec![0.0; POSE_SIDE * POSE_SIDE * 3],
            canvas: Canvas::default(),
        }
    }
}

/// The settings of the three processors.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    /// The shorter side of the canvas, in pixels.
    side: usize,
    /// The minimum score of a joint.
    threshold: f32,
    /// Half of a limb's width, in pixels.
    limb: f32,
    /// The radius of a joint, in pixels.
    joint: f32,
    /// The minimum score of the best joint of a person: without and with a person in the previous frame.
    person: [f32; 2],
    /// The weight of a new frame.
    smoothing: f32,
}

impl Settings {
    /// `draw_hands`, `draw_face` and `model_complexity` have no effect: MoveNet has one size, no hands, and only joints
    /// of the face. `params::notices` says so.
    fn read(style: PoseStyle, settings: &Map<String, Value>) -> Self {
        let plain = Self { side: 0, threshold: 0.0, limb: 4.0, joint: 4.0, person: [0.0; 2], smoothing: 1.0 };
        match style {
            PoseStyle::Openpose => {
                let OpenposeSettings { detect_resolution } = OpenposeSettings::read(settings);
                Self { side: detect_resolution as usize, threshold: OPENPOSE_THRESHOLD, ..plain }
            }
            PoseStyle::Service => {
                let PoseTensorrtSettings { detect_resolution, confidence_threshold } =
                    PoseTensorrtSettings::read(settings);
                let threshold = confidence_threshold as f32;
                Self { side: detect_resolution as usize, threshold, limb: 5.0, joint: 10.0, ..plain }
            }
            PoseStyle::Mediapipe => {
                let read = MediapipePoseSettings::read(settings);
                let detection = read.min_detection_confidence as f32;
                let tracking = if read.static_image_mode { detection } else { read.min_tracking_confidence as f32 };
                let smooth = read.enable_smoothing && !read.static_image_mode;
                Self {
                    side: read.detect_resolution as usize,
                    threshold: read.confidence_threshold as f32,
                    limb: read.line_thickness as f32 / 2.0,
                    joint: read.circle_radius as f32,
                    person: [detection, tracking],
                    smoothing: if smooth { read.smoothing_factor as f32 } else { 1.0 },
                }
            }
        }
    }
}

struct Pose {
    running: Running,
    style: PoseStyle,
    settings: Settings,
    /// The joints of the last frame, if it had a person.
    last: Option<Joints>,
    resizer: Resizer,
    resized: Image,
    /// The input of the network: the frame, centred in a black square.
    square: Vec<f32>,
    canvas: Canvas,
}

impl fmt::Debug for Pose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pose").field("style", &self.style).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Preprocessor for Pose {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        rgb(input)?;
        let found = self.joints(input)?;
        let needed = self.settings.person[usize::from(self.last.is_some())];
        let best = found.iter().map(|joint| joint.score).fold(0.0, f32::max);
        self.last = (best >= needed).then(|| match self.last {
            Some(last) => smoothed(last, found, self.settings.smoothing),
            None => found,
        });
        let size = with_shorter_side((input.width(), input.height()), self.settings.side);
        self.canvas.clear(size);
        if let Some(joints) = &self.last {
            let Settings { threshold, limb, joint, .. } = self.settings;
            match self.style {
                PoseStyle::Openpose => {
                    skeleton::openpose(&mut self.canvas, joints, threshold, skeleton::Limbs::Ellipses, [limb, joint])
                }
                PoseStyle::Mediapipe => {
                    skeleton::openpose(&mut self.canvas, joints, threshold, skeleton::Limbs::Lines, [limb, joint])
                }
                PoseStyle::Service => skeleton::service(&mut self.canvas, joints, threshold, [limb, joint]),
            }
        }
        self.canvas.show(output);
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = Settings::read(self.style, settings);
    }

    fn reset(&mut self) {
        self.last = None;
    }

    fn evaluations(&self) -> u64 {
        self.running.evaluations()
    }
}

impl Pose {
    /// Returns the joints in `input`, in fractions of its height and width.
    fn joints(&mut self, input: &Image) -> Result<Joints> {
        let (width, height) = within((input.width(), input.height()), POSE_SIDE);
        let how = if width < input.width() { Interpolation::Area } else { Interpolation::Bilinear };
        self.resizer.resize(how, input, (width, height), &mut self.resized);
        let (left, top) = ((POSE_SIDE - width) / 2, (POSE_SIDE - height) / 2);
        self.square.fill(0.0);
        let lines = self.square.chunks_exact_mut(POSE_SIDE * 3).skip(top);
        for (line, from) in lines.zip(self.resized.pixels().chunks_exact(width * 3)) {
            if let Some(line) = line.get_mut(left * 3..(left + width) * 3) {
                line.copy_from_slice(from);
            }
        }
        let outputs = self.running.run(&self.square)?;
        let mut joints = decode(outputs);
        let share = |x: f32, before: usize, size: usize| (x * POSE_SIDE as f32 - before as f32) / size as f32;
        for joint in &mut joints {
            (joint.y, joint.x) = (share(joint.y, top, height), share(joint.x, left, width));
        }
        Ok(joints)
    }
}

/// Returns the new joints, blended with the last ones.
fn smoothed(last: Joints, new: Joints, amount: f32) -> Joints {
    let mut joints = new;
    for (joint, last) in joints.iter_mut().zip(last) {
        let mix = |new: f32, last: f32| last + (new - last) * amount;
        *joint = Joint { y: mix(joint.y, last.y), x: mix(joint.x, last.x), score: joint.score };
    }
    joints
}

/// Returns the size scaled to a longer side of `side`.
fn within((width, height): (usize, usize), side: usize) -> (usize, usize) {
    let scale = side as f64 / width.max(height).max(1) as f64;
    let scaled = |x: usize| ((x as f64 * scale).round() as usize).clamp(1, side);
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::annotators::{JOINTS, movenet_program};
    use crate::preprocess::network_runner::tests::random;

    fn start(style: PoseStyle, settings: Value) -> Box<dyn Preprocessor> {
        let factory = PoseFactory { loaded: random(movenet_program().unwrap()), style };
        factory.start(settings.as_object().unwrap())
    }

    #[test]
    fn the_canvas_has_the_frame_s_aspect_ratio_and_the_configured_shorter_side() {
        let frame = Image::from_pixels(40, 20, 3, vec![0.5; 40 * 20 * 3]).unwrap();
        let mut output = Image::new();
        let settings = serde_json::json!({"detect_resolution": 64, "confidence_threshold": 1.0});
        start(PoseStyle::Service, settings).run(&frame, &Context::default(), &mut output).unwrap();
        assert_eq!((output.width(), output.height(), output.channels()), (128, 64, 3));
    }

    #[test]
    fn invalid_frames_are_rejected() {
        let mut pose = start(PoseStyle::Service, serde_json::json!({}));
        let mut output = Image::new();
        for image in [Image::new(), Image::from_pixels(2, 2, 4, vec![0.0; 16]).unwrap()] {
            assert!(pose.run(&image, &Context::default(), &mut output).is_err());
        }
    }

    /// Returns the values of a reference file, in half or single precision.
    #[cfg(feature = "pose")]
    fn golden(name: &str) -> Vec<f32> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/annotators/golden.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        if tensor.dtype() == safetensors::Dtype::F16 {
            return tensor.data().as_chunks().0.iter().map(|&two| half::f16::from_le_bytes(two).to_f32()).collect();
        }
        tensor.data().as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
    }

    #[cfg(feature = "pose")]
    #[test]
    fn joints_match_the_published_graph() {
        use crate::exec::Dtype;
        use crate::exec::cpu::{CpuExecutor, CpuOptions};
        use crate::exec::reference::ReferenceExecutor;

        let (small, expected) = (golden("pose.picture"), golden("pose.joints"));
        // The reference data was computed with pixels doubled in both directions.
        let pixels = (0..192 * 192).flat_map(|i| {
            let at = (i / 192 / 2 * 96 + i % 192 / 2) * 3;
            [small[at], small[at + 1], small[at + 2]]
        });
        let frame = Image::from_pixels(192, 192, 3, pixels.collect()).unwrap();
        let cpu = CpuExecutor::new(CpuOptions { dtype: Dtype::F32, pin: false, ..CpuOptions::default() }).unwrap();
        for executor in [&ReferenceExecutor as &dyn Executor, &cpu] {
            let factory = PoseFactory::load(executor, PoseStyle::Openpose).unwrap();
            let mut pose = factory.pose(&Map::new());
            let found = pose.joints(&frame).unwrap();
            for (i, (joint, expected)) in found.iter().zip(expected.as_chunks::<3>().0).enumerate() {
                // Joints outside the picture are unreliable.
                let close = expected[2] > 0.2;
                let apart = (joint.y - expected[0]).hypot(joint.x - expected[1]);
                assert!(!close || apart < 2e-3, "joint {i}: {joint:?} for {expected:?}");
                assert!((joint.score - expected[2]).abs() < 2e-3, "joint {i}: {joint:?} for {expected:?}");
            }
            // The picture, and the centre of a wide one.
            let mut wide = vec![0.0; 384 * 192 * 3];
            for (to, from) in wide.chunks_exact_mut(384 * 3).zip(frame.pixels().chunks_exact(192 * 3)) {
                to[96 * 3..][..192 * 3].copy_from_slice(from);
            }
            let found = pose.joints(&Image::from_pixels(384, 192, 3, wide).unwrap()).unwrap();
            let shoulders = [5, 6].map(|i| (found[i].x - (0.25 + expected[3 * i + 1] / 2.0)).abs());
            assert!(shoulders.iter().all(|apart| *apart < 0.03), "{found:?}");
        }
    }

    #[test]
    fn smoothing_blends_joints_by_the_setting() {
        let (last, new) = ([Joint::default(); JOINTS], [Joint { y: 1.0, x: 0.5, score: 0.9 }; JOINTS]);
        let joint = smoothed(last, new, 0.75)[3];
        assert_eq!(joint, Joint { y: 0.75, x: 0.375, score: 0.9 });
    }
}

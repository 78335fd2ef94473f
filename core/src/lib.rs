//! Real-time diffusion as a library: a video frame goes in, a restyled picture comes out, many times per second.
//!
//! The algorithm is StreamDiffusion: successive frames are at different denoising steps of one UNet batch, so that each
//! frame costs one UNet pass. Networks run on the library's own executor; no Python is needed. A small demo model is
//! embedded, so that the examples below run without a download; [`ModelSource`] loads Stable Diffusion checkpoints.
//!
//! # The frame loop
//!
//! An [`Engine`] processes frames on the caller's thread. A [`FrameView`] borrows the host's pixels, of any size and of
//! the formats of [`PixelFormat`]; the [`Picture`] has the size of the parameters.
//!
//! ```
//! use dreamframe::{Engine, FrameView, PixelFormat};
//!
//! # fn main() -> dreamframe::Result<()> {
//! let mut engine = Engine::builder().build()?;
//! let pixels = vec![127_u8; 640 * 360 * 4];
//! let frame = FrameView::packed(PixelFormat::Rgba8, 640, 360, &pixels)?;
//! let picture = engine.process(&frame)?;
//! assert_eq!((picture.frame.width(), picture.frame.height()), (512, 512));
//! assert_eq!(picture.frame.pixels().len(), 512 * 512 * 4);
//! # Ok(())
//! # }
//! ```
//!
//! # Updates
//!
//! All of [`StreamDiffusionParams`] can change between two frames. A [`ParamsPatch`] names the parameters to change; it
//! is applied as a whole or, on an error, not at all. Each change has a [`Cost`]: numbers cost nothing, a prompt is
//! encoded, a size or a model is compiled or loaded.
//!
//! ```
//! use dreamframe::{Cost, Engine, ErrorKind, ParamsPatch};
//!
//! # fn main() -> dreamframe::Result<()> {
//! let mut engine = Engine::builder().build()?;
//! let patch = ParamsPatch::from_json(r#"{"prompt": "moonlit night", "delta": 0.9}"#)?;
//! let update = engine.update(&patch)?;
//! assert_eq!((update.changes.len(), update.cost), (2, Some(Cost::Recompute)));
//! // A typed edit does the same.
//! engine.edit(|params| params.guidance_scale = 1.2)?;
//! // Invalid values are rejected with all violations, and change nothing.
//! let error = engine.edit(|params| params.delta = -1.0).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::InvalidParams);
//! assert_eq!(engine.params().delta, 0.9);
//! # Ok(())
//! # }
//! ```
//!
//! [`Engine::update`] builds what an update needs on the caller's thread, and a session on threads of its own. A host
//! with other threads divides it: [`Engine::plan`] checks a patch, [`Plan::prepare`] builds on any thread, and
//! [`Engine::apply`] swaps between two frames.
//!
//! # Sessions
//!
//! A host that must not wait moves the engine to a thread of its own. A [`SessionHandle`] submits frames, returns the
//! newest picture and accepts updates at once; what an update needs is loaded while pictures continue with the old
//! parameters.
//!
//! ```
//! use std::time::Duration;
//!
//! use dreamframe::{Engine, Event, FrameView, ParamsPatch, PixelFormat, SessionOptions};
//!
//! # fn main() -> dreamframe::Result<()> {
//! let session = Engine::builder().build()?.start(SessionOptions::default())?;
//! let handle = session.handle();
//! let ticket = handle.update(&ParamsPatch::from_json(r#"{"prompt": "moonlit night"}"#)?)?;
//! handle.wait_for(&ticket, Duration::from_secs(60))?;
//! assert!(handle.events().try_iter().any(|event| matches!(event, Event::UpdateApplied { .. })));
//!
//! let pixels = vec![127_u8; 512 * 512 * 3];
//! let id = handle.submit(&FrameView::packed(PixelFormat::Rgb8, 512, 512, &pixels)?)?;
//! let picture = handle.wait(Duration::from_secs(60)).expect("a picture within a minute");
//! assert_eq!((picture.source_id, picture.version), (id, ticket.version));
//! session.stop(Duration::from_secs(60))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `demo-model` | yes | the embedded demo model with its ControlNets, LoRA and IP-Adapter (10 MB) |
//! | `clip-tokenizer` | yes | the tokenizer of checkpoints in a single file, which contain none |
//! | `edges` | yes | the embedded edge detector of the preprocessor `hed` |
//! | `pose` | no | the embedded pose network of the preprocessors `openpose`, `mediapipe_pose` and `pose_tensorrt` |
//! | `segmentation` | no | the embedded networks of the preprocessor `mediapipe_segmentation` |
//! | `safety` | no | the embedded classifier of the safety checker |
//! | `hub` | no | downloads from the Hugging Face hub |
//! | `whip` | no | frames in over WebRTC: server and client |
//! | `whep` | no | pictures out over WebRTC: server and client |
//! | `vp8` | no | the video codec VP8, by the system's libvpx 1.8 or newer |
//! | `onnx` | no | networks on ONNX Runtime, a library that is loaded at run time: [`ExecutorKind::Onnx`] |
//! | `reference` | no | the slow reference executor on candle, for comparisons |

pub mod cpu;
mod error;
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, reason = "public for the feature `internals`"))]
mod families;
mod features;
pub mod frame;
pub mod load;
pub mod params;
pub mod preprocess;
pub mod telemetry;

// The inside. `internals` opens it to this repository's tests, benches and fuzzers, with no promise; what the program
// and the bindings use is public without it.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod conditioning;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod conditioning;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod control;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod control;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod exec;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod exec;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod filter;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod filter;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod models;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod models;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod net;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod net;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod schedule;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod schedule;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod stream;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, unused_imports, reason = "public for the feature `internals`")]
mod stream;

mod engine;
mod interpolation;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod recommend;
#[cfg(not(feature = "internals"))]
mod recommend;
mod session;
mod setters;
mod simd;
mod sync;
mod system;
#[cfg(feature = "transport")]
pub mod transport;
#[cfg(any(feature = "hub", feature = "transport"))]
mod web;

pub use conditioning::style::{face_data_uri, style_data_uri, style_pixels_uri};
pub use conditioning::transition::{Keyframe, Transition, keyframe_schedule};
#[cfg(feature = "hub")]
pub use engine::FetchedModel;
pub use engine::verify::{
    ComponentReport, checkpoint_footprint, controlnet_footprint, family_name, interpolation_footprint,
    region_reuse_footprint, verify_checkpoint,
};
pub use engine::{
    BatchStreams, Batching, ControlImages, Device, Dtype, Engine, EngineBuilder, EngineOptions, ExecutorKind, Flagged,
    LoraMode, OnnxOptions, Picture, PictureInfo, PictureKind, Plan, Prepared, Progress, Provider, RegionReuse,
    SafetyChecker, Snapshot, StyleImages, Update, Vae, Workbench,
};
#[cfg(feature = "onnx")]
pub use engine::{OnnxReport, ProviderReport};
pub use error::{Error, ErrorKind, Result, Violation};
pub use features::FEATURES;
#[doc(inline)]
pub use frame::{Frame, FrameId, FrameView, FrameViewMut, Origin, PixelFormat, Stamp, Timestamp};
#[doc(inline)]
pub use load::{ModelSource, PackedCache};
#[doc(inline)]
pub use params::{CfgType, Cost, Notice, ParamsPatch, Scheduler, StreamDiffusionParams, TimestepSpacing};
pub use recommend::{MachineSpeed, Rates, Recommendation, recommend};
pub use session::{
    Event, Events, FailedFrame, Outcome, PictureCallback, Session, SessionHandle, SessionOptions, Stage, Stats, Ticket,
};
pub use stream::noise::Generator;

/// Compiles the Rust code of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

//! dreamframe: a frame goes in, a restyled picture comes out, many times a second.

mod error;
mod features;
pub mod frame;
pub mod load;
pub mod params;
pub mod preprocess;
pub mod telemetry;

// The inside. `internals` opens it to this repository's tests, benches and fuzzers, with no promise.
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
mod session;
mod simd;
mod sync;
#[cfg(feature = "transport")]
pub mod transport;
#[cfg(any(feature = "hub", feature = "transport"))]
mod web;

pub use conditioning::style::style_data_uri;
pub use conditioning::transition::{Keyframe, Transition, travel};
pub use engine::{
    ControlImages, Dtype, Engine, EngineBuilder, EngineOptions, ExecutorKind, Flagged, Picture, PictureInfo,
    PictureKind, Plan, Prepared, Progress, SafetyChecker, Snapshot, StyleImages, Update, Workbench,
};
pub use error::{Error, ErrorKind, Result, Violation};
pub use features::FEATURES;
pub use frame::{Frame, FrameId, FrameView, FrameViewMut, Origin, PixelFormat, Stamp, Timestamp};
pub use load::{ModelSource, PackedCache};
pub use params::{Cost, Notice, ParamsPatch, StreamDiffusionParams};
pub use session::{
    Event, Events, FailedFrame, Outcome, PictureCallback, Session, SessionHandle, SessionOptions, Stage, Stats, Ticket,
};
pub use stream::CfgType;
pub use stream::noise::Generator;

//! Networks that processors use: what sees edges, lines, depth, poses and people, and what enlarges pictures.
//!
//! Each has a function that writes its program for images of one size, over weights by the names that published files
//! have; where a program needs weights in another form, a function beside it wraps the file ([`Derived`]).

mod depth;
mod derived;
mod edges;
mod lineart;
mod movenet;
mod segmentation;
mod upscaler;

pub use depth::{DepthConfig, PATCH, depth_program, depth_weights};
pub use derived::Derived;
pub use edges::{hed_mean, hed_program, tin_program};
pub use lineart::{lineart_program, lineart_weights};
pub use movenet::{GRID as POSE_GRID, JOINTS, SIDE as POSE_SIDE, movenet_program};
pub use segmentation::{View, segmentation_program};
pub use upscaler::{UpscalerConfig, upscaler_program};

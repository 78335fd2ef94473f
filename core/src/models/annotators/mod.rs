//! Networks of processors: edges, lines, depth, poses, segmentation, optical flow and upscaling; and that of
//! interpolation between pictures.
//!
//! Each has a function that writes its program for images of one size, over weights by the names that published files
//! have; where a program needs weights in another form, a second function wraps the file ([`Derived`]).

mod anime;
mod depth;
mod derived;
mod edges;
mod lineart;
mod movenet;
mod raft;
mod rife;
mod segmentation;
mod transposed;
mod upscaler;

pub use anime::{AnimeConfig, anime_program, anime_weights};
pub use depth::{DepthConfig, PATCH, depth_program, depth_weights};
pub use derived::Derived;
pub use edges::{hed_mean, hed_program, tin_program};
pub use lineart::{lineart_program, lineart_weights};
pub use movenet::{GRID as POSE_GRID, JOINTS, SIDE as POSE_SIDE, movenet_program};
pub use raft::{
    LEVELS as RAFT_LEVELS, LIKENESS as RAFT_LIKENESS, RADIUS as RAFT_RADIUS, RaftConfig, STEP as RAFT_STEP,
    WINDOW as RAFT_WINDOW, raft_candidate_program, raft_context_program, raft_features_program, raft_head_program,
    raft_motion_program, raft_weights,
};
pub use rife::{FLOWS as RIFE_FLOWS, RifeConfig, rife_block_program, rife_encoder_program, rife_weights};
pub use segmentation::{View, segmentation_program};
pub use upscaler::{UpscalerConfig, upscaler_program};

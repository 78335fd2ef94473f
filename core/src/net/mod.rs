//! Programs: networks as flat lists of operations over values of fixed shape, with weights by their checkpoint names.
//!
//! `models` builds programs from a checkpoint's `config.json`, and `exec` runs them. This module is independent of
//! devices.

mod aligned;
mod branch;
mod builder;
pub mod bytes;
mod copies;
pub(crate) mod elements;
mod footprint;
mod fuse;
mod image_op;
mod lora;
mod memory;
mod op;
pub(crate) mod original_names;
pub(crate) mod pages;
pub mod plan;
mod program;
#[cfg(test)]
mod random_program;
mod replaced;
mod shape;
pub mod steps;
mod weights;

pub use aligned::AlignedBytes;
pub use branch::Branches;
pub use builder::ProgramBuilder;
pub use dreamframe_kernels::Activation;
pub use footprint::Footprint;
pub use image_op::{ImageOp, bilinear};
pub use lora::{LoraLayer, LowRank};
pub use op::{Op, OpKind, Padding};
pub use program::{Input, Output, Program, Rate, ValueId, WeightId, WeightSpec};
#[cfg(test)]
pub(crate) use random_program::random_program;
pub use replaced::{ChangedTensor, NetworkChanges, TensorSum};
pub use shape::Shape;
pub(crate) use weights::same_layout;
pub use weights::{
    Forms, LoadObserver, PackedForm, PackedLayout, PackedStore, Parallel, Sections, WeightSource, Weights,
};

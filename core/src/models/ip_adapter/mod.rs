//! IP-Adapters: images as prompts. Features of the image are projected to a few tokens, and every cross attention of the
//! UNet has keys and values of its own for them.
//!
//! Those keys and values are inputs of the UNet's program. They are computed by programs over the adapter's weights, which
//! run when the image changes. The scale of the image is applied to the values: attention is linear in them.

mod checkpoint;
mod programs;
mod sites;
mod weights;

pub use checkpoint::{AdapterConfig, AdapterKind};
pub use programs::{keys_program, tokens_program};
pub use sites::{CrossAttention, Place, cross_attentions};
pub use weights::{layer_weights, stage_weight};

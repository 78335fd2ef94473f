//! IP-Adapters: an image as a prompt. Features of the image become a few tokens, and every cross attention of the UNet has
//! keys and values of its own for them.
//!
//! The UNet's program takes those keys and values as inputs; what makes them are programs over the adapter's weights alone,
//! which run when the image changes. How much the image counts is in the values: attention is linear in them.

mod checkpoint;
mod programs;
mod sites;
mod weights;

pub use checkpoint::{AdapterConfig, AdapterKind};
pub use programs::{keys_program, tokens_program};
pub use sites::{CrossAttention, Place, cross_attentions};
pub use weights::{layer_weights, stage_weight};

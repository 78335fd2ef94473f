//! What the user asks for: plain data, no tensors.

mod interpolation;

pub use interpolation::Interpolation;

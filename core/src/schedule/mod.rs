//! The numbers of the noise schedule, in `f64`; no tensors, no frames.

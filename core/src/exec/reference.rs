//! The oracle: candle tensors in `f32`, one operation at a time.

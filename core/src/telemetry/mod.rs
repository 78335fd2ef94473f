//! Times of the stages of a frame.

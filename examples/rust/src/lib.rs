//! The Rust examples.

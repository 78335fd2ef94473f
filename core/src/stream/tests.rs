//! Compares the stream with the toy networks of the specification and a model in `f64`, and checks its properties.

mod changes;
mod conformance;
mod proptests;
mod toy;

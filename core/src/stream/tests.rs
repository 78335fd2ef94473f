//! The stream against the toy networks of the specification, an independent model of it in `f64`, and its own laws.

mod changes;
mod conformance;
mod laws;
mod toy;

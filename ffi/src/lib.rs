//! The C interface: converts arguments and results, and catches panics. It has no logic of its own.
//!
//! The functions are documented for C, in `include/dreamframe.h`, which is generated from here by `cargo xtask header`.
//! Each body runs inside [`guard`](mod@guard), which converts errors and panics to a status. Handles are looked up and
//! never dereferenced, so that the use of a freed handle is detected.

#![expect(unsafe_code, reason = "C has nothing else")]
#![expect(non_camel_case_types, reason = "types have their C names, so that header and code agree")]
#![expect(clippy::missing_safety_doc, reason = "the lines on threads and ownership at each function say what is safe")]

mod callback;
pub mod device_frame;
pub mod engine;
mod engine_cell;
pub mod frame;
pub mod guard;
mod handle;
pub mod hooks;
pub mod images;
pub mod log;
pub mod models;
pub mod options;
pub mod params;
pub mod picture;
mod pointer;
pub mod session;
pub mod session_frames;
pub mod session_updates;
pub mod stats;
pub mod status;
pub mod style;
#[cfg(test)]
mod tests;
pub mod text;
pub mod text_to_image;
pub mod transport;
pub mod version;

//! The command line of dreamframe: pictures, folders and films through the engine, and what helps to set it up.
//!
//! Everything a command does is a call into the `dreamframe` library; this crate reads and writes files, and talks to a
//! person on standard error and to programs on standard output.

#![forbid(unsafe_code)]

pub mod cli;
mod compare;
pub mod media;

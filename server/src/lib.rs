//! The command line of dreamframe, and its server: pictures, folders, films and streams through the engine.
//!
//! Everything a command does is a call into the `dreamframe` library; this crate reads and writes files, answers requests,
//! and talks to a person on standard error and to programs on standard output.

#![forbid(unsafe_code)]

mod app;
mod auth;
pub mod cli;
mod cluster;
mod compare;
mod config;
mod connections;
mod door;
mod error;
#[doc(hidden)]
pub mod fuzzed;
mod gateway;
mod hls;
mod http;
mod ids;
mod large_bodies;
pub mod media;
mod outputs;
mod paths;
mod recording;
mod redact;
mod routes;
pub mod rtmp;
mod scope;
mod serve;
mod streams;
mod style;
mod urls;
mod wire;

//! The command line of dreamframe and its server: pictures, folders, video and streams.
//!
//! Every command calls the `dreamframe` library; this crate reads and writes files, answers requests, writes messages
//! for people to standard error and output for programs to standard output.

#![forbid(unsafe_code)]

mod adapt;
mod app;
mod auth;
mod authorities;
pub mod cli;
mod clips;
mod cluster;
mod config;
mod connections;
mod error;
#[doc(hidden)]
pub mod fuzz_api;
mod gateway;
mod hls;
mod http;
mod ids;
mod large_bodies;
mod listener;
pub mod media;
mod osc;
mod outputs;
mod panics;
mod paths;
mod recording;
mod redact;
mod routes;
pub mod rtmp;
mod saved;
mod scope;
mod serve;
mod sound;
mod streams;
mod style;
mod urls;
mod wire;

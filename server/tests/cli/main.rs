//! The program as a shell sees it, and reading and writing of media files.

mod bad_media;
mod commands;
mod convert;
mod fetch;
mod generated;
mod gpu;
mod media;
mod process;
mod quantize;
mod recommend;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Returns a command line of the program, without input, with the default log and without ONNX Runtime: `--executor auto`
/// is then the same executor on every machine.
fn dreamframe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dreamframe"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG").env_remove("DREAMFRAME_ONNXRUNTIME");
    command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

/// Returns what a command printed to standard output.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns what a command printed to standard error.
fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the lines of JSON that a command printed to standard output.
fn lines(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

//! Builds and tests for other systems, as far as this one can run their programs.

mod aarch64;
mod loops;
mod macos;
mod windows;

use std::process::Command;

use crate::report::Report;
use crate::tools::output;

/// Builds for the system `name`, and runs what can be run here.
///
/// # Errors
///
/// If the name is unknown.
pub(crate) fn run(report: &mut Report, name: &str) -> Result<(), String> {
    match name {
        "aarch64" => aarch64::run(report),
        "macos" => macos::run(report),
        "windows" => windows::run(report),
        other => return Err(format!("system of cross: got {other}, expected aarch64, macos or windows")),
    }
    Ok(())
}

/// Requires that the toolchain has the standard library for each of `targets`.
///
/// # Errors
///
/// The first that is missing, and the command that adds it.
fn require_targets(targets: &[&str]) -> Result<(), String> {
    let installed = output(Command::new("rustup").args(["target", "list", "--installed"]))?;
    match targets.iter().find(|target| !installed.lines().any(|line| line == **target)) {
        Some(target) => Err(format!("the toolchain has no {target}; `rustup target add {target}` adds it")),
        None => Ok(()),
    }
}

//! Builds and tests for other systems, as far as this one can run their programs.

mod aarch64;
mod loops;
mod macos;
mod windows;

use crate::report::Report;

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

//! Builds and tests for other systems, as far as this one can run their programs.

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
        "macos" => macos::run(report),
        "windows" => windows::run(report),
        other => return Err(format!("system of cross: got {other}, expected macos or windows")),
    }
    Ok(())
}

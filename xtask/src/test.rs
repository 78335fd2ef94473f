//! Every test of the workspace, doc tests among them.

use std::path::Path;

use crate::report::{Outcome, Report};
use crate::tools::{has_libvpx, workspace};

/// Programs in C and C++ are linked with the libraries of `libraries`, where there are such; tests build them otherwise.
pub(crate) fn all(report: &mut Report, libraries: Option<&Path>) {
    let mut tests = workspace("test");
    tests.args(["--quiet", "--no-fail-fast"]);
    // The same cases every time: a change is judged by what it does, not by the day's luck. `cargo test` alone draws anew.
    tests.env("PROPTEST_RNG_SEED", "20231215");
    if let Some(libraries) = libraries {
        tests.env("DREAMFRAME_LIBRARY", libraries);
    }
    report.command("tests", &mut tests);
    if !has_libvpx() {
        report.step("tests of VP8", || Outcome::NotRun("there is no libvpx (Debian: libvpx-dev)".into()));
    }
}

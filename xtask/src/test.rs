//! Every test of the workspace, doc tests among them.

use std::path::Path;

use crate::report::Report;
use crate::tools::cargo;

/// What tests are left out without, though the workspace has all that they stand on.
pub(crate) const FEATURES: [&str; 2] = ["--features", "dreamframe-tests/transport"];

/// One cargo call for all packages: features are then chosen once, and nothing is built twice.
///
/// Programs in C and C++ are linked with the libraries of `libraries`, where there are such; tests build them otherwise.
pub(crate) fn all(report: &mut Report, libraries: Option<&Path>) {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--quiet", "--no-fail-fast"]).args(FEATURES);
    // The same cases every time: a change is judged by what it does, not by the day's luck. `cargo test` alone draws anew.
    tests.env("PROPTEST_RNG_SEED", "20231215");
    if let Some(libraries) = libraries {
        tests.env("DREAMFRAME_LIBRARY", libraries);
    }
    report.command("tests", &mut tests);
}

//! Every test of the workspace, doc tests among them.

use crate::report::Report;
use crate::tools::cargo;

/// One cargo call for all packages: features are then chosen once, and nothing is built twice.
pub(crate) fn all(report: &mut Report) {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--quiet", "--no-fail-fast"]);
    // The same cases every time: a change is judged by what it does, not by the day's luck. `cargo test` alone draws anew.
    tests.env("PROPTEST_RNG_SEED", "20231215");
    report.command("tests", &mut tests);
}

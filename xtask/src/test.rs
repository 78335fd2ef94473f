//! Every test of the workspace, doc tests among them.

use crate::report::Report;
use crate::tools::cargo;

/// One cargo call for all packages: features are then chosen once, and nothing is built twice.
pub(crate) fn all(report: &mut Report) {
    report.command("tests", cargo().args(["test", "--workspace", "--quiet", "--no-fail-fast"]));
}

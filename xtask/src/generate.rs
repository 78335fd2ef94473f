//! Files that are generated and committed: the parameter table and the parameters' JSON Schema. A test of the server
//! (`server/tests/cli/generated.rs`) compares them with the program.

use crate::report::{Outcome, Report};
use crate::stubs;
use crate::tools::{cargo, output};

/// The arguments of the program whose output is stored, and the files.
const GENERATED: [(&[&str], &str); 2] =
    [(&["params", "table"], "core/parameters.md"), (&["params", "schema"], "docs/parameters.schema.json")];

/// Generates the files.
pub(crate) fn run(report: &mut Report) {
    for (arguments, path) in GENERATED {
        report.step(path, || {
            let mut dreamframe = cargo();
            dreamframe.args(["run", "--quiet", "--package", "dreamframe-server", "--"]).args(arguments);
            match output(&mut dreamframe).and_then(|text| std::fs::write(path, text).map_err(|e| e.to_string())) {
                Ok(()) => Outcome::Passed,
                Err(why) => Outcome::Failed(why),
            }
        });
    }
    report.step("Python stubs", stubs::write);
}

//! Runs the scripts that made the golden data. By hand only: they need torch and diffusers, which no test does.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::{Outcome, Report};
use crate::tools;

const SCRIPTS: &str = "tests/golden/generate";

pub(crate) fn run(report: &mut Report) {
    let mut python = None;
    report.step("Python environment", || {
        let requirements = Path::new(SCRIPTS).join("requirements.txt");
        match tools::python_environment("golden", &requirements) {
            Ok(found) => {
                python = Some(found);
                Outcome::Passed
            }
            Err(why) => Outcome::Failed(why),
        }
    });
    let Some(python) = python else { return };
    match scripts() {
        Ok(scripts) => {
            for script in scripts {
                report.command(&script.display().to_string(), Command::new(&python).arg(&script));
            }
        }
        Err(why) => report.step(SCRIPTS, || Outcome::Failed(why)),
    }
}

/// The programs among the scripts; a name that starts with `_` is a module that the others share.
fn scripts() -> Result<Vec<PathBuf>, String> {
    let is_program = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.starts_with(SCRIPTS) && name.ends_with(".py") && !name.starts_with('_')
    };
    let mut scripts: Vec<_> = tools::files()?.into_iter().filter(is_program).collect();
    scripts.sort();
    Ok(scripts)
}

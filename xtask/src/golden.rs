//! Runs the scripts that generate the reference data. Only run manually: they need torch and diffusers, unlike all
//! tests.

use std::path::Path;
use std::process::Command;

use crate::prepare::pip;
use crate::report::{Outcome, Report};
use crate::tools;

const FOLDER: &str = "tests/golden/generate";

/// The scripts without other requirements. `demo.py` reads output of the demo model's training, and `full_size.py`
/// writes gigabytes that are not committed; `annotators.py`, `nsfw.py` and `segmentation.py` read files that are not in
/// the repository or need MediaPipe, and `anime.py` needs another package.
const SCRIPTS: [&str; 15] = [
    "networks.py",
    "cached.py",
    "control.py",
    "flow.py",
    "injection.py",
    "ip_adapter.py",
    "lora.py",
    "noise.py",
    "processors.py",
    "rife.py",
    "safety.py",
    "single.py",
    "stream.py",
    "img2img_turbo.py",
    "tokenizer.py",
];

pub(crate) fn run(report: &mut Report) {
    let mut python = None;
    report.step("Python environment", || {
        let requirements = Path::new(FOLDER).join("requirements.txt");
        match pip(Path::new("python3"), &[requirements], &tools::root().join("target/tools/golden")) {
            Ok(found) => {
                python = Some(found);
                Outcome::Passed
            }
            Err(why) => Outcome::Failed(why),
        }
    });
    let Some(python) = python else { return };
    for script in SCRIPTS {
        report.command(script, Command::new(&python).arg(Path::new(FOLDER).join(script)));
    }
}

//! Runs every fuzz target for a while.

use std::path::Path;

use crate::report::{Outcome, Report};
use crate::tools::{self, Tool};

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", default_features: true };

/// Inputs to begin with, committed; what the fuzzer finds goes to `fuzz/corpus`, which is not.
const SEEDS: &str = "fuzz/seeds";

pub(crate) fn run(report: &mut Report, seconds: u32) {
    let cargo_fuzz = match tool() {
        Ok(path) => path,
        Err(why) => return report.step("fuzz targets", || Outcome::NotRun(why)),
    };
    let targets = match targets() {
        Ok(targets) => targets,
        Err(why) => return report.step("fuzz targets", || Outcome::Failed(why)),
    };
    let mut built = false;
    report.step("build fuzz targets", || {
        let outcome = crate::report::run(tools::of_toolchain("nightly", &cargo_fuzz).args(["fuzz", "build"]));
        built = outcome == Outcome::Passed;
        outcome
    });
    for target in targets.into_iter().filter(|_| built) {
        report.step(&format!("fuzz {target}"), || {
            let corpus = Path::new("fuzz/corpus").join(&target);
            if let Err(error) = std::fs::create_dir_all(&corpus) {
                return Outcome::Failed(format!("cannot create {}: {error}", corpus.display()));
            }
            let mut fuzz = tools::of_toolchain("nightly", &cargo_fuzz);
            fuzz.args(["fuzz", "run", &target]).arg(&corpus);
            let seeds = Path::new(SEEDS).join(&target);
            if seeds.is_dir() {
                fuzz.arg(seeds);
            }
            fuzz.arg("--").arg(format!("-max_total_time={seconds}")).args(["-rss_limit_mb=2048", "-timeout=10"]);
            crate::report::run(&mut fuzz)
        });
    }
}

/// cargo-fuzz, where there is a nightly compiler to go with it.
fn tool() -> Result<String, String> {
    if !tools::works(tools::of_toolchain("nightly", "rustc").arg("--version")) {
        return Err("no nightly toolchain, which the fuzzer's instrumentation needs".into());
    }
    CARGO_FUZZ.path().map(|path| path.to_string_lossy().into_owned())
}

/// Their names: the file names of `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>, String> {
    let folder = Path::new("fuzz/fuzz_targets");
    let stem = |path: std::path::PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let files = tools::files()?.into_iter().filter(|path| path.starts_with(folder));
    let mut targets: Vec<_> = files.filter_map(stem).collect();
    targets.sort();
    Ok(targets)
}

//! Runs every fuzz target for a limited time.

use std::path::Path;
use std::process::Command;

use crate::report::Outcome;
use crate::tools::{self, Tool, succeed};

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", default_features: true };

/// The feature of the targets that links the fuzzer.
const LIBFUZZER: [&str; 2] = ["--features", "libfuzzer"];

/// The committed seed inputs; inputs that the fuzzer finds are written to `fuzz/corpus`, which is not committed.
const SEEDS: &str = "fuzz/seeds";

/// Builds all targets and runs each for `seconds`, also after a failure of another.
pub(crate) fn all(seconds: u32) -> Outcome {
    let cargo_fuzz = match tool() {
        Ok(path) => path,
        Err(why) => return Outcome::NotRun(why),
    };
    let runs = targets().and_then(|targets| {
        succeed(command(&cargo_fuzz).args(["fuzz", "build"]).args(LIBFUZZER))?;
        let failures: Vec<String> =
            targets.iter().filter_map(|target| run(&cargo_fuzz, target, seconds).err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n   ")) }
    });
    runs.into()
}

fn run(cargo_fuzz: &str, target: &str, seconds: u32) -> Result<(), String> {
    eprintln!("   {target}");
    let corpus = Path::new("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut fuzz = command(cargo_fuzz);
    fuzz.args(["fuzz", "run"]).args(LIBFUZZER).arg(target).arg(&corpus);
    let seeds = Path::new(SEEDS).join(target);
    if seeds.is_dir() {
        fuzz.arg(seeds);
    }
    fuzz.arg("--").arg(format!("-max_total_time={seconds}")).args(["-rss_limit_mb=2048", "-timeout=10"]);
    succeed(&mut fuzz)
}

/// Returns a command of cargo-fuzz with a profile for fuzzing: fast to build, with checks and line numbers.
fn command(cargo_fuzz: &str) -> Command {
    let mut command = tools::of_toolchain("nightly", cargo_fuzz);
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true").env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    command
}

/// Returns the path of cargo-fuzz; an error without a nightly compiler, which it needs.
fn tool() -> Result<String, String> {
    if !tools::works(tools::of_toolchain("nightly", "rustc").arg("--version")) {
        return Err("no nightly toolchain, which the fuzzer's instrumentation needs".into());
    }
    CARGO_FUZZ.path().map(|path| path.to_string_lossy().into_owned())
}

/// Returns the names of the targets: the file names in `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>, String> {
    let folder = Path::new("fuzz/fuzz_targets");
    let stem = |path: std::path::PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let files = tools::files()?.into_iter().filter(|path| path.starts_with(folder));
    let mut targets: Vec<_> = files.filter_map(stem).collect();
    targets.sort();
    Ok(targets)
}

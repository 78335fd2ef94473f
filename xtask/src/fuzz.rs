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

const NIGHTLY: &str = "nightly";
const STABLE: &str = "stable";

/// Builds all targets and runs each for `seconds`, also after a failure of another.
pub(crate) fn all(seconds: u32) -> Outcome {
    let fuzzer = match Fuzzer::find() {
        Ok(fuzzer) => fuzzer,
        Err(why) => return Outcome::NotRun(why),
    };
    let runs = targets().and_then(|targets| {
        succeed(fuzzer.command().args(["fuzz", "build"]).args(LIBFUZZER))?;
        let failures: Vec<String> = targets.iter().filter_map(|target| fuzzer.run(target, seconds).err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n   ")) }
    });
    runs.into()
}

/// cargo-fuzz, and the toolchain that it compiles with.
struct Fuzzer {
    path: String,
    toolchain: &'static str,
}

impl Fuzzer {
    /// Installs cargo-fuzz if necessary. The fuzzer's instrumentation needs unstable options of the compiler: a nightly
    /// toolchain is used if there is one, otherwise the stable one with these options permitted.
    ///
    /// # Errors
    ///
    /// If rustup or both toolchains are missing, or cargo-fuzz cannot be installed.
    fn find() -> Result<Self, String> {
        let works = |toolchain: &&str| tools::works(tools::of_toolchain(toolchain, "rustc").arg("--version"));
        let toolchain = [NIGHTLY, STABLE].into_iter().find(works);
        let toolchain = toolchain.ok_or("rustup has neither a nightly nor a stable toolchain")?;
        Ok(Self { path: CARGO_FUZZ.path()?.to_string_lossy().into_owned(), toolchain })
    }

    fn run(&self, target: &str, seconds: u32) -> Result<(), String> {
        eprintln!("   {target}");
        let corpus = Path::new("fuzz/corpus").join(target);
        std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        let mut fuzz = self.command();
        fuzz.args(["fuzz", "run"]).args(LIBFUZZER).arg(target).arg(&corpus);
        let seeds = Path::new(SEEDS).join(target);
        if seeds.is_dir() {
            fuzz.arg(seeds);
        }
        fuzz.arg("--").arg(format!("-max_total_time={seconds}")).args(["-rss_limit_mb=2048", "-timeout=10"]);
        succeed(&mut fuzz)
    }

    /// Returns a command of cargo-fuzz with a profile for fuzzing: fast to build, with checks and line numbers.
    fn command(&self) -> Command {
        let mut command = tools::of_toolchain(self.toolchain, &self.path);
        command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
        if self.toolchain == STABLE {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
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

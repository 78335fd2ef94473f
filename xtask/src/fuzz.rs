//! Runs fuzz targets for a limited time.

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

/// What is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The targets; all if there are none.
    targets: Vec<String>,
    /// How long each is run.
    seconds: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { targets: Vec::new(), seconds: 60 }
    }
}

impl Wanted {
    /// Reads the names of targets, and `--seconds N`.
    ///
    /// # Errors
    ///
    /// If a number is missing or invalid, or an option unknown.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            match argument {
                "--seconds" => {
                    let seconds = arguments.next().copied().unwrap_or_default();
                    let wrong = |_| format!("--seconds: got {seconds:?}, expected a whole number");
                    wanted.seconds = seconds.parse().map_err(wrong)?;
                }
                _ if argument.starts_with('-') => return Err(format!("fuzz: no such option: {argument}")),
                _ => wanted.targets.push(argument.to_owned()),
            }
        }
        Ok(wanted)
    }

    /// Returns all targets, each for an equal part of `seconds`.
    ///
    /// # Errors
    ///
    /// If the targets cannot be listed.
    pub(crate) fn all_within(seconds: u32) -> Result<Self, String> {
        let count = u32::try_from(targets()?.len()).unwrap_or(u32::MAX);
        Ok(Self { seconds: (seconds / count.max(1)).max(1), ..Self::default() })
    }

    /// Returns the names of the targets to run.
    fn targets(&self) -> Result<Vec<String>, String> {
        let known = targets()?;
        match self.targets.iter().find(|name| !known.contains(name)) {
            Some(name) => Err(format!("fuzz target: got {name}, expected one of {}", known.join(", "))),
            None if self.targets.is_empty() => Ok(known),
            None => Ok(self.targets.clone()),
        }
    }
}

/// Builds and runs each target, also after a failure of another.
pub(crate) fn run(wanted: &Wanted) -> Outcome {
    let fuzzer = match Fuzzer::find() {
        Ok(fuzzer) => fuzzer,
        Err(why) => return Outcome::NotRun(why),
    };
    let runs = wanted.targets().and_then(|targets| {
        // One program of all that does not compile is reported before any runs; a run compiles its own.
        if wanted.targets.is_empty() {
            succeed(fuzzer.command().args(["fuzz", "build"]).args(LIBFUZZER))?;
        }
        let failures = targets.iter().filter_map(|target| fuzzer.run(target, wanted.seconds).err());
        let failures: Vec<String> = failures.collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_seconds_may_be_in_any_order() {
        let wanted =
            |seconds, names: &[&str]| Wanted { targets: names.iter().map(|&name| name.to_owned()).collect(), seconds };
        assert_eq!(Wanted::parse(&[]).unwrap(), wanted(60, &[]));
        assert_eq!(Wanted::parse(&["sdp", "--seconds", "5", "y4m"]).unwrap(), wanted(5, &["sdp", "y4m"]));
        for wrong in [&["--seconds"][..], &["--seconds", "many"], &["--hours", "1"]] {
            assert!(Wanted::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(wanted(1, &["no_such"]).targets().unwrap_err().contains("no_such"));
    }
}

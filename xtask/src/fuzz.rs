//! Runs fuzz targets for a limited time, and reports what each run executed and covered.

pub(crate) mod coverage;
mod figures;
mod ledger;
mod modules;

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use self::coverage::Runner;
use self::figures::Figures;
use self::ledger::Ledger;
use crate::report::Outcome;
use crate::times;
use crate::tools::{self, Tool, succeed};

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", default_features: true };

/// The feature of the targets that links the fuzzer.
const LIBFUZZER: [&str; 2] = ["--features", "libfuzzer"];

/// The committed seed inputs; those named `found-` are of corpora, and cover most of what the others do not.
const SEEDS: &str = "fuzz/seeds";
/// The inputs that the fuzzer finds, which are not committed.
const CORPUS: &str = "fuzz/corpus";

const NIGHTLY: &str = "nightly";
const STABLE: &str = "stable";

/// What is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The targets; all if there are none.
    targets: Vec<String>,
    /// How long each is run.
    seconds: u32,
    /// Whether the coverage by the inputs that there are is measured instead.
    coverage: bool,
    /// The Markdown file whose table a row for each run is added to.
    ledger: Option<PathBuf>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { targets: Vec::new(), seconds: 60, coverage: false, ledger: None }
    }
}

impl Wanted {
    /// Reads the names of targets, `--seconds N`, `--coverage` and `--ledger FILE`.
    ///
    /// # Errors
    ///
    /// If a number is missing or invalid, a file missing, or an option unknown.
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
                "--coverage" => wanted.coverage = true,
                "--ledger" => {
                    let file = arguments.next().ok_or("--ledger: got nothing, expected a file")?;
                    wanted.ledger = Some(file.into());
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

/// Builds and runs each target, also after a failure of another; or measures what its inputs cover.
pub(crate) fn run(wanted: &Wanted) -> Outcome {
    if wanted.coverage {
        return cover(wanted).into();
    }
    let fuzzer = match Fuzzer::find() {
        Ok(fuzzer) => fuzzer,
        Err(why) => return Outcome::NotRun(why),
    };
    let runs = wanted.targets().and_then(|targets| {
        // One program of all that does not compile is reported before any runs; a run compiles its own.
        if wanted.targets.is_empty() {
            succeed(fuzzer.command().args(["fuzz", "build"]).args(LIBFUZZER))?;
        }
        let ledger = Ledger::new(wanted.ledger.as_deref())?;
        let failures = targets.iter().filter_map(|target| fuzzer.run(target, wanted.seconds, &ledger).err());
        let failures: Vec<String> = failures.collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n   ")) }
    });
    runs.into()
}

/// Runs the seeds and the corpus of each target, and adds what they cover to the ledger.
fn cover(wanted: &Wanted) -> Result<(), String> {
    let (targets, ledger) = (wanted.targets()?, Ledger::new(wanted.ledger.as_deref())?);
    let runner = Runner::build()?;
    for target in &targets {
        let folders = [SEEDS, CORPUS].map(|folder| Path::new(folder).join(target));
        let folders: Vec<PathBuf> = folders.into_iter().filter(|folder| folder.is_dir()).collect();
        let (inputs, coverage) = runner.measure(target, &folders).map_err(|why| format!("{target}: {why}"))?;
        ledger.add(coverage::HEADER, &coverage.row(&times::today()?, &ledger.commit, target, inputs))?;
    }
    Ok(())
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

    /// Builds and runs `target`, and adds the run to `ledger`.
    fn run(&self, target: &str, seconds: u32, ledger: &Ledger<'_>) -> Result<(), String> {
        eprintln!("   {target}");
        let corpus = Path::new(CORPUS).join(target);
        std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        let mut fuzz = self.command();
        fuzz.args(["fuzz", "run"]).args(LIBFUZZER).arg(target).arg(&corpus);
        let seeds = Path::new(SEEDS).join(target);
        if seeds.is_dir() {
            fuzz.arg(seeds);
        }
        fuzz.arg("--").arg(format!("-max_total_time={seconds}"));
        fuzz.args(["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"]);
        let (figures, seconds, result) = execute(&mut fuzz);
        if figures.has_started {
            ledger.add(figures::HEADER, &figures.row(&times::today()?, &ledger.commit, target, seconds))?;
        }
        result.map_err(|why| format!("{target}: {why}"))
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

/// Runs a command of cargo-fuzz, whose output is printed as well as read. Returns its figures, and the seconds from the
/// start of the fuzzer, without the build.
fn execute(fuzz: &mut Command) -> (Figures, u64, Result<(), String>) {
    let (mut figures, mut started) = (Figures::default(), Instant::now());
    let result = fuzz.stderr(Stdio::piped()).spawn().and_then(|mut child| {
        let mut lines = child.stderr.take().map(BufReader::new);
        let mut line = Vec::new();
        // Inputs that targets print need not be text.
        while lines.as_mut().is_some_and(|lines| lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0)) {
            // The figures count even if they cannot be printed.
            let _ = io::stderr().write_all(&line);
            let had_started = figures.has_started;
            figures.read(&String::from_utf8_lossy(&line));
            if !had_started && figures.has_started {
                started = Instant::now();
            }
            line.clear();
        }
        child.wait()
    });
    let seconds = started.elapsed().as_secs();
    let result = match result {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}, {} findings", figures.findings)),
        Err(error) => Err(error.to_string()),
    };
    (figures, seconds, result)
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
        let wanted = |seconds, names: &[&str]| {
            let targets = names.iter().map(|&name| name.to_owned()).collect();
            Wanted { targets, seconds, ..Wanted::default() }
        };
        assert_eq!(Wanted::parse(&[]).unwrap(), wanted(60, &[]));
        assert_eq!(Wanted::parse(&["sdp", "--seconds", "5", "y4m"]).unwrap(), wanted(5, &["sdp", "y4m"]));
        let with_ledger = Wanted { ledger: Some("runs.md".into()), ..wanted(60, &["sdp"]) };
        assert_eq!(Wanted::parse(&["--ledger", "runs.md", "sdp"]).unwrap(), with_ledger);
        let coverage = Wanted { coverage: true, ..wanted(60, &["sdp"]) };
        assert_eq!(Wanted::parse(&["sdp", "--coverage"]).unwrap(), coverage);
        for wrong in [&["--seconds"][..], &["--ledger"], &["--seconds", "many"], &["--hours", "1"]] {
            assert!(Wanted::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(wanted(1, &["no_such"]).targets().unwrap_err().contains("no_such"));
    }

    #[cfg(unix)]
    #[test]
    fn a_run_with_a_finding_fails_and_has_figures_like_others() {
        let output = "compiling\nINFO: Seed: 1\n#8 DONE cov: 2 ft: 3 corp: 1/1b\nTest unit written to x/crash-1\n";
        let (figures, _, result) = execute(Command::new("sh").args(["-c", "printf %s \"$0\" >&2; exit 77", output]));
        let expected = Figures { has_started: true, inputs: 8, findings: 1, edges: 2, features: 3, corpus: 1 };
        assert_eq!(figures, expected);
        assert!(result.unwrap_err().contains("1 findings"));
        let (figures, _, result) = execute(Command::new("sh").args(["-c", "exit 101"]));
        assert!(!figures.has_started && result.is_err());
    }
}

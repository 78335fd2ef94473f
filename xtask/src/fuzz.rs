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
use crate::times::{self, Cost};
use crate::tools::{self, Tool, succeed};

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", default_features: true };

/// The feature of the targets that links the fuzzer.
const LIBFUZZER: [&str; 2] = ["--features", "libfuzzer"];

/// The program, and the variable that names the target for which it is compiled.
const PROGRAM: &str = "target";
const TARGET: &str = "DREAMFRAME_FUZZ_TARGET";

/// The committed seed inputs; those named `found-` are of corpora, and cover most of what the others do not.
const SEEDS: &str = "fuzz/seeds";
/// The inputs that the fuzzer finds, which are not committed.
const CORPUS: &str = "fuzz/corpus";
/// The inputs of findings.
const ARTIFACTS: &str = "fuzz/artifacts";

const NIGHTLY: &str = "nightly";
const STABLE: &str = "stable";

/// What checks each access to memory while a target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sanitizer {
    Address,
    /// Nothing, which is faster. Only errors of unsafe code are missed.
    None,
}

impl Sanitizer {
    const ALL: [Self; 2] = [Self::Address, Self::None];

    /// Returns the name, which is that of cargo-fuzz.
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::None => "none",
        }
    }
}

/// What is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The targets; all if there are none.
    targets: Vec<&'static str>,
    /// How long each is run.
    seconds: u32,
    /// The number of inputs after which a run ends earlier.
    inputs: Option<u32>,
    sanitizer: Sanitizer,
    /// Whether the coverage by the inputs that there are is measured instead.
    coverage: bool,
    /// The Markdown file whose table a row for each run is added to.
    ledger: Option<PathBuf>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            seconds: 60,
            inputs: None,
            sanitizer: Sanitizer::Address,
            coverage: false,
            ledger: None,
        }
    }
}

impl Wanted {
    /// Reads the names of targets, `--seconds N`, `--inputs N`, `--sanitizer NAME`, `--coverage` and
    /// `--ledger FILE`.
    ///
    /// # Errors
    ///
    /// If a value is missing or invalid, or a target or an option unknown.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            match argument {
                "--seconds" => wanted.seconds = whole_number("--seconds", arguments.next())?,
                "--inputs" => wanted.inputs = Some(whole_number("--inputs", arguments.next())?),
                "--sanitizer" => {
                    let name = arguments.next().copied().unwrap_or_default();
                    let sanitizer = Sanitizer::ALL.into_iter().find(|sanitizer| sanitizer.name() == name);
                    wanted.sanitizer =
                        sanitizer.ok_or_else(|| format!("--sanitizer: got {name:?}, expected address or none"))?;
                }
                "--coverage" => wanted.coverage = true,
                "--ledger" => {
                    let file = arguments.next().ok_or("--ledger: got nothing, expected a file")?;
                    wanted.ledger = Some(file.into());
                }
                _ if argument.starts_with('-') => return Err(format!("fuzz: no such option: {argument}")),
                _ => {
                    let mut known = modules::targets();
                    let target = known.find(|target| *target == argument);
                    let names = || modules::targets().collect::<Vec<_>>().join(", ");
                    let unknown = || format!("fuzz target: got {argument:?}, expected one of {}", names());
                    wanted.targets.push(target.ok_or_else(unknown)?);
                }
            }
        }
        Ok(wanted)
    }

    /// Returns all targets, each for an equal part of `seconds`.
    pub(crate) fn all_within(seconds: u32) -> Self {
        let count = u32::try_from(modules::targets().count()).unwrap_or(u32::MAX);
        Self { seconds: (seconds / count.max(1)).max(1), ..Self::default() }
    }

    /// Returns the names of the targets to run.
    fn targets(&self) -> Vec<&'static str> {
        if self.targets.is_empty() { modules::targets().collect() } else { self.targets.clone() }
    }
}

fn whole_number(option: &str, value: Option<&&str>) -> Result<u32, String> {
    let value = value.copied().unwrap_or_default();
    value.parse().map_err(|_| format!("{option}: got {value:?}, expected a whole number"))
}

/// Runs each target, also after a failure of another; or measures what its inputs cover.
pub(crate) fn run(wanted: &Wanted) -> Outcome {
    if wanted.coverage {
        return cover(wanted).into();
    }
    let fuzzer = match Fuzzer::find() {
        Ok(fuzzer) => fuzzer,
        Err(why) => return Outcome::NotRun(why),
    };
    fuzz(&fuzzer, wanted).into()
}

/// Builds and runs each target.
fn fuzz(fuzzer: &Fuzzer, wanted: &Wanted) -> Result<(), String> {
    let ledger = Ledger::new(wanted.ledger.as_deref())?;
    let run = |target: &'static str| fuzzer.run(target, wanted, &ledger).err();
    let failures: Vec<String> = wanted.targets().into_iter().filter_map(run).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n   ")) }
}

/// Runs the seeds and the corpus of each target, and adds what they cover to the ledger.
fn cover(wanted: &Wanted) -> Result<(), String> {
    let ledger = Ledger::new(wanted.ledger.as_deref())?;
    let runner = Runner::build()?;
    for target in wanted.targets() {
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
    fn run(&self, target: &str, wanted: &Wanted, ledger: &Ledger<'_>) -> Result<(), String> {
        eprintln!("   {target}");
        // Separately, so that the time of the run is not that of the compiler.
        succeed(&mut self.command("build", target, wanted.sanitizer)).map_err(|why| format!("{target}: {why}"))?;
        let [corpus, artifacts] = [CORPUS, ARTIFACTS].map(|folder| Path::new(folder).join(target));
        for folder in [&corpus, &artifacts] {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let mut fuzz = self.command("run", target, wanted.sanitizer);
        fuzz.arg(&corpus);
        let seeds = Path::new(SEEDS).join(target);
        if seeds.is_dir() {
            fuzz.arg(seeds);
        }
        fuzz.arg("--").arg(format!("-max_total_time={}", wanted.seconds));
        if let Some(inputs) = wanted.inputs {
            fuzz.arg(format!("-runs={inputs}"));
        }
        fuzz.arg(format!("-artifact_prefix={}/", artifacts.display()));
        fuzz.args(["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"]);
        let (figures, result) = execute(&mut fuzz);
        if figures.has_started {
            let row = figures.row(&times::today()?, &ledger.commit, target, wanted.sanitizer.name());
            ledger.add(figures::HEADER, &row)?;
        }
        result.map_err(|why| format!("{target}: {why}"))
    }

    /// Returns `subcommand` of cargo-fuzz for the program of `target`, with a profile for fuzzing: fast to build, with
    /// checks and line numbers.
    fn command(&self, subcommand: &str, target: &str, sanitizer: Sanitizer) -> Command {
        let mut command = tools::of_toolchain(self.toolchain, &self.path);
        command.env(TARGET, target);
        command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        // By the profile, since the option of cargo-fuzz overrides the profiles of single packages.
        let checks = ["CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS"];
        command.envs(checks.map(|name| (name, "true")));
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
        if self.toolchain == STABLE {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        // Both kinds of builds are kept.
        let folder = tools::target().join("fuzz").join(sanitizer.name());
        command.args(["fuzz", subcommand, "--release", "--sanitizer", sanitizer.name(), "--target-dir"]).arg(folder);
        command.args(LIBFUZZER).arg(PROGRAM);
        command
    }
}

/// Runs a command of cargo-fuzz, whose output is printed as well as read. Returns its figures. The program is already
/// built, so that nearly all processor time is that of the fuzzer.
fn execute(fuzz: &mut Command) -> (Figures, Result<(), String>) {
    let (mut figures, started) = (Figures::default(), Instant::now());
    let before = Cost::now(started);
    let result = fuzz.stderr(Stdio::piped()).spawn().and_then(|mut child| {
        let mut lines = child.stderr.take().map(BufReader::new);
        let mut line = Vec::new();
        // Inputs that targets print need not be text.
        while lines.as_mut().is_some_and(|lines| lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0)) {
            // The figures count even if they cannot be printed.
            let _ = io::stderr().write_all(&line);
            figures.read(&String::from_utf8_lossy(&line));
            line.clear();
        }
        child.wait()
    });
    figures.cost = Cost::now(started).since(before);
    let result = match result {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{status}, {} findings", figures.findings)),
        Err(error) => Err(error.to_string()),
    };
    (figures, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_seconds_may_be_in_any_order() {
        let wanted = |seconds, names: &[&'static str]| Wanted { targets: names.to_vec(), seconds, ..Wanted::default() };
        assert_eq!(Wanted::parse(&[]).unwrap(), wanted(60, &[]));
        assert_eq!(Wanted::parse(&["sdp", "--seconds", "5", "y4m"]).unwrap(), wanted(5, &["sdp", "y4m"]));
        let with_ledger = Wanted { ledger: Some("runs.md".into()), ..wanted(60, &["sdp"]) };
        assert_eq!(Wanted::parse(&["--ledger", "runs.md", "sdp"]).unwrap(), with_ledger);
        let coverage = Wanted { coverage: true, ..wanted(60, &["sdp"]) };
        assert_eq!(Wanted::parse(&["sdp", "--coverage"]).unwrap(), coverage);
        let unsanitized = Wanted { sanitizer: Sanitizer::None, ..wanted(60, &[]) };
        assert_eq!(Wanted::parse(&["--sanitizer", "none"]).unwrap(), unsanitized);
        let short = Wanted { inputs: Some(100), ..wanted(9, &["y4m"]) };
        assert_eq!(Wanted::parse(&["--seconds", "9", "--inputs", "100", "y4m"]).unwrap(), short);
        for (wrong, error) in [
            (&["--seconds"][..], "--seconds: got \"\", expected a whole number"),
            (&["--ledger"], "--ledger: got nothing"),
            (&["--inputs", "-1"], "--inputs: got \"-1\""),
            (&["--seconds", "many"], "--seconds: got \"many\""),
            (&["--hours", "1"], "fuzz: no such option: --hours"),
            (&["--sanitizer", "memory"], "--sanitizer: got \"memory\", expected address or none"),
            (&["no_such"], "fuzz target: got \"no_such\", expected one of amf, byte_range, "),
        ] {
            let message = Wanted::parse(wrong).unwrap_err();
            assert!(message.starts_with(error), "{message}");
        }
    }

    #[test]
    fn all_targets_share_the_time() {
        let wanted = Wanted::all_within(3600);
        assert_eq!((wanted.seconds, wanted.targets().len()), (100, 36));
        assert_eq!(Wanted::all_within(5).seconds, 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_run_with_a_finding_fails_and_has_figures_like_others() {
        let output = "compiling\nINFO: Seed: 1\n#8 DONE cov: 2 ft: 3 corp: 1/1b\nTest unit written to x/crash-1\n";
        let (figures, result) = execute(Command::new("sh").args(["-c", "printf %s \"$0\" >&2; exit 77", output]));
        let expected =
            Figures { has_started: true, cost: figures.cost, inputs: 8, findings: 1, edges: 2, features: 3, corpus: 1 };
        assert_eq!(figures, expected);
        assert!(result.unwrap_err().contains("1 findings"));
        let (figures, result) = execute(Command::new("sh").args(["-c", "exit 101"]));
        assert!(!figures.has_started && result.is_err());
    }
}

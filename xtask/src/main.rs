//! The repository's tasks. `cargo xtask test` is all that CI runs.
//!
//! Each task is a list of steps (`suite.rs`). A step prints its name, its elapsed time and its CPU time, and a failing
//! one prints its command; the steps after it still run, so that one run shows everything that is wrong. A step that
//! cannot run on this machine prints the reason.

mod advisories;
mod architecture;
mod archive;
mod check;
mod container;
mod crates;
mod cross;
mod dist;
mod feature_lints;
mod fuzz;
mod generate;
mod golden;
mod header;
mod install;
mod libraries;
mod long;
mod notices;
mod package;
mod peers;
mod prepare;
mod public_api;
mod python;
mod report;
mod rules;
mod sanitize;
mod stubs;
mod suite;
mod test;
mod test_times;
mod times;
mod tools;
mod trust;
mod unsafe_code;
mod wheel;
mod workflows;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use report::Report;
use suite::{Group, Step, Suite};

const USAGE: &str = "\
usage: cargo xtask TASK

  test [--optional-until UNIX-SECONDS]
                         every check and test that a change can break: what CI runs
  test --full            these and all others: feature sets, archives, wheel on several Pythons, long runs
  test --list            all steps and what each took last
  check [--full]         formatting, lints, docs, licences, repository rules, generated files
  advisories             cargo-deny, with the vulnerabilities that are known today; needs the network
  licences               cargo-deny, and the record of what it accepted
  generate               writes the generated files
  public-api             writes core/public-api.txt
  header                 writes include/dreamframe.h
  install --prefix DIR [--features NAMES] [--target TRIPLE]
                         builds the C and C++ library and installs it in DIR, with everything that a host's build needs
  cross SYSTEM           builds and tests for another system: windows (MinGW, Wine), aarch64 (qemu) or macos (zig;
                         types and the C library only)
  package                the same as an archive, with its checks: target/package
  package --full         an archive with all features of the C interface: target/package-full
  container              runs the Containerfile's stages in bare Debian roots (Linux, as root): target/container
  crates                 makes the packages for crates.io, and builds a project from them: target/crates
  crates --publish       publishes them; the environment has the token
  dist                   everything that is released from one machine, with checksums: target/release-files
  dist --tag TAG         checks that TAG is that of this version, and that the changelog describes it
  stubs                  writes the Python module's stub and the classes of the parameters
  fuzz [TARGETS] [--seconds N] [--inputs N] [--sanitizer address|none] [--ledger FILE]
                         runs these fuzz targets, or all, for N seconds (60) or N inputs each, and prints what each
                         executed and covered; FILE, such as docs/reliability.md, is a Markdown file whose table gets
                         these rows
  fuzz --coverage [TARGETS] [--ledger FILE]
                         measures how much of the source files of these targets their seeds and corpora cover
  sanitize address|memory|thread
                         tests with this sanitizer (Linux, x86-64): those of unsafe code in the executor and of frames,
                         of the kernels, or of everything with threads; the last two need
                         `rustup component add rust-src`
  wheel                  builds the Python package's wheel into target/wheels, and checks it
  python                 the wheel, its tests on the oldest and the newest Python here, types and lint
  prepare NAMES          installs packages from npm and PyPI for tests in target/tools
  golden                 re-runs the scripts of tests/golden/generate in a Python environment of their own
  trust [PART] [--minutes N]
                         searches for faults for N minutes (10) each: updates, memory, device, files, network,
                         soak, fuzz
  long                   the release build, random seeds, soak and fuzzing
  peers [ARGUMENTS]      times our networks and other libraries' in turn; --help lists the arguments

test, check, package, python and long take --record as well, which writes what their steps took to docs/ci.md.";

/// How many of the slowest tests and of the slowest steps are printed.
const SLOWEST: usize = 10;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(exit_code) = public_api::as_rustdoc(&args) {
        return exit_code;
    }
    if let Some(exit_code) = fuzz::coverage::as_compiler(&args) {
        return exit_code;
    }
    // Stays in the folder that cargo chose for the test.
    if let Some((_, arguments)) = args.split_first().filter(|(task, _)| *task == test_times::RUN_TEST) {
        return test_times::run_test(arguments);
    }
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    let record = args.pop_if(|last| *last == "--record").is_some();
    let started_in = std::env::current_dir().unwrap_or_default();
    if let Err(error) = std::env::set_current_dir(tools::root()) {
        eprintln!("xtask: cannot enter {}: {error}", tools::root().display());
        return ExitCode::FAILURE;
    }
    let mut report = Report::new();
    let in_group = |group| move |step: &Step| step.group == group;
    match args.as_slice() {
        ["test", flags @ ..] => match Flags::parse(flags) {
            Ok(flags) if flags.list => return print_list(),
            Ok(flags) => test(&mut report, &flags),
            Err(why) => return wrong_usage(&why),
        },
        ["check"] => suite::run(&mut report, |step| step.group == Group::Check && step.suite == Suite::Quick),
        ["check", "--full"] => suite::run(&mut report, in_group(Group::Check)),
        ["advisories"] => report.step("advisories", advisories::check),
        ["licences"] => report.step("licences, bans, sources", check::record_licences),
        ["container"] => suite::run(&mut report, in_group(Group::Container)),
        ["crates"] => suite::run(&mut report, in_group(Group::Crates)),
        ["crates", "--publish"] => report.step("crates: published", crates::publish),
        ["dist"] => suite::run(&mut report, |step| {
            use Group::{Dist, FullPackage, Package, Wheel};
            matches!(step.group, Package | FullPackage | Wheel | Dist)
        }),
        ["dist", "--tag", tag] => report.step("tag", || dist::tag(tag).into()),
        ["wheel"] => suite::run(&mut report, in_group(Group::Wheel)),
        ["python"] => {
            let is_python = |step: &Step| matches!(step.group, Group::Python | Group::Wheel);
            suite::run(&mut report, |step| is_python(step) || step.name == suite::BUILD_LIBRARIES);
        }
        ["generate"] => {
            generate::run(&mut report);
            header::run(&mut report);
        }
        ["public-api"] => {
            report.step("docs", check::docs);
            report.step(public_api::LIST, public_api::write);
        }
        ["header"] => header::run(&mut report),
        ["stubs"] => report.step("Python stubs", stubs::write),
        ["install", "--prefix", prefix, flags @ ..] => match install::Wanted::parse(flags) {
            Ok(wanted) => install::run(&mut report, &started_in.join(prefix), wanted),
            Err(why) => return wrong_usage(&why),
        },
        ["cross", name] => match cross::run(&mut report, name) {
            Ok(()) => {}
            Err(why) => return wrong_usage(&why),
        },
        ["long"] => suite::run(&mut report, in_group(Group::Long)),
        ["package"] => suite::run(&mut report, in_group(Group::Package)),
        ["package", "--full"] => suite::run(&mut report, in_group(Group::FullPackage)),
        ["prepare", names @ ..] => return prepare_all(names),
        ["fuzz", arguments @ ..] => match fuzz::Wanted::parse(arguments) {
            Ok(wanted) => report.step("fuzz targets", || fuzz::run(&wanted)),
            Err(why) => return wrong_usage(&why),
        },
        ["trust", arguments @ ..] => match trust::Wanted::parse(arguments) {
            Ok(wanted) => trust::run(&mut report, &wanted),
            Err(why) => return wrong_usage(&why),
        },
        ["sanitize", name] => match sanitize::Sanitizer::named(name) {
            Some(sanitizer) => report.step("tests with a sanitizer", || sanitize::run(sanitizer)),
            None => return wrong_usage(&format!("sanitizer: got {name}, expected address, memory or thread")),
        },
        ["golden"] => golden::run(&mut report),
        ["peers", args @ ..] => peers::run(&mut report, args),
        ["help" | "--help" | "-h"] => {
            eprintln!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [] => return wrong_usage("no task"),
        [task, ..] => return wrong_usage(&format!("no such task, or wrong arguments for it: {task}")),
    }
    if record {
        suite::record(&mut report);
    }
    report.finish()
}

/// Installs packages without printing a report, since other steps print theirs at the same time.
fn prepare_all(names: &[&str]) -> ExitCode {
    match prepare::all(names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn print_list() -> ExitCode {
    // The reader may close the pipe early, as `head` does: not an error.
    let _ = std::io::stdout().write_all(suite::list().as_bytes());
    ExitCode::SUCCESS
}

/// The flags of `cargo xtask test`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    full: bool,
    list: bool,
    optional_until: Option<u64>,
}

impl Flags {
    fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--full" => flags.full = true,
                "--list" => flags.list = true,
                "--optional-until" => {
                    let value = arguments.next().copied().unwrap_or_default();
                    let wrong = || format!("--optional-until: got {value:?}, expected seconds since 1970");
                    flags.optional_until = Some(value.parse().map_err(|_| wrong())?);
                }
                other => return Err(format!("no such flag of test: {other}")),
            }
        }
        Ok(flags)
    }
}

fn test(report: &mut Report, flags: &Flags) {
    if let Some(seconds) = flags.optional_until {
        report.stop_optional_steps_at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    }
    suite::run(report, |step| flags.full || step.suite == Suite::Quick);
    eprintln!("{}\n{}", test_times::slowest(SLOWEST), report.slowest(SLOWEST));
}

fn wrong_usage(why: &str) -> ExitCode {
    eprintln!("xtask: {why}\n{USAGE}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_unknown_ones_are_refused() {
        let flags = Flags::parse(&["--full", "--optional-until", "17"]).unwrap();
        assert_eq!(flags, Flags { full: true, list: false, optional_until: Some(17) });
        assert!(Flags::parse(&["--optional-until", "soon"]).unwrap_err().contains("got \"soon\""));
        assert!(Flags::parse(&["--quick"]).unwrap_err().contains("--quick"));
    }
}

//! The duration of each test.
//!
//! The harness of stable Rust measures it only with its unstable flag `--report-time`, which a test program accepts if
//! `RUSTC_BOOTSTRAP` is set. In cargo's environment that variable would rebuild dependencies, so cargo starts
//! `xtask run-test` as the runner of test programs, which sets it for the test program only.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::tools::target;

/// The task that starts one test program.
pub(crate) const RUN_TEST: &str = "run-test";

/// Makes the test harness accept unstable flags. The compiler takes the value for the usual rules of stable Rust,
/// should a test start it.
const ALLOW_UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "-1");

/// One test and its time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TestTime {
    time: Duration,
    /// The name, with package and target.
    name: String,
}

/// Returns the folder with the times of the last run: one file for each test program, in the form of the harness's log.
fn folder() -> PathBuf {
    target().join("xtask/test-times")
}

/// Returns the arguments by which cargo starts test programs with their times measured, and forgets the times of
/// earlier runs. No arguments where this program's path is not known: tests run without times then.
pub(crate) fn runner() -> Vec<String> {
    // Fails if there are none.
    let _ = fs::remove_dir_all(folder());
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let folder = std::path::absolute(folder()).ok().filter(|folder| fs::create_dir_all(folder).is_ok());
    let text = |path: Option<PathBuf>| path?.into_os_string().into_string().ok();
    let Some((program, folder)) = text(program).zip(text(folder)) else { return Vec::new() };
    vec!["--config".into(), format!("target.'cfg(all())'.runner = {}", serde_json::json!([program, RUN_TEST, folder]))]
}

/// Runs a test program as cargo would, and leaves the times of its tests in a folder: `FOLDER PROGRAM ARGUMENTS`.
pub(crate) fn run_test(arguments: &[OsString]) -> ExitCode {
    let [folder, program, arguments @ ..] = arguments else {
        eprintln!("xtask {RUN_TEST}: got {} arguments, expected a folder and a test program", arguments.len());
        return ExitCode::from(2);
    };
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let manifest = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("Cargo.toml");
    let stem = Path::new(program).file_stem().unwrap_or(program).to_string_lossy().into_owned();
    let target = target_name(&stem);
    let log =
        Path::new(folder).join(log_name(&package, &stem, std::env::var("DREAMFRAME_TEST_DEVICE").ok().as_deref()));
    let has_harness = fs::read_to_string(manifest).is_ok_and(|text| has_harness(&text, target));
    let mut test = Command::new(program);
    test.args(arguments);
    if has_harness {
        report_times(&mut test, &log);
    }
    let start = Instant::now();
    let status = test.status();
    if !has_harness {
        // In the harness's format. A failure to store times does not fail tests.
        let _ = fs::write(&log, format!("ok main <{:.3}s>\n", start.elapsed().as_secs_f64()));
    }
    exit_code(program, status)
}

/// Makes the harness of a test program write times to `log`. It also prints a warning that this flag is
/// deprecated; all others would write times among the output of tests.
fn report_times(test: &mut Command, log: &Path) {
    test.args(["-Zunstable-options", "--report-time", "--logfile"]).arg(log).env(ALLOW_UNSTABLE.0, ALLOW_UNSTABLE.1);
}

fn exit_code(program: &OsStr, status: std::io::Result<std::process::ExitStatus>) -> ExitCode {
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => ExitCode::from(code),
            None => {
                eprintln!("{}: {status}", program.to_string_lossy());
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("{}: {error}", program.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}

/// Returns the name of the file with the times of the program `stem`. A run on another device has its own file.
fn log_name(package: &str, stem: &str, device: Option<&str>) -> String {
    match (device, stem.rsplit_once('-')) {
        (Some(device), Some((target, hash))) => format!("{package} {target} on {device}-{hash}"),
        _ => format!("{package} {stem}"),
    }
}

/// Returns the target of the program `stem`: `api` for `api-0123456789abcdef`.
fn target_name(stem: &str) -> &str {
    stem.rsplit_once('-').map_or(stem, |(name, _)| name)
}

/// Returns whether a target uses the test harness, by the manifest of its package.
fn has_harness(manifest: &str, target: &str) -> bool {
    let Ok(manifest) = manifest.parse::<toml::Table>() else { return false };
    let tests = manifest.get("test").and_then(toml::Value::as_array).into_iter().flatten();
    let mut named = tests.filter(|test| test.get("name").and_then(toml::Value::as_str) == Some(target));
    named.all(|test| test.get("harness").and_then(toml::Value::as_bool) != Some(false))
}

/// Returns the `count` slowest tests of the last run as text, the slowest first.
pub(crate) fn slowest(count: usize) -> String {
    let mut times: Vec<TestTime> = Vec::new();
    for entry in fs::read_dir(folder()).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        times.extend(parse(&entry.file_name().to_string_lossy(), &text));
    }
    if times.is_empty() {
        return "── slowest tests: no times".into();
    }
    times.sort_unstable_by(|a, b| b.cmp(a));
    let line = |test: &TestTime| format!("\n   {:>9.1} s  {}", test.time.as_secs_f64(), test.name);
    let heading = format!("── slowest tests of {} (clock, beside others)", times.len());
    times.iter().take(count).map(line).fold(heading, |text, line| text + &line)
}

/// Reads the log of the test program `file`: `ok module::name <0.123s>`. Tests without a time did not run.
fn parse(file: &str, text: &str) -> Vec<TestTime> {
    let target = target_name(file);
    let test = |line: &str| {
        let (_, line) = line.split_once(' ')?;
        let (name, time) = line.rsplit_once(" <")?;
        let seconds = time.strip_suffix("s>")?.parse().ok()?;
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        Some(TestTime { time, name: format!("{target} {name}") })
    };
    text.lines().filter_map(test).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_harness_writes_times_in_addition_to_its_output() {
        let name = "test_times::tests::a_target_is_known_by_its_program";
        let log = target().join(format!("test-times-{}.log", std::process::id()));
        let mut test = Command::new(std::env::current_exe().unwrap());
        report_times(test.args(["--quiet", "--exact", name]), &log);
        let output = test.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && printed.contains("\n.\n") && !printed.contains(name), "{printed}");
        let times = parse("xtask xtask-0123456789abcdef", &fs::read_to_string(&log).unwrap());
        assert!(times.len() == 1 && times[0].name == format!("xtask xtask {name}"), "{times:?}");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn tests_that_ran_are_read_with_their_times_and_others_are_not() {
        let log = "ok a::b <0.012s>\nfailed c <2.500s>\nignored: too slow d\nignored e\nok f\nok g <-1.0s>\nok h <1>\n";
        let expected = [(12, "a::b"), (2500, "c")].map(|(ms, name)| TestTime {
            time: Duration::from_millis(ms),
            name: format!("dreamframe-tests network {name}"),
        });
        assert_eq!(parse("dreamframe-tests network-0123456789abcdef", log), expected);
    }

    #[test]
    fn a_target_is_known_by_its_program() {
        assert_eq!(target_name("steady_state-0123456789abcdef"), "steady_state");
        assert_eq!(target_name("cargo-like-0123456789abcdef"), "cargo-like");
    }

    #[test]
    fn a_run_on_another_device_keeps_the_times_of_the_first() {
        assert_eq!(log_name("dreamframe-tests", "network-0123", None), "dreamframe-tests network-0123");
        let file = log_name("dreamframe-tests", "network-0123", Some("simulated"));
        let times = parse(&file, "ok a <0.012s>\n");
        assert_eq!(times[0].name, "dreamframe-tests network on simulated a");
    }

    #[test]
    fn tests_of_this_workspace_without_a_harness_are_found_in_their_manifest() {
        let manifest = fs::read_to_string(crate::tools::root().join("tests/Cargo.toml")).unwrap();
        for (target, expected) in [("vanishing", false), ("steady_state", false), ("network", true), ("none", true)] {
            assert_eq!(has_harness(&manifest, target), expected, "{target}");
        }
        assert!(!has_harness("no manifest", "network"));
    }
}

//! The workspace's tests and the examples in its documentation.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::package::libraries;
use crate::prepare;
use crate::python;
use crate::report::{Background, Outcome, first_failure, run, run_each};
use crate::suite::Context;
use crate::test_times;
use crate::tools::{cargo, output, workspace};

/// Makes the property tests use the same cases in every run, so that failures are reproducible.
pub(crate) const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "20231215");

/// Makes slow tests run with all cases.
const FULL: (&str, &str) = ("DREAMFRAME_FULL", "1");

/// The variable that names ONNX Runtime's library to the tests of the graphs that programs are written as.
const ONNX_RUNTIME: &str = "DREAMFRAME_ONNXRUNTIME";

/// The tests that mostly compute.
const COMPUTING: [&str; 3] = ["integration", "random_patches", "steady_state"];

/// The test modules of sessions that also run on a simulated device.
const QUICK_ON_DEVICE: [&str; 2] = ["session::", "transitions::"];

/// The test modules of engines, updates and sessions that also run on ONNX Runtime.
const ON_ONNX_RUNTIME: [&str; 5] = ["session::", "live_changes::", "transitions::", "controlnets::", "looking_back::"];

/// The tests of the integration tests that the short run leaves out.
const ONLY_FULL: [&str; 3] = [
    "c_abi::address_sanitizer_finds_no_error_and_no_leak",
    "every_field::every_field_changes_the_pictures",
    "hosts::the_touchdesigner_top_with_cuda_serves_its_host",
];

/// The test of the Rust examples that the short run leaves out.
const ONLY_FULL_EXAMPLE: &str = "hot_swap_writes_a_picture_for_each_change";

/// The test modules that compare every executor with reference data.
const WITH_REFERENCE_DATA: [&str; 10] = [
    "annotators::",
    "cached::",
    "control::",
    "ip_adapter::",
    "lora::",
    "nsfw::",
    "parity::",
    "safety::",
    "segmentation::",
    "stream_parity::",
];

/// The test modules without engines, which nothing runs on a simulated device, and those of other programs' clients.
const NEVER_ON_DEVICE: [&str; 11] = [
    "annotators::",
    "bf16::",
    "c_abi::",
    "cached::",
    "device_frames::",
    "eight_bits::",
    "hosts::",
    "nsfw::",
    "parity::",
    "segmentation::",
    "stream_parity::",
];

/// Compiles all tests where Clippy, which does the same with its lints, is not installed: times of tests exclude
/// compilation.
pub(crate) fn build() -> Outcome {
    run(workspace("test").args(["--quiet", "--no-run"]))
}

/// Compiles the C library and the Python module for the tests that load them, and the programs that the tests of the
/// Python package compare with.
///
/// With all packages and a test, features are those of a test run of the workspace, so that nothing else is compiled.
pub(crate) fn build_libraries() -> Outcome {
    run(workspace("build").args(["--quiet", "--lib", "--test", "integration", "--bin", "hello", "--bin", "hot_swap"]))
}

/// Waits for the packages that other processes' clients need.
pub(crate) fn packages(context: &mut Context) -> Outcome {
    match context.preparation.take() {
        Some(preparation) => preparation.finish(),
        None => Outcome::NotRun("nothing was prepared".into()),
    }
}

/// Runs all tests and the examples in documentation comments, in two concurrent groups of about the same duration:
/// tests that mostly compute, and tests that often wait for a network or another process. The Python package's tests
/// are last in the second group; a separate step reports their outcome.
pub(crate) fn run_all(context: &mut Context) -> Outcome {
    let (units, others) = match test_targets() {
        Ok(targets) => targets,
        Err(why) => return Outcome::Failed(why),
    };
    let timed = test_times::runner();
    let onnx_library = prepare::onnx_library();
    if onnx_library.is_none() && std::env::var_os("DREAMFRAME_REQUIRE_TOOLS").is_some() {
        return Outcome::Failed("ONNX Runtime cannot be installed, which tests of graphs need".into());
    }
    let tests = |runner: &[String], targets: &[String]| {
        let mut tests = workspace("test");
        tests.args(["--quiet", "--no-fail-fast"]).args(runner).args(targets).env(SEED.0, SEED.1);
        tests.envs(onnx_library.iter().map(|library| (ONNX_RUNTIME, library)));
        tests
    };
    // If they cannot run, their own step prints the reason.
    let python = python::tests().ok();
    let waiting = without(tests(&timed, &others), &[ONLY_FULL_EXAMPLE]);
    let background = Background::start([waiting].into_iter().chain(python).collect(), "waiting-tests.log");
    let computing = [
        tests(&timed, &units),
        without(tests(&timed, &COMPUTING.map(|name| format!("--test={name}"))), &ONLY_FULL),
        on_device(tests(&timed, &[]), &QUICK_ON_DEVICE),
        // Examples in documentation are not timed.
        tests(&[], &["--doc".into()]),
    ];
    let mut outcomes = computing.map(|mut tests| run(&mut tests)).to_vec();
    let mut background = background.finish().into_iter();
    outcomes.extend(background.next());
    context.python_tests = background.next();
    first_failure(outcomes)
}

/// Leaves out the tests of these names.
fn without(mut tests: Command, names: &[&str]) -> Command {
    tests.arg("--").args(names.iter().flat_map(|name| ["--skip", name]));
    tests
}

/// Runs all tests of engines on a simulated device.
pub(crate) fn all_on_device() -> Outcome {
    let mut tests = workspace("test");
    tests.args(["--quiet", "--no-fail-fast"]).env(SEED.0, SEED.1);
    let skipped: Vec<&str> = NEVER_ON_DEVICE.iter().flat_map(|&module| ["--skip", module]).collect();
    run(&mut on_device(tests, &skipped))
}

/// Runs the tests that the short run leaves out, and those that have more cases here, apart from those of other steps.
pub(crate) fn only_full() -> Outcome {
    let tests = |target: &str, filters: &[&str]| {
        let mut tests = workspace("test");
        tests.args(["--quiet", "--no-fail-fast", target, "--"]).args(filters).env(SEED.0, SEED.1).env(FULL.0, FULL.1);
        tests
    };
    run_each(&mut [
        tests("--test=integration", &ONLY_FULL),
        tests("--test=run", &[ONLY_FULL_EXAMPLE]),
        tests("--test=clients", &["external::the_server_keeps_to_its_own_openapi_document"]),
    ])
}

/// Runs tests of engines, updates and sessions with ONNX Runtime in place of the CPU executor, and those with reference
/// data with its half precision, too.
pub(crate) fn on_onnx_runtime() -> Outcome {
    let Some(library) = prepare::onnx_library() else {
        return Outcome::NotRun("ONNX Runtime cannot be installed".into());
    };
    let tests = |modules: &[&str]| {
        let mut tests = workspace("test");
        tests.args(["--quiet", "--no-fail-fast", "--test=integration", "--"]).args(modules);
        tests.env(SEED.0, SEED.1).env(ONNX_RUNTIME, &library);
        tests
    };
    let (mut engines, mut references) = (tests(&ON_ONNX_RUNTIME), tests(&WITH_REFERENCE_DATA));
    engines.env("DREAMFRAME_TEST_DEVICE", "onnx");
    references.env(FULL.0, FULL.1);
    run_each(&mut [engines, references])
}

/// Runs the tests of engines that `args` of the test program select on a simulated device.
fn on_device(mut tests: Command, args: &[&str]) -> Command {
    tests.args(["--test=integration", "--"]).args(args).env("DREAMFRAME_TEST_DEVICE", "simulated");
    tests
}

/// Returns the arguments that select all libraries and programs with unit tests, and those that select all tests but
/// those of [`COMPUTING`].
///
/// Cargo's `--bins` would also run programs without tests, such as the fuzz targets, which never end.
fn test_targets() -> Result<(Vec<String>, Vec<String>), String> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let (mut units, mut others) = (vec!["--lib".to_owned()], Vec::new());
    for target in targets.filter(|target| target["test"] == true) {
        let name = target["name"].as_str().unwrap_or_default();
        match target["kind"][0].as_str() {
            Some("bin") => units.push(format!("--bin={name}")),
            Some("test") if !COMPUTING.contains(&name) => others.push(format!("--test={name}")),
            _ => {}
        }
    }
    Ok((units, others))
}

/// Runs the tests in C and C++ with the libraries of an installation.
pub(crate) fn with_libraries(installation: &Path) -> Outcome {
    let mut tests = workspace("test");
    tests.args(["--quiet", "--test", "integration", "--", "c_abi", "hosts"]);
    run(tests.env("DREAMFRAME_LIBRARY", libraries(installation)).env(FULL.0, FULL.1))
}

/// Runs the tests in C and C++ that need the features `hub` and `transport` with the libraries of an installation.
pub(crate) fn with_network_libraries(installation: &Path) -> Outcome {
    let mut tests = workspace("test");
    tests.args([
        "--quiet",
        "--test",
        "integration",
        "--",
        "c_abi::frames_go",
        "c_abi::models_are",
        "c_abi::wrong_calls",
    ]);
    let libraries = libraries(installation);
    run(tests.env("DREAMFRAME_LIBRARY", &libraries).env("DREAMFRAME_NETWORK_LIBRARY", &libraries))
}

/// Runs the unit tests of all libraries several times, each time with other cases of the property tests.
pub(crate) fn properties() -> Outcome {
    const TIMES: usize = 5;
    let tests = || {
        let mut tests = workspace("test");
        tests.args(["--quiet", "--lib"]).env_remove(SEED.0);
        tests
    };
    run_each(&mut [(); TIMES].map(|()| tests()))
}

/// Runs the tests of random patches and of the steady state with many more patches and frames, in a release build.
pub(crate) fn patches_and_frames() -> Outcome {
    let mut test = cargo();
    test.args([
        "test",
        "--release",
        "--package",
        "dreamframe-tests",
        "--test",
        "random_patches",
        "--test",
        "steady_state",
    ]);
    run(test.env("DREAMFRAME_PATCHES", "20000").env(FULL.0, FULL.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_only_the_full_run_has_exist() {
        let integration = ONLY_FULL.map(|path| {
            let (module, name) = path.split_once("::").unwrap();
            (format!("tests/tests/integration/{module}.rs"), name)
        });
        let example = ("examples/rust/tests/run.rs".to_owned(), ONLY_FULL_EXAMPLE);
        for (file, name) in integration.into_iter().chain([example]) {
            let text = std::fs::read_to_string(crate::tools::root().join(&file)).unwrap();
            assert!(text.contains(&format!("fn {name}(")), "{file} has no {name}");
        }
    }

    #[test]
    fn all_targets_with_tests_are_in_one_of_the_groups() {
        let (units, others) = test_targets().unwrap();
        for wanted in ["--lib", "--bin=xtask", "--bin=dreamframe"] {
            assert!(units.iter().any(|target| target == wanted), "{wanted} is missing in {units:?}");
        }
        for wanted in ["--test=api", "--test=clients", "--test=network"] {
            assert!(others.iter().any(|target| target == wanted), "{wanted} is missing in {others:?}");
        }
        assert!(!COMPUTING.iter().any(|name| others.contains(&format!("--test={name}"))), "{others:?}");
        // A fuzz target never ends.
        assert!(!units.iter().any(|target| target == "--bin=sdp"), "{units:?}");
    }
}

//! The workspace's tests and the examples in its documentation.

use std::path::Path;

use serde_json::Value;

use crate::package::libraries;
use crate::report::{Outcome, run, run_beside, run_each};
use crate::suite::Context;
use crate::tools::{cargo, output, workspace};

/// Makes the property tests use the same cases in every run, so that a failure comes from the change and not from chance.
const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "20231215");

/// Compiles all tests, so that a test's time is its own.
pub(crate) fn build() -> Outcome {
    run(workspace("test").args(["--quiet", "--no-run"]))
}

/// Compiles the C library and the Python module for the tests that load them.
///
/// With all packages and a test, features are those of a test run of the workspace, so that nothing else is compiled.
pub(crate) fn build_libraries() -> Outcome {
    run(workspace("build").args(["--quiet", "--lib", "--test", "integration"]))
}

/// Waits for the packages that other processes' clients need.
pub(crate) fn packages(context: &mut Context) -> Outcome {
    match context.preparation.take() {
        Some(preparation) => preparation.finish(),
        None => Outcome::NotRun("nothing was prepared".into()),
    }
}

/// Runs all tests and the examples in documentation comments: the integration tests, which often wait for a network or for
/// another process, beside the others, which compute.
pub(crate) fn run_all() -> Outcome {
    let units = match unit_test_targets() {
        Ok(targets) => targets,
        Err(why) => return Outcome::Failed(why),
    };
    let tests = |targets: &[String]| {
        let mut tests = workspace("test");
        tests.args(["--quiet", "--no-fail-fast"]).args(targets).env(SEED.0, SEED.1);
        tests
    };
    let documentation = tests(&["--doc".into()]);
    run_beside(&mut [tests(&units), documentation], &mut tests(&["--test=*".into()]), "integration-tests.log")
}

/// Returns the arguments that select all libraries and programs with unit tests.
///
/// Cargo's `--bins` would run programs without tests as well, and so the fuzz targets, which never end.
fn unit_test_targets() -> Result<Vec<String>, String> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let is_tested = |target: &&Value| target["test"] == true && target["kind"][0] == "bin";
    let names = targets.filter(is_tested).filter_map(|target| target["name"].as_str());
    Ok(["--lib".into()].into_iter().chain(names.map(|name| format!("--bin={name}"))).collect())
}

/// Runs the tests in C and C++ with the libraries of an installation.
pub(crate) fn with_libraries(installation: &Path) -> Outcome {
    let mut tests = workspace("test");
    tests.args(["--quiet", "--test", "integration", "--", "c_abi", "hosts"]);
    run(tests.env("DREAMFRAME_LIBRARY", libraries(installation)).env("DREAMFRAME_FULL", "1"))
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
    run(test.env("DREAMFRAME_PATCHES", "20000").env("DREAMFRAME_FULL", "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_are_those_of_libraries_and_tested_programs() {
        let targets = unit_test_targets().unwrap();
        for wanted in ["--lib", "--bin=xtask", "--bin=dreamframe"] {
            assert!(targets.iter().any(|target| target == wanted), "{wanted} is missing in {targets:?}");
        }
        // A fuzz target never ends.
        assert!(!targets.iter().any(|target| target == "--bin=sdp"), "{targets:?}");
    }
}

//! The workspace's tests and the examples in its documentation.

use std::path::Path;

use crate::package::libraries;
use crate::report::{Outcome, run, run_each};
use crate::suite::Context;
use crate::tools::{cargo, workspace};

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

/// Runs all tests and the examples in documentation comments.
pub(crate) fn run_all() -> Outcome {
    // No choice of targets: `--bins` would run the fuzz targets, which never end.
    run(workspace("test").args(["--quiet", "--no-fail-fast"]).env(SEED.0, SEED.1))
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

/// Runs the test of random patches with many more of them, in a release build.
pub(crate) fn patches() -> Outcome {
    let mut test = cargo();
    test.args(["test", "--release", "--package", "dreamframe-tests", "--test", "random_patches"]);
    run(test.env("DREAMFRAME_PATCHES", "20000"))
}

//! Runs the kernels' tests under the address sanitizer, which finds what reads or writes past a memory.

use std::process::Command;

use crate::report::Outcome;
use crate::tools::{self, succeed};

/// The only machines that it is set up for.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Which unit tests of the library: all that run the executor's `unsafe` code, and what plans its memory.
const TESTS: [&str; 3] = ["exec::cpu", "net::", "frame::"];

/// Builds the library's unit tests with the sanitizer, in a target folder of their own, and runs those of [`TESTS`].
pub(crate) fn kernels() -> Outcome {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Outcome::NotRun(format!("only set up for {TARGET}"));
    }
    succeed(&mut command()).into()
}

fn command() -> Command {
    let mut command = tools::cargo();
    // The sanitizer is not a stable option of the compiler yet; the toolchain is the one of all other builds.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address").env("CARGO_INCREMENTAL", "0");
    // Pools of threads live as long as the process, and what they hold is no leak.
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    command.args(["test", "--package", "dreamframe", "--lib", "--target", TARGET]);
    // Without optimisation the tests take too long; with all of it, accesses past a memory may be optimised away.
    for profile in ["dev", "dev.package.dreamframe", "dev.package.dreamframe-kernels"] {
        command.arg("--config").arg(format!("profile.{profile}.opt-level=1"));
    }
    for check in ["debug-assertions", "overflow-checks"] {
        command.arg("--config").arg(format!("profile.dev.package.dreamframe-kernels.{check}=true"));
    }
    command.arg("--target-dir").arg(tools::target().join("sanitize"));
    command.arg("--").args(TESTS);
    command
}

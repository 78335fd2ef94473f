//! Runs the kernels' tests with the address sanitizer, which detects out-of-bounds accesses.

use std::process::Command;

use crate::report::Outcome;
use crate::tools::{self, succeed};

/// The only supported target.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The unit tests of the executor's `unsafe` code, and of the memory plan.
const TESTS: [&str; 3] = ["exec::cpu", "net::", "frame::"];

/// Builds the library's unit tests with the sanitizer, in a separate target folder, and runs those of [`TESTS`].
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
    // Thread pools live as long as the process, so their memory is not a leak.
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    command.args(["test", "--package", "dreamframe", "--lib", "--target", TARGET]);
    // Without optimization the tests take too long; at higher levels, out-of-bounds accesses may be optimized away.
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

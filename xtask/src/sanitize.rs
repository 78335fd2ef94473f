//! Runs unit tests with a sanitizer of the compiler: addresses, which detects out-of-bounds accesses of unsafe code, or
//! threads, which detects data races.

use std::process::Command;

use crate::report::Outcome;
use crate::tools::{self, succeed};

/// The only supported target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A sanitizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    Address,
    Thread,
}

impl Sanitizer {
    /// Returns the one with the compiler's name `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Address, Self::Thread].into_iter().find(|sanitizer| sanitizer.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
        }
    }

    /// The unit tests to run: with addresses, those of the executor's unsafe code, the memory plan and frames; with
    /// threads, those of everything that has threads of its own.
    fn tests(self) -> &'static [&'static str] {
        match self {
            Self::Address => &["exec::cpu", "net::", "frame::"],
            Self::Thread => &["sync::", "session::", "exec::cpu::pool", "exec::shared_pass", "transport::"],
        }
    }
}

/// Builds the library's unit tests with the sanitizer, in a separate target folder, and runs its tests.
pub(crate) fn run(sanitizer: Sanitizer) -> Outcome {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Outcome::NotRun(format!("only set up for {TARGET}"));
    }
    succeed(&mut command(sanitizer)).into()
}

fn command(sanitizer: Sanitizer) -> Command {
    let name = sanitizer.name();
    let mut command = tools::cargo();
    // The sanitizers are not stable options of the compiler yet; the toolchain is the one of all other builds.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", format!("-Zsanitizer={name}")).env("CARGO_INCREMENTAL", "0");
    // Thread pools live as long as the process, so their memory is not a leak.
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    command.env("TSAN_OPTIONS", format!("suppressions={}", tools::root().join("xtask/src/tsan.supp").display()));
    // Tests that expect a panic wait for minutes until its backtrace is printed.
    command.env_remove("RUST_BACKTRACE");
    command.args(["test", "--package", "dreamframe", "--features", "internals,transport", "--lib", "--target", TARGET]);
    if sanitizer == Sanitizer::Thread {
        // The locks and channels of the standard library have to be compiled with it: `rustup component add rust-src`.
        command.arg("-Zbuild-std");
    }
    // Without optimization the tests take too long; at higher levels, out-of-bounds accesses may be optimized away.
    for profile in ["dev", "dev.package.dreamframe", "dev.package.dreamframe-kernels"] {
        command.arg("--config").arg(format!("profile.{profile}.opt-level=1"));
    }
    for check in ["debug-assertions", "overflow-checks"] {
        command.arg("--config").arg(format!("profile.dev.package.dreamframe-kernels.{check}=true"));
    }
    command.arg("--target-dir").arg(tools::target().join("sanitize").join(name));
    // Model checks have threads of their own kind, and would take hours.
    command.arg("--").args(sanitizer.tests()).args(["--skip", "session::model"]);
    command
}

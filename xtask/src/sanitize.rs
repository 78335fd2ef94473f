//! Runs tests with a sanitizer of the compiler, which detects out-of-bounds accesses of unsafe code (addresses), memory
//! that is read before it is written (memory), or data races (threads).

use std::process::Command;

use crate::report::Outcome;
use crate::tools::{self, succeed};

/// The only supported target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A sanitizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    Address,
    Memory,
    Thread,
}

impl Sanitizer {
    /// Returns the one with the compiler's name `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Address, Self::Memory, Self::Thread].into_iter().find(|sanitizer| sanitizer.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Memory => "memory",
            Self::Thread => "thread",
        }
    }

    /// Returns cargo's arguments that select what is built and run. With addresses, these are the unit tests of the
    /// executor's unsafe code, the memory plan and frames; with memory, those of the kernels, since everything in a program
    /// has to be compiled with it, C libraries as well; with threads, those of everything that has threads of its own.
    fn tests(self) -> Vec<&'static str> {
        const CORE: [&str; 6] = ["--package", "dreamframe", "--features", "internals,transport", "--lib", "--"];
        let modules: &[&str] = match self {
            // Without documentation examples, which are compiled without it.
            Self::Memory => return vec!["--package", "dreamframe-kernels", "--features", "testing", "--tests"],
            Self::Address => &["exec::cpu", "net::", "frame::"],
            Self::Thread => &["sync::", "session::", "exec::cpu::pool", "exec::shared_pass", "transport::"],
        };
        // Model checks have threads of their own kind, and would take hours.
        [&CORE, modules, &["--skip", "session::model"]].concat()
    }
}

/// Builds and runs the tests of a sanitizer, in a separate target folder.
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
    // Thread pools live as long as the process, so their memory is not a leak. Tests request more memory than there is.
    command.env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1");
    command.env("TSAN_OPTIONS", format!("suppressions={}", tools::root().join("xtask/src/tsan.supp").display()));
    // Tests that expect a panic wait for minutes until its backtrace is printed.
    command.env_remove("RUST_BACKTRACE");
    command.args(["test", "--target", TARGET]);
    if sanitizer != Sanitizer::Address {
        // The standard library has to be compiled with these, too, which needs `rustup component add rust-src`.
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
    command.args(sanitizer.tests());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitizers_have_the_compilers_names() {
        for name in ["address", "memory", "thread"] {
            assert_eq!(Sanitizer::named(name).unwrap().name(), name);
        }
        assert_eq!(Sanitizer::named("leak"), None);
    }

    #[test]
    fn what_selects_tests_is_the_end_of_the_command() {
        let arguments = |sanitizer| {
            let command = command(sanitizer);
            command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        for sanitizer in [Sanitizer::Address, Sanitizer::Memory, Sanitizer::Thread] {
            let all = arguments(sanitizer);
            assert!(all.ends_with(&sanitizer.tests().into_iter().map(str::to_owned).collect::<Vec<_>>()), "{all:?}");
            assert_eq!(all.iter().any(|argument| argument == "-Zbuild-std"), sanitizer != Sanitizer::Address);
        }
    }
}

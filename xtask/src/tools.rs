//! The programs that steps need: cargo, tools installed under `target/tools`, Python environments.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::report::{Outcome, run};

/// Returns the repository's root.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Returns whether the file at `path` has only tests or benches.
pub(crate) fn is_test_or_bench(path: &Path) -> bool {
    let is_test = |part: &str| matches!(part, "tests" | "benches") || part.ends_with("tests.rs");
    path.iter().filter_map(|part| part.to_str()).any(is_test)
}

/// Returns the code of a file before its unit tests.
pub(crate) fn without_unit_tests(text: &str) -> &str {
    text.split("\nmod tests {").next().unwrap_or_default()
}

/// Returns the build folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Returns the cargo that started this program.
///
/// Cargo's variables about this package are removed: some crates are rebuilt when they change, and again when
/// cargo is run manually.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| of_package(name)) {
        command.env_remove(name);
    }
    command
}

/// Returns cargo's `subcommand` for the workspace, always with the same features, so that nothing is built twice.
///
/// Other packages enable the additional features anyway; VP8 is enabled if the system has libvpx. The packages are
/// compiled by Clippy's compiler, whose warnings [`lint_workspace`](crate::check::lint_workspace) reads.
pub(crate) fn workspace(subcommand: &str) -> Command {
    let mut command = cargo();
    const FEATURES: &str = "dreamframe-ffi/hub,dreamframe-ffi/transport,dreamframe-tests/transport";
    command.args([subcommand, "--workspace", "--features", FEATURES]);
    if has_libvpx() {
        command.args(["--features", "dreamframe-server/vp8"]);
    }
    command.envs(clippy().map(|clippy| ("RUSTC_WORKSPACE_WRAPPER", clippy)));
    command
}

/// Returns Clippy's compiler, which compiles as Rust's does and lints what it compiles; `None` if it is not installed.
pub(crate) fn clippy() -> Option<&'static Path> {
    static CLIPPY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"])).ok()?;
        let driver = format!("bin/clippy-driver{}", std::env::consts::EXE_SUFFIX);
        Some(Path::new(sysroot.trim()).join(driver)).filter(|path| path.is_file())
    };
    CLIPPY.get_or_init(find).as_deref()
}

/// Returns whether the system has the library that the feature `vp8` needs.
pub(crate) fn has_libvpx() -> bool {
    works(Command::new("pkg-config").args(["--exists", "vpx >= 1.8"]))
}

/// Returns a program of `toolchain`, through rustup, independent of the current toolchain.
pub(crate) fn of_toolchain(toolchain: &str, program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, program]).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Returns the current commit, which is marked if a file was changed since, except `file`.
///
/// # Errors
///
/// If git fails.
pub(crate) fn commit(file: Option<&Path>) -> Result<String, String> {
    let mut commit = output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]))?.trim().to_owned();
    let mut diff = Command::new("git");
    diff.args(["diff", "--quiet", "HEAD", "--", "."]);
    // Git accepts no path outside of the repository.
    if let Some(file) = file.filter(|file| std::path::absolute(file).is_ok_and(|path| path.starts_with(root()))) {
        diff.arg(format!(":(exclude){}", file.display()));
    }
    if !works(&mut diff) {
        commit.push_str("+changes");
    }
    Ok(commit)
}

/// Returns whether `command` runs and succeeds; its output is discarded.
pub(crate) fn works(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Returns the output of `command`.
///
/// # Errors
///
/// A text for the report if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{program} printed something that is not UTF-8"))
}

/// A program from crates.io, with the version that this repository uses.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Whether default features are enabled; without them, the build is faster.
    pub(crate) default_features: bool,
}

impl Tool {
    /// Returns its path; installs it under `target/tools` if necessary.
    ///
    /// # Errors
    ///
    /// If it cannot be installed on this machine.
    pub(crate) fn path(&self) -> Result<PathBuf, String> {
        let home = root().join("target/tools").join(format!("{}-{}", self.name, self.version));
        let path = home.join("bin").join(format!("{}{}", self.name, std::env::consts::EXE_SUFFIX));
        if path.exists() {
            return Ok(path);
        }
        let mut install = cargo();
        install.args(["install", self.name, "--version", self.version, "--locked", "--debug", "--quiet", "--root"]);
        install.arg(&home).env("CARGO_TARGET_DIR", home.join("build")).env("CARGO_PROFILE_DEV_DEBUG", "0");
        install.env_remove("RUSTFLAGS");
        if !self.default_features {
            install.arg("--no-default-features");
        }
        eprintln!("   installing {} {}", self.name, self.version);
        let installed = run(&mut install);
        // The build folder is ten times the size of the program, and is not used again.
        let _ = std::fs::remove_dir_all(home.join("build"));
        match installed {
            Outcome::Passed => Ok(path),
            Outcome::Failed(why) | Outcome::NotRun(why) => Err(format!("cannot be installed: {why}")),
        }
    }
}

/// Runs `command` and waits for it.
///
/// # Errors
///
/// Its command line if it fails.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    match run(command) {
        Outcome::Passed => Ok(()),
        Outcome::Failed(why) | Outcome::NotRun(why) => Err(why),
    }
}

/// Returns the repository's files, tracked and untracked but not ignored, as paths from the root.
///
/// # Errors
///
/// The reason why git failed.
pub(crate) fn files() -> Result<Vec<PathBuf>, String> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = output(&mut list)?;
    let paths = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(paths.filter(|path| path.is_file()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outside_of_the_repository_does_not_change_the_commit() {
        let outside = std::env::temp_dir().join("runs.md");
        assert_eq!(commit(Some(&outside)), commit(None));
    }
}

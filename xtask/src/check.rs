//! Static checks of the repository, without its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::public_api;
use crate::report::{Outcome, run};
use crate::tools::{self, Tool, cargo, workspace};

pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", default_features: false };

/// The digests of the inputs of cargo-deny's checks of licences, bans and sources when they last passed.
const CHECKED: &str = ".ci/licences.sha256";

/// The core's features except `vp8`, which needs a system library; `lint_workspace` enables it if that is installed.
pub(crate) const ALL_FEATURES: &str =
    "clip-tokenizer,demo-model,edges,hub,internals,pose,safety,segmentation,whep,whip";

/// Passed to Clippy after all other arguments.
pub(crate) const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

pub(crate) fn formatting() -> Outcome {
    run(cargo().args(["fmt", "--all", "--check"]))
}

pub(crate) fn python_syntax() -> Outcome {
    let files = match tools::files() {
        Ok(files) => files,
        Err(why) => return Outcome::NotRun(why),
    };
    let scripts: Vec<_> = files.iter().filter(|path| path.extension().is_some_and(|e| e == "py")).collect();
    if !tools::works(Command::new("python3").arg("--version")) {
        return Outcome::NotRun("no python3".into());
    }
    let parse = "import ast, sys\nfor name in sys.argv[1:]: ast.parse(open(name, encoding='utf-8').read(), name)";
    run(Command::new("python3").args(["-c", parse]).args(scripts))
}

/// Runs cargo-deny, which takes minutes to build, only if its inputs differ from those that it last accepted.
pub(crate) fn licences() -> Outcome {
    match inputs() {
        Ok(inputs) if fs::read_to_string(CHECKED).is_ok_and(|checked| checked == inputs) => Outcome::Passed,
        Ok(_) => {
            eprintln!("   the inputs differ from those in {CHECKED}; `cargo xtask licences` updates it");
            deny()
        }
        Err(why) => Outcome::Failed(why),
    }
}

/// Runs cargo-deny. Advisories are a step of their own (`advisories.rs`): their database needs the network, and a new
/// advisory must not fail an old commit.
pub(crate) fn deny() -> Outcome {
    let path = match CARGO_DENY.path() {
        Ok(path) => path,
        Err(why) => return Outcome::NotRun(why),
    };
    let mut deny = Command::new(path);
    deny.args(["--log-level", "error", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    run(&mut deny)
}

/// Runs cargo-deny, and records its inputs if it passes.
pub(crate) fn record_licences() -> Outcome {
    let outcome = deny();
    if outcome != Outcome::Passed {
        return outcome;
    }
    let write = |inputs: String| fs::write(CHECKED, inputs).map_err(|error| format!("{CHECKED}: {error}"));
    inputs().and_then(write).into()
}

/// Returns the digests of all manifests, of the lock file and of cargo-deny's configuration.
fn inputs() -> Result<String, String> {
    let is_input = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name == "Cargo.toml" || path == Path::new("Cargo.lock") || path == Path::new("deny.toml")
    };
    let mut digests = BTreeMap::new();
    for path in tools::files()?.into_iter().filter(is_input) {
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        digests.insert(path, digest);
    }
    Ok(digests.into_iter().map(|(path, digest)| format!("{digest}  {}\n", path.display())).collect())
}

/// Compiles all packages and targets with the features of the tests, and lints them: compiled by Clippy's compiler
/// (`tools::workspace`), dependencies are not checked for lints and compiled for tests, but compiled only.
pub(crate) fn lint_workspace() -> Outcome {
    if tools::clippy().is_none() {
        return Outcome::NotRun("no clippy; `rustup component add clippy` adds it".into());
    }
    let mut build = workspace("test");
    let build =
        build.args(["--quiet", "--no-run", "--all-targets", "--message-format", "json"]).stderr(Stdio::inherit());
    match build.output() {
        Ok(built) => {
            let warnings = diagnostics(&String::from_utf8_lossy(&built.stdout));
            let text: String = warnings.iter().map(String::as_str).collect();
            match (built.status.success(), warnings.len()) {
                (true, 0) => Outcome::Passed,
                (false, 0) => Outcome::Failed(format!("cargo test --no-run ({})", built.status)),
                (_, count) => Outcome::Failed(format!("{count} warnings or errors:\n{text}")),
            }
        }
        Err(error) => Outcome::Failed(format!("cargo: {error}")),
    }
}

/// Returns the warnings and errors among cargo's messages, each once: a library has them with and without its tests.
fn diagnostics(messages: &str) -> BTreeSet<String> {
    let diagnostic = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_diagnostic = message["reason"] == "compiler-message" && message["message"]["spans"][0].is_object();
        is_diagnostic.then(|| message["message"]["rendered"].as_str().unwrap_or_default().to_owned())
    };
    messages.lines().filter_map(diagnostic).collect()
}

/// Lints the libraries as hosts build them, without the features that the program and the tests enable.
pub(crate) fn lint_default_features() -> Outcome {
    run(cargo().args(["clippy", "--package", "dreamframe", "--package", "dreamframe-ffi", "--lib"]).args(DENY_WARNINGS))
}

/// Lints the core with its tests and benches, with the features in `flags`.
pub(crate) fn lint_core(flags: &[&str]) -> Outcome {
    run(cargo().args(["clippy", "--package", "dreamframe", "--all-targets"]).args(flags).args(DENY_WARNINGS))
}

pub(crate) fn lint_shipped() -> Outcome {
    run(cargo().args(["clippy", "--package", "dreamframe-ffi", "--all-targets"]).args(DENY_WARNINGS))
}

pub(crate) fn lint_peers() -> Outcome {
    let mut clippy = cargo();
    clippy.args(["clippy", "--package", "dreamframe-peers", "--all-targets", "--features", "candle"]);
    run(clippy.args(DENY_WARNINGS))
}

/// Lints the core and its kernels for aarch64, if the toolchain has the target.
pub(crate) fn lint_aarch64() -> Outcome {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let installed = installed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|l| l == TARGET));
    if !installed {
        return Outcome::NotRun(format!("the toolchain has no {TARGET}; `rustup target add {TARGET}` adds it"));
    }
    let packages = ["--package", "dreamframe", "--package", "dreamframe-kernels"];
    run(cargo().args(["clippy", "--target", TARGET]).args(packages).args(DENY_WARNINGS))
}

/// Writes the documentation of the libraries, without warnings.
pub(crate) fn docs() -> Outcome {
    // The header is the documentation of the C interface; `--doc` ignores that the manifest says so.
    const NOT_RUST: [&str; 2] = ["--exclude", "dreamframe-fuzz-ffi"];
    let mut doc = workspace("test");
    match public_api::document(&mut doc) {
        Ok(()) => run(doc.args(["--quiet", "--doc"]).args(NOT_RUST)),
        Err(why) => Outcome::Failed(why),
    }
}

/// Writes the documentation of all packages, programs included, without warnings.
pub(crate) fn all_docs() -> Outcome {
    run(workspace("doc").arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_of_two_targets_is_reported_once() {
        let warning =
            r#"{"reason":"compiler-message","message":{"level":"warning","rendered":"unused\n","spans":[{}]}}"#;
        let count = r#"{"reason":"compiler-message","message":{"level":"warning","rendered":"1 warning","spans":[]}}"#;
        let artifact = r#"{"reason":"compiler-artifact","fresh":true}"#;
        let found = diagnostics(&[artifact, warning, count, warning, "not JSON"].join("\n"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["unused\n"]);
    }
}

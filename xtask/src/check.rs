//! All that can be said about the repository without running its tests.

use std::process::Command;

use crate::report::{Outcome, Report, run};
use crate::tools::{self, Tool, cargo};
use crate::{generate, header, rules, test};

const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", default_features: false };

/// What is built besides the whole workspace, whose crates switch on `hub` and `internals`.
const FEATURE_SETS: [(&str, &[&str]); 3] = [
    ("without features", &["--no-default-features"]),
    ("default features", &[]),
    (
        "all features that need no GPU",
        &["--features", "clip-tokenizer,demo-model,edges,hub,internals,pose,safety,segmentation"],
    ),
];

pub(crate) fn all(report: &mut Report) {
    report.command("formatting", cargo().args(["fmt", "--all", "--check"]));
    report.step("repository rules", rules::check);
    report.step("Python syntax", python_syntax);
    report.step("licences, bans, sources", deny);
    let lints = ["--", "-D", "warnings"];
    let mut workspace = cargo();
    workspace.args(["clippy", "--workspace", "--all-targets"]).args(test::FEATURES).args(lints);
    report.command("lints: workspace", &mut workspace);
    for (name, flags) in FEATURE_SETS {
        let mut clippy = cargo();
        clippy.args(["clippy", "--package", "dreamframe", "--all-targets"]).args(flags).args(lints);
        report.command(&format!("lints: core, {name}"), &mut clippy);
    }
    let mut peers = cargo();
    peers.args(["clippy", "--package", "dreamframe-peers", "--all-targets", "--features", "candle"]).args(lints);
    report.command("lints: peers, with candle", &mut peers);
    report.step("lints: fuzz targets", fuzz_targets);
    report.step("lints: core, aarch64", aarch64);
    let mut docs = cargo();
    docs.args(["doc", "--workspace", "--no-deps"]).args(test::FEATURES).env("RUSTDOCFLAGS", "-D warnings");
    report.command("docs", &mut docs);
    generate::check(report);
    header::check(report);
}

/// Advisories are left out: their database comes over the network, and a new one must not break an old commit.
fn deny() -> Outcome {
    let path = match CARGO_DENY.path() {
        Ok(path) => path,
        Err(why) => return Outcome::NotRun(why),
    };
    let mut deny = Command::new(path);
    deny.args(["--log-level", "error", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    run(&mut deny)
}

/// They lie outside the workspace, with the same profile, so that what they depend on is checked only once.
fn fuzz_targets() -> Outcome {
    let mut clippy = cargo();
    clippy.args(["clippy", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target", "--all-targets"]);
    run(clippy.args(["--", "-D", "warnings"]))
}

/// Other processors get the portable kernels: those build, where the toolchain has the target.
fn aarch64() -> Outcome {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let installed = installed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|l| l == TARGET));
    if !installed {
        return Outcome::NotRun(format!("the toolchain has no {TARGET}; `rustup target add {TARGET}` gets it"));
    }
    let mut clippy = cargo();
    clippy.args(["clippy", "--package", "dreamframe", "--target", TARGET, "--", "-D", "warnings"]);
    run(&mut clippy)
}

fn python_syntax() -> Outcome {
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

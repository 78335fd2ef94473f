//! The benchmark against other libraries. Only run manually: the libraries are gigabytes, and it takes long.

use std::path::Path;
use std::process::Command;

use crate::prepare::pip;
use crate::report::{Outcome, Report};
use crate::tools::{self, cargo};

/// The path of an interpreter that has the libraries; if it is not set, they are installed in a separate environment.
const PYTHON: &str = "DREAMFRAME_PEERS_PYTHON";

pub(crate) fn run(report: &mut Report, args: &[&str]) {
    let mut peers = cargo();
    peers
        .args(["run", "--release", "--quiet", "--package", "dreamframe-peers", "--features", "candle", "--"])
        .args(args);
    if std::env::var_os(PYTHON).is_none() && !args.contains(&"--help") {
        let mut failed = true;
        report.step("Python environment", || match install(&mut peers) {
            Ok(()) => {
                failed = false;
                Outcome::Passed
            }
            Err(why) => Outcome::Failed(why),
        });
        if failed {
            return;
        }
    }
    report.command("peers", &mut peers);
}

fn install(peers: &mut Command) -> Result<(), String> {
    let folder = tools::root().join("target/tools/peers");
    let python = pip(Path::new("python3"), &["tests/peers/requirements.txt".into()], &folder)?;
    peers.env(PYTHON, python);
    Ok(())
}

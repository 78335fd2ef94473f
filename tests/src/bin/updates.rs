//! A million random updates of a session, valid and not, while frames flow.
//!
//! `cargo run --release -p dreamframe-tests --bin updates -- [--chains stamps|mixed|others]
//! [--updates 1000000] [--seed 1] [--burst 64] [--minutes N]`
//!
//! `--chains` says which image processors updates set: such that record the update, those behind others, or others alone.
//! Compares the parameters after each 100 updates with a model, each picture with the updates that were applied, and pictures
//! with those of a new engine after each 5000. Prints a line for each percent, and what was found; fails if anything is
//! wrong.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use dreamframe_tests::kit::Kit;
use dreamframe_tests::updates::{Chains, Options, Report, run};

fn main() -> dreamframe::Result<ExitCode> {
    let mut options = Options { chains: Chains::Stamps, updates: 1_000_000, seed: 1, burst: 64, limit: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match (argument.as_str(), value.parse::<u64>().ok()) {
            ("--chains", _) if value == "stamps" => options.chains = Chains::Stamps,
            ("--chains", _) if value == "mixed" => options.chains = Chains::StampsAmongOthers,
            ("--chains", _) if value == "others" => options.chains = Chains::Others,
            ("--updates", Some(number)) => options.updates = number as usize,
            ("--seed", Some(number)) => options.seed = number,
            ("--burst", Some(number @ 1..)) => options.burst = number as usize,
            ("--minutes", Some(number)) => options.limit = Some(Duration::from_secs(60 * number)),
            _ => {
                let usage = "usage: updates [--chains stamps|mixed|others] [--updates 1000000] [--seed 1] [--burst 64] [--minutes N]";
                let _ = writeln!(io::stderr(), "{usage}");
                return Ok(ExitCode::from(2));
            }
        }
    }
    let folder =
        tempfile::tempdir().map_err(|error| dreamframe::Error::new(dreamframe::ErrorKind::Io, error.to_string()))?;
    let kit = Kit::new(&folder.path().to_string_lossy(), "updates");
    let mut next = 0;
    let report = run(&kit, &options, |report| {
        if report.updates >= next {
            next = report.updates + options.updates / 100;
            print(report);
        }
    })?;
    print(&report);
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "memory after half and at the end, KiB: {:?}", report.resident);
    let [median, longest] = report.frame_times;
    let _ = writeln!(out, "frames: median {median:?}, longest {longest:?}, longest wait {:?}", report.unexplained);
    for fault in &report.faults {
        let _ = writeln!(out, "FAULT {fault}");
    }
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report) {
    let Report { updates, refused, rejected, superseded, applied, frames, stamped, compared, faults, .. } = report;
    let ends = format!("{refused} refused, {rejected} rejected, {superseded} superseded, {applied} applied");
    let checks = format!("{stamped} stamps, {} parameters, {} engines compared", compared[0], compared[1]);
    let line = format!("{updates} updates ({ends}), {frames} frames, {checks}, {} faults", faults.len());
    let _ = writeln!(io::stdout(), "{line}");
}

//! Times our networks and other libraries' on the same cores, in turn, and prints ratios of medians.
//!
//! `cargo xtask peers` sets up the other libraries and runs this. Each side is a process of its own that keeps one
//! network with random weights warm ([`side`]); while one works, the other is stopped ([`child`]). Before each turn and
//! after the last a control kernel is timed, and rounds in which it was off are done again ([`rounds`]).

mod case;
mod child;
mod control;
mod figure;
mod options;
mod report;
mod rounds;
mod side;
mod stats;
mod system;
mod work;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::control::Control;
use crate::figure::Figure;
use crate::options::{Options, Role};
use crate::report::Measured;

/// Errors are texts for people, with advice.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.role {
        Some(Role::Side(ref side)) => side::run(side).map(|()| ExitCode::SUCCESS),
        None => compare(&options),
    };
    done.unwrap_or_else(|error| {
        say(&format!("dreamframe-peers: {error}\n"));
        ExitCode::FAILURE
    })
}

/// Measures every figure that is asked for; one that fails does not keep the others from being measured.
fn compare(options: &Options) -> Result<ExitCode> {
    system::keep_to_cores(options.threads.get())?;
    let (mut all, mut failed) = (Vec::new(), false);
    for figure in options.figures()? {
        say(&format!("measuring {figure}\n"));
        match measure(&figure, options) {
            Ok(measured) => {
                writeln!(std::io::stdout(), "{measured}")?;
                all.push(measured);
            }
            Err(error) => {
                say(&format!("FAILED {figure}: {error}\n"));
                failed = true;
            }
        }
    }
    if all.len() > 1 {
        write!(std::io::stdout(), "{}", report::summary(&all))?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&all)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(figure: &Figure, options: &Options) -> Result<Measured> {
    figure.check()?;
    let gflop = figure.case.gflop()?;
    let control = Control::new(&figure.case)?;
    let [mut ours, mut peer] = child::both(figure, options)?;
    let mut round = || rounds::round(&mut || control.rate(), &mut ours, &mut peer);
    let rounds = rounds::collect(options.rounds.get(), options.tolerance, &mut round)?;
    Measured::new(figure, gflop, rounds, [&ours, &peer])
}

/// Prints the progress for people, in addition to the results.
fn say(text: &str) {
    // Nobody may be listening; the figures are what matters.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

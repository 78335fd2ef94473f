//! The repository's tasks. `cargo xtask test` is all that CI runs.
//!
//! Each task is a list of steps. A step prints its name and its time, and a failing one names its command; the steps
//! after it still run, so that one look shows all that is wrong. What cannot run on this machine says why.

mod check;
mod fuzz;
mod generate;
mod golden;
mod header;
mod install;
mod notices;
mod package;
mod peers;
mod python;
mod report;
mod rules;
mod stubs;
mod test;
mod tools;
mod wheel;

use std::process::ExitCode;

use report::Report;

const USAGE: &str = "\
usage: cargo xtask TASK

  test                   every check and every test: what CI runs
  check                  formatting, lints, feature sets, docs, licences, repository rules, generated files
  generate               writes the generated files anew
  header                 writes include/dreamframe.h anew
  install --prefix DIR [--features NAMES]
                         builds the C and C++ library and puts it under DIR, with all that a host's build needs
  package                the same as an archive, looked into and tried: target/package
  stubs                  writes the Python module's stub and the classes of the parameters anew
  fuzz [--seconds N]     runs each fuzz target for N seconds (60)
  wheel                  builds the Python package's wheel into target/wheels, and looks into it
  python                 the wheel, its tests on the oldest and the newest Python here, types and lint
  golden                 re-runs the scripts of tests/golden/generate in a Python environment of their own
  peers [ARGUMENTS]      times our networks and other libraries' in turn; --help lists the arguments";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let started_in = std::env::current_dir().unwrap_or_default();
    if let Err(error) = std::env::set_current_dir(tools::root()) {
        eprintln!("xtask: cannot enter {}: {error}", tools::root().display());
        return ExitCode::FAILURE;
    }
    let mut report = Report::new();
    match args.as_slice() {
        ["test"] => {
            check::all(&mut report);
            let libraries = package::run(&mut report);
            test::all(&mut report, libraries.as_deref());
            python::all(&mut report);
        }
        ["check"] => {
            check::all(&mut report);
            package::run(&mut report);
        }
        ["wheel"] => drop(wheel::all(&mut report)),
        ["python"] => python::all(&mut report),
        ["generate"] => {
            generate::run(&mut report);
            header::run(&mut report);
        }
        ["header"] => header::run(&mut report),
        ["stubs"] => report.step("Python stubs", stubs::write),
        ["install", "--prefix", prefix] => install::run(&mut report, &started_in.join(prefix), ""),
        ["install", "--prefix", prefix, "--features", features] => {
            install::run(&mut report, &started_in.join(prefix), features);
        }
        ["package"] => drop(package::run(&mut report)),
        ["fuzz"] => fuzz::run(&mut report, 60),
        ["fuzz", "--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(&mut report, seconds),
            Err(_) => return wrong_usage(&format!("--seconds is {seconds}, but must be a whole number")),
        },
        ["golden"] => golden::run(&mut report),
        ["peers", args @ ..] => peers::run(&mut report, args),
        ["help" | "--help" | "-h"] => {
            eprintln!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [] => return wrong_usage("no task"),
        [task, ..] => return wrong_usage(&format!("no such task, or wrong arguments for it: {task}")),
    }
    report.finish()
}

fn wrong_usage(why: &str) -> ExitCode {
    eprintln!("xtask: {why}\n{USAGE}");
    ExitCode::from(2)
}

//! The subcommands. Each is one file: its arguments, and a thin layer over the library.
//!
//! Machine output goes to standard output, words to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 3 invalid parameters.

mod bench;
mod convert;
mod demo;
mod doctor;
mod exit;
mod fetch;
mod film;
mod interrupt;
mod machine;
mod models;
pub(crate) mod options;
mod output;
mod pairing;
mod params;
mod process;
mod progress;
mod quantise;
mod serve;
mod sheet;
mod table;
mod timeline;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Real-time diffusion: a frame goes in, a restyled picture comes out.
#[derive(Debug, Parser)]
#[command(name = "dreamframe", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 invalid parameters.\n\
                        Log: set RUST_LOG, for example RUST_LOG=dreamframe=debug.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Serve(Box<serve::Args>),
    Process(process::Args),
    Params(params::Args),
    Models(models::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
}

/// Runs the command that the process was started with; its exit code.
pub fn main() -> ExitCode {
    // clap answers `--help` and wrong usage itself, with the exit codes 0 and 2.
    let cli = Cli::parse();
    // A server tells what it does; a command that a person waits for only what went wrong.
    let usual =
        if matches!(cli.command, Command::Serve(_)) { "warn,dreamframe=info,dreamframe_server=info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let (result, json) = match cli.command {
        Command::Demo(args) => (demo::run(&args), args.json),
        Command::Serve(args) => (serve::run(&args), args.json),
        Command::Process(args) => (process::run(&args), args.json),
        Command::Params(args) => (params::run(&args), args.json()),
        Command::Models(args) => (models::run(&args), args.json()),
        Command::Bench(args) => (bench::run(&args), args.json),
        Command::Doctor(args) => (doctor::run(&args), args.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}

//! The subcommands. Each is one file with its arguments and a thin layer over the library.
//!
//! Output for programs is written to standard output, messages for people to standard error. Exit codes: 0 success, 1
//! failure, 2 wrong usage, 3 invalid parameters.

mod bench;
mod contact_sheet;
mod convert;
mod demo;
mod doctor;
mod exit;
mod fetch;
mod gateway;
mod gpu;
mod interrupt;
mod machine;
mod models;
pub(crate) mod options;
mod output;
mod pairing;
mod params;
mod process;
mod progress;
mod quantize;
mod recommend;
mod serve;
mod signals;
mod table;
mod timeline;
mod video;

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
    Gateway(gateway::Args),
    Process(process::Args),
    Params(params::Args),
    Models(models::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Gpu(gpu::Args),
}

/// Runs the command that the process was started with, and ends the process with its exit code.
pub fn main() -> ! {
    // clap answers `--help` and wrong usage itself, with the exit codes 0 and 2.
    let cli = Cli::parse();
    // A server logs what it does; other commands only what went wrong.
    let is_server = matches!(cli.command, Command::Serve(_) | Command::Gateway(_));
    let usual = if is_server { "warn,dreamframe=info,dreamframe_server=info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let (result, json) = match cli.command {
        Command::Demo(args) => (demo::run(&args), args.json),
        Command::Serve(args) => (serve::run(&args), args.json),
        Command::Gateway(args) => (gateway::run(&args), args.json),
        Command::Process(args) => (process::run(&args), args.json),
        Command::Params(args) => (params::run(&args), args.json()),
        Command::Models(args) => (models::run(&args), args.json()),
        Command::Bench(args) => (bench::run(&args), args.json),
        Command::Doctor(args) => (doctor::run(&args), args.json),
        Command::Gpu(args) => (gpu::run(&args), args.json()),
    };
    exit::end(result.map_or_else(|failure| failure.report(json), |()| 0))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    /// The arguments of each of our containers.
    fn arguments(manifest: &str) -> Vec<Vec<String>> {
        let mut lines = manifest.lines().map(str::trim);
        let mut all = Vec::new();
        while lines.any(|line| line == "args:") {
            let given = lines.by_ref().take_while(|line| line.starts_with(['-', '#']));
            let given =
                given.filter_map(|line| line.strip_prefix("- ")).map(|line| line.replace("$(HOST_IP)", "10.0.0.5"));
            all.push(given.collect());
        }
        all
    }

    const MANIFEST: &str = include_str!("../../../deploy/kubernetes.yaml");

    #[test]
    fn what_the_cluster_starts_is_understood() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), [7; 32]).unwrap();
        let mounted = MANIFEST.replace("=/secrets/registry-secret", &format!("={}", secret.path().display()));
        let given = arguments(&mounted);
        let names: Vec<_> = given.iter().map(|arguments| arguments[0].as_str()).collect();
        assert_eq!(names, ["serve", "gateway"]);
        let registry = MANIFEST.lines().find_map(|line| line.trim().strip_prefix("value: redis://"));
        let registry = format!("redis://{}", registry.unwrap().replace("$(REGISTRY_PASSWORD)", "0123abcd"));
        let variable = |name: &str| match name {
            "DREAMFRAME_API_KEYS" => Some("key-for-all-of-a-test".to_owned()),
            "DREAMFRAME_REGISTRY" => Some(registry.clone()),
            _ => None,
        };
        for arguments in &given {
            let cli = Cli::try_parse_from(std::iter::once("dreamframe").chain(arguments.iter().map(String::as_str)));
            let command = cli.unwrap().command;
            if let Command::Serve(args) = &command {
                let config = serve::config(args, variable).unwrap();
                assert!(config.registry.unwrap().secret.is_some() && config.drain.as_secs() == 3600);
            }
            if let Command::Gateway(args) = &command {
                assert!(gateway::config(args, variable).unwrap().registry.secret.is_some());
            }
        }
    }

    /// The manifest is safe by default: its user sets the addresses that have access, and the images.
    #[test]
    fn cluster_manifest_starts_nothing_until_it_is_filled_in() {
        let lines = || MANIFEST.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let images: Vec<_> = lines().filter_map(|line| line.strip_prefix("image: ")).collect();
        assert!(images.len() == 3 && images.iter().all(|image| image.ends_with("@sha256:FILL_IN")), "{images:?}");
        let networks: Vec<_> = lines().filter(|line| line.contains("cidr:") || line.contains("--workers=")).collect();
        // A range for documentation (RFC 5737).
        assert!(networks.len() == 2 && networks.iter().all(|line| line.contains("192.0.2.0/24")), "{networks:?}");
        assert!(lines().any(|line| line == "requirepass $REGISTRY_PASSWORD"));
        assert_eq!(lines().filter(|line| line.contains("--registry-secret-file=")).count(), 2);
        let container = include_str!("../../../deploy/Containerfile");
        assert!(container.lines().filter(|line| line.starts_with("FROM ")).all(|line| line.starts_with("FROM ${")));
    }

    /// The command lines of the unit of systemd and of the templates for clouds.
    #[test]
    fn what_units_and_templates_start_is_understood() {
        let unit = include_str!("../../../deploy/dreamframe.service");
        let template: serde_json::Value = serde_json::from_str(include_str!("../../../deploy/runpod.json")).unwrap();
        let start = template["dockerStartCmd"][0].as_str().unwrap();
        let readme = include_str!("../../../deploy/README.md");
        let lines: Vec<&str> = [unit, start, readme].into_iter().flat_map(str::lines).collect();
        let commands: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.split_once("dreamframe serve ").map(|(_, rest)| rest.split('\'').next().unwrap()))
            .collect();
        assert_eq!(commands.len(), 3, "{commands:?}");
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        std::fs::write(&keys, "key-for-all-of-a-test\n").unwrap();
        for command in commands {
            let command = command
                .replace("${CREDENTIALS_DIRECTORY}/keys", keys.to_str().unwrap())
                .replace("${STATE_DIRECTORY}", folder.path().to_str().unwrap())
                .replace("$RUNPOD_POD_ID", "pod1");
            let variable =
                |name: &str| template["env"][name].as_str().map(|value| value.replace("KEY", "key-for-all-of-a-test"));
            let cli =
                Cli::try_parse_from(["dreamframe", "serve"].into_iter().chain(command.split_whitespace())).unwrap();
            let Command::Serve(args) = &cli.command else { panic!("{command}") };
            if let Err(error) = serve::config(args, variable) {
                panic!("{command}: {error:?}");
            }
        }
    }
}

//! `dreamframe gateway`: one address for several servers.

use std::path::PathBuf;
use std::time::Duration;

use super::exit::Result;
use super::serve::{in_runtime, ready, signals};
use crate::config::{layered, url_of};
use crate::gateway::{Config, Gateway, Settings, router};
use crate::listener::HttpListener;

/// Sends clients' requests to the server that has their stream, of many that share a registry
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Servers join with `dreamframe serve --registry URL`. Every option but --config and --json can also be \
    set by an environment variable (--registry: DREAMFRAME_REGISTRY) and in the file of --config; an option counts before a \
    variable, and that before the file."
)]
pub(super) struct Args {
    /// A TOML file of settings [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Print a JSON line when the gateway is ready
    #[arg(long)]
    pub(super) json: bool,
}

/// The configuration of the gateway; `variable` reads the environment.
pub(super) fn config(args: &Args, variable: impl Fn(&str) -> Option<String>) -> Result<Config> {
    Ok(Config::new(layered(&args.settings, variable, args.config.as_deref())?)?)
}

pub(super) fn run(args: &Args) -> Result {
    let config = config(args, |name| std::env::var(name).ok())?;
    in_runtime(async {
        let ended = signals(Duration::ZERO)?;
        let gateway = Gateway::new(&config)?;
        let listener = HttpListener::new(config.bind, config.tls.as_ref(), config.max_connections).await?;
        let url = url_of(listener.address, config.tls.is_some());
        eprintln!("dreamframe sends requests to the servers of its registry");
        eprintln!("  API      {url}/v1/streams");
        eprintln!("  health   {url}/health, /ready, /metrics");
        eprintln!("Ctrl-C ends it.");
        ready(&url, None, args.json)?;
        listener.serve(router(gateway), ended).await?;
        Ok(())
    })
}

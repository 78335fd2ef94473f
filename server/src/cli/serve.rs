//! `dreamframe serve`: serves streams by Daydream's API, WHIP and WHEP, and the page.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use dreamframe::load::ModelSource;
use dreamframe::{Error, ErrorKind};
use serde_json::json;

use super::exit::{Result, end};
use super::options::EngineArgs;
use super::output::Output;
use super::signals::on_request_to_end;
use crate::config::{Config, Settings, layered};
use crate::serve::Bound;

/// The longest time for ending, if something hangs.
const LONGEST_END: Duration = Duration::from_millis(4800);

/// Serves streams over the network: Daydream's API, WHIP and WHEP, and a page to try it with
#[derive(Debug, clap::Args)]
#[command(after_help = "Every option but --config and those of the engine can also be set by an environment variable \
    (--max-streams: DREAMFRAME_MAX_STREAMS) and in the file of --config (max_streams = 8); an option counts before a \
    variable, and that before the file.\n\
    With --json, or where standard output is no terminal, it has one line when the server is ready: \
    {\"event\": \"listening\", \"url\": …}, and with --osc \"osc\", its address.")]
pub(super) struct Args {
    /// A TOML file of settings [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Print a JSON line when the server is ready
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The configuration of the server; `variable` reads the environment.
pub(super) fn config(args: &Args, variable: impl Fn(&str) -> Option<String>) -> Result<Config> {
    let settings = layered(&args.settings, &variable, args.config.as_deref())?;
    let keys = variable("DREAMFRAME_API_KEYS");
    Ok(Config::new(settings, keys.as_deref(), args.engine.options()?)?)
}

pub(super) fn run(args: &Args) -> Result {
    let config = config(args, |name| std::env::var(name).ok())?;
    let drain = config.drain;
    in_runtime(async {
        let ended = signals(drain)?;
        let bound = Bound::new(config).await?;
        let url = announce(&bound, args.json)?;
        if bound.app.config.open {
            open(&format!("{url}/?source=demo"));
        }
        bound.serve(ended).await?;
        Ok(())
    })
}

/// Runs a server on a runtime of its own.
pub(super) fn in_runtime(served: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("dreamframe-net").build();
    let runtime =
        runtime.map_err(|error| Error::new(ErrorKind::Device, "failed to start threads").with_source(error))?;
    let result = runtime.block_on(served);
    // Work that does not end in time is abandoned.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Completes at the first request to end; a second one ends the process, as does a shutdown that takes
/// longer than allowed after `drain`.
pub(super) fn signals(drain: Duration) -> Result<impl Future<Output = ()>> {
    let (asked, ended) = tokio::sync::oneshot::channel();
    let mut asked = Some(asked);
    on_request_to_end(move || match asked.take() {
        Some(asked) => {
            // An error means that the server has failed already.
            let _ = asked.send(());
            std::thread::spawn(move || {
                std::thread::sleep(drain.saturating_add(LONGEST_END));
                tracing::warn!("shutdown timed out");
                end(0);
            });
        }
        None => end(1),
    })?;
    Ok(async move {
        let _ = ended.await;
    })
}

/// Reports the URLs to people on standard error, and to programs on standard output.
fn announce(bound: &Bound, json: bool) -> Result<String> {
    let config = &bound.app.config;
    let local = config.local_url(bound.listener.address);
    let url = config.public_url.as_ref().map_or_else(|| local.clone(), |urls| urls.base().to_owned());
    let model = match &config.source {
        ModelSource::Demo => "the demo model (give --models for others)".to_owned(),
        ModelSource::Folder(folder) => folder.display().to_string(),
        other @ (ModelSource::Cache(_) | ModelSource::Random(_) | _) => format!("{other:?}"),
    };
    eprintln!("dreamframe serves {model}");
    if config.source == ModelSource::Demo {
        eprintln!("  models   `dreamframe models recommend` lists those that this machine can run");
    }
    eprintln!("  page     {url}/");
    eprintln!("  API      {url}/v1/streams");
    eprintln!("  WHIP     {url}/live/video-to-video/<stream_key>/whip, as the API hands it out");
    let osc = bound.osc.as_ref().and_then(|socket| socket.local_addr().ok());
    if let Some(address) = osc {
        eprintln!("  OSC      {address} (UDP), /dreamframe/<stream>/<parameter>");
    }
    eprintln!("  health   {url}/health, /metrics, /openapi.json");
    if config.keys.is_open() {
        eprintln!(
            "  keys     none: programs and pages of this machine may use the server, and pages of --allow-origin"
        );
    } else if config.tls.is_none() && config.public_url.is_none() && !bound.listener.address.ip().is_loopback() {
        eprintln!("  warning  keys travel unencrypted: give --tls-cert and --tls-key, or a proxy with --public-url");
    }
    eprintln!(
        "  try      curl -X POST {url}/v1/streams{}",
        if config.keys.is_open() { "" } else { " -H 'Authorization: Bearer …'" }
    );
    eprintln!("Ctrl-C ends it.");
    ready(&local, osc, json)?;
    Ok(local)
}

/// Reports the URL, and the address for OSC, to programs.
pub(super) fn ready(url: &str, osc: Option<SocketAddr>, json: bool) -> Result {
    if json || !std::io::stdout().is_terminal() {
        let mut event = json!({"event": "listening", "url": url});
        if let Some(address) = osc {
            event["osc"] = address.to_string().into();
        }
        Output::new().line(&event)?;
    }
    Ok(())
}

/// Opens the page; a machine without a browser is no failure.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(target_os = "windows") {
        "explorer"
    } else {
        "xdg-open"
    };
    let opened =
        Command::new(program).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if let Err(error) = opened {
        eprintln!("dreamframe: failed to open a browser: {error}");
    }
}

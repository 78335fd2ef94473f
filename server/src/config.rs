//! Configuration of the server: flags, then the environment, then a TOML file, then defaults.
//!
//! One struct, [`Settings`], is read three times. Each layer is a map of the settings that it has; a later layer overrides
//! an earlier one. The result is checked once, in [`Config::new`].

mod exposure;
mod layers;
mod parse;
mod shared;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dreamframe::load::ModelSource;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::preprocess::Registry;
use dreamframe::transport::IngestOptions;
use dreamframe::transport::http::{AllowedOrigins, Limits};
use dreamframe::transport::peer::{IceServer, PeerOptions};
use dreamframe::{EngineOptions, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use self::exposure::{only_this_machine, only_with_keys_elsewhere};
pub(crate) use self::layers::{Layered, layered};
pub(crate) use self::parse::worker_url;
pub(crate) use self::shared::{SharedSettings, Tls, url_of};
use crate::auth::Keys;
use crate::cli::options::{read_params, read_text};
use crate::clips;
use crate::cluster::Membership;
use crate::rtmp::PushTo;
use crate::style::Fetch;
use crate::urls::Urls;
use crate::wire::models;

/// The environment variable that has keys themselves.
const KEYS_VARIABLE: &str = "DREAMFRAME_API_KEYS";
/// Longest file of keys or settings.
const MAX_FILE: u64 = 1 << 20;
/// What can be set by flag, environment variable (`DREAMFRAME_` and the name) and file (the name with underscores).
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[command(next_help_heading = "Server")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) shared: SharedSettings,
    /// The base of all URLs in responses, such as https://sd.example [default: the host that the client asked]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// A file of API keys, one a line; DREAMFRAME_API_KEYS has keys themselves, with commas between
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys: Option<PathBuf>,
    /// demo, a diffusers folder, a checkpoint in a .safetensors file, or a directory of them [default: demo]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) models: Option<String>,
    /// A JSON file of parameters that new streams begin with
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) params: Option<PathBuf>,
    /// UDP ports for WebRTC, such as 50000-50100 [default: any]
    #[arg(long, value_name = "FROM-TO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) udp_ports: Option<String>,
    /// An IP address to receive WebRTC at, may be given again [default: every IPv4 interface, and 127.0.0.1]
    #[arg(long, value_name = "IP")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) udp_bind: Vec<IpAddr>,
    /// The address at which peers reach this machine's UDP ports, where a NAT is in between
    #[arg(long, value_name = "IP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_ip: Option<IpAddr>,
    /// A STUN or TURN server, may be repeated: stun:host:port, or turn:host:port,user,password, sent to publishers alone
    #[arg(long, value_name = "SERVER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ice_server: Vec<String>,
    /// A file with the secret that --ice-server turn:host:port shares (coturn's static-auth-secret): publishers and
    /// viewers get credentials made with it that hold for an hour
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn_secret: Option<PathBuf>,
    /// A proxy for style images, such as http://proxy.example:3128 [default: none, regardless of the environment]; it
    /// resolves names itself, so it must refuse addresses of the local network
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) style_proxy: Option<String>,
    /// Where to listen for RTMP: an address and port, beyond this machine only with keys, or off [default: port 1935 at
    /// the address of --bind]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtmp: Option<String>,
    /// Where to listen for RTMP over TLS, such as 0.0.0.0:1936, with the certificate of --tls-cert [default: off]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtmps: Option<SocketAddr>,
    /// Where to listen for OSC (UDP), such as 127.0.0.1:9000, which changes the parameters of streams [default: off]; OSC has
    /// no keys, so a server with keys, and an address beyond this machine, need --osc-unauthenticated
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) osc: Option<SocketAddr>,
    /// Let everyone who reaches the address of --osc change all streams without a key
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) osc_unauthenticated: bool,
    /// Addresses that streams may be pushed to (output_rtmp_url) in addition to public ones, may be repeated: a host, host:port,
    /// or private, for private networks and this machine [default: this machine, if there are no keys]
    #[arg(long, value_name = "HOST[:PORT]|private")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) push_to: Vec<String>,
    /// Certificates, in PEM form, of authorities that sign those of services that streams are pushed to by rtmps://, in
    /// addition to the public ones
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) push_ca: Option<PathBuf>,
    /// The longest side of a publisher's video in pixels, from 16 to 4096 [default: 1920]
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_video_side: Option<u32>,
    /// The largest number of streams [default: 64]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_streams: Option<usize>,
    /// The largest number of streams that make pictures at a time [default: 4]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_sessions: Option<usize>,
    /// The largest number of viewers of one stream [default: 32]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_viewers: Option<usize>,
    /// Seconds without a publisher or viewer after which a stream releases its engine [default: 60]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_seconds: Option<u64>,
    /// A folder in which streams are stored with their secrets, so that they survive a restart [default: none]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<PathBuf>,
    /// A folder in which clips are stored, so that they survive a restart [default: none, clips are in memory]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clips: Option<PathBuf>,
    /// The space of all clips together, in MiB; the oldest are removed once a new one is written, whose size comes on top until
    /// then [default: 1024 with --clips, otherwise 128]
    #[arg(long, value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clip_space: Option<u64>,
    /// The memory that streams may have together, as estimated before they load a model: bytes, or a number with K, M, G or T
    /// [default: what the machine has, for the executor cpu]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_limit: Option<String>,
    /// A model to load at the start and keep in memory, may be repeated; /ready is 503 until then
    #[arg(long, value_name = "MODEL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) preload: Vec<String>,
    /// Seconds that a frame may take, other than while a model is loaded; the session is started again after them
    /// [default: 120]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame_timeout: Option<u64>,
    /// Refuse what the public schema refuses, such as sizes outside 384 to 1024
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) strict: bool,
    /// Keep the size and the steps that streams ask for, even if the machine is too slow for them: otherwise streams created
    /// with "adapt": true, such as the page's, change both by the speed of the machine
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) no_adapt: bool,
    /// Where gateways reach this server, such as http://10.0.0.5:8889 [default: the address of --bind]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker_url: Option<String>,
    /// Seconds that streams in use may continue after the server was asked to end; it accepts no others [default: 0]
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain_seconds: Option<u64>,
    /// Open the page in the browser
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) open: bool,
}

impl Layered for Settings {
    type Flattened = SharedSettings;
}

/// Whether and where RTMP is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rtmp {
    Off,
    /// Here, or not at all where something else has the port.
    Try(SocketAddr),
    /// Here; the server does not start otherwise.
    At(SocketAddr),
}

impl Rtmp {
    fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::Try(address) | Self::At(address) => Some(address),
        }
    }
}

/// The validated configuration of the server.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) bind: SocketAddr,
    pub(crate) public_url: Option<Urls>,
    pub(crate) keys: Keys,
    /// The pages that may use it.
    pub(crate) origins: AllowedOrigins,
    pub(crate) source: ModelSource,
    pub(crate) defaults: StreamDiffusionParams,
    pub(crate) engine: EngineOptions,
    pub(crate) tls: Option<Tls>,
    pub(crate) peers: PeerOptions,
    pub(crate) rtmp: Rtmp,
    /// Where RTMP over TLS is accepted.
    pub(crate) rtmps: Option<SocketAddr>,
    /// Where OSC is accepted.
    pub(crate) osc: Option<SocketAddr>,
    /// Where streams may be pushed to.
    pub(crate) push_to: Arc<PushTo>,
    pub(crate) max_streams: usize,
    pub(crate) max_sessions: usize,
    pub(crate) max_connections: usize,
    pub(crate) limits: Limits,
    pub(crate) idle: Duration,
    /// The folder in which streams are stored.
    pub(crate) state: Option<PathBuf>,
    /// The folder in which clips are stored.
    pub(crate) clips: Option<PathBuf>,
    /// The space of all clips, in bytes.
    pub(crate) clip_space: u64,
    /// The bytes that sessions may have together; `None` for what the machine has.
    pub(crate) memory_limit: Option<u64>,
    /// The models that are kept in memory.
    pub(crate) preload: Vec<String>,
    /// The longest time for a frame.
    pub(crate) frame_timeout: Duration,
    /// The processors of streams.
    pub(crate) processors: Registry,
    /// Fetches style images.
    pub(crate) style_images: Fetch,
    pub(crate) strict: bool,
    /// Whether streams that ask for it are adapted to the speed of the machine.
    pub(crate) adapt: bool,
    /// The registry in which gateways find this server.
    pub(crate) registry: Option<Membership>,
    pub(crate) worker_url: Option<String>,
    pub(crate) drain: Duration,
    pub(crate) open: bool,
}

impl Config {
    /// Checks `settings`, and reads the files that they name; `keys` are the environment's own.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` naming the setting; those of the files.
    pub(crate) fn new(settings: Settings, keys: Option<&str>, engine: EngineOptions) -> Result<Self> {
        let shared = &settings.shared;
        let bind = shared.bind();
        let mut all = Keys::parse(keys.unwrap_or_default()).map_err(|error| error.within(KEYS_VARIABLE))?;
        if let Some(path) = &settings.keys {
            all.extend(Keys::parse(&read_text(path, MAX_FILE)?).map_err(|error| error.within(path.display()))?);
        }
        let rtmp = named("rtmp", parse::rtmp(settings.rtmp.as_deref(), bind.ip()))?;
        if all.is_open() {
            for (name, address) in [("bind", Some(bind)), ("rtmp", rtmp.address()), ("rtmps", settings.rtmps)] {
                only_this_machine(name, address)?;
            }
        }
        if !settings.osc_unauthenticated {
            only_with_keys_elsewhere(settings.osc, all.is_open())?;
        }
        let peers = peers(&settings)?;
        let public_url: Option<Urls> =
            settings.public_url.as_deref().map(|url| named("public_url", url.parse())).transpose()?;
        let mut push_to = named("push_to", PushTo::new(&settings.push_to, all.is_open()))?;
        if let Some(path) = &settings.push_ca {
            push_to = push_to.with_authorities(path)?;
        }
        let tls = shared.tls()?;
        if settings.rtmps.is_some() && tls.is_none() {
            return Err(invalid_setting("rtmps", "got an address, expected tls_cert and tls_key as well"));
        }
        let worker_url = settings.worker_url.as_deref().map(|url| named("worker_url", worker_url(url))).transpose()?;
        if shared.registry.is_some() && worker_url.is_none() && bind.ip().is_unspecified() {
            let text =
                "missing, expected http:// or https:// with the host and port at which gateways reach this server";
            return Err(invalid_setting("worker_url", text));
        }
        if tls.is_some() && worker_url.as_ref().is_some_and(|url| url.starts_with("http://")) {
            return Err(invalid_setting(
                "worker_url",
                "got http://, expected https:// for a server with a certificate",
            ));
        }
        let source = ModelSource::from(settings.models.as_deref().unwrap_or("demo"));
        let proxy = settings.style_proxy.as_deref().map(|url| named("style_proxy", url.parse())).transpose()?;
        let strict = settings.strict;
        Ok(Self {
            bind,
            origins: origins(&all, public_url.as_ref(), worker_url.as_deref(), &shared.allow_origin)?,
            public_url,
            keys: all,
            defaults: defaults(&source, settings.params.as_deref())?,
            source,
            engine,
            tls,
            peers,
            rtmp,
            rtmps: settings.rtmps,
            osc: settings.osc,
            push_to: push_to.into(),
            max_streams: at_least_one("max_streams", settings.max_streams, 64)?,
            max_sessions: at_least_one("max_sessions", settings.max_sessions, 4)?,
            max_connections: shared.max_connections()?,
            limits: Limits::default().with_viewers(at_least_one(
                "max_viewers",
                settings.max_viewers,
                Limits::default().viewers,
            )?),
            idle: Duration::from_secs(settings.idle_seconds.unwrap_or(60)),
            state: settings.state,
            clip_space: clip_space(settings.clips.is_some(), settings.clip_space)?,
            clips: settings.clips,
            memory_limit: settings
                .memory_limit
                .as_deref()
                .map(|text| named("memory_limit", parse::bytes(text)))
                .transpose()?,
            preload: preload(settings.preload)?,
            frame_timeout: Duration::from_secs(at_least_one("frame_timeout", settings.frame_timeout, 120)?),
            processors: Registry::new(),
            style_images: Fetch::new(proxy),
            strict,
            adapt: !settings.no_adapt,
            registry: shared.membership()?,
            worker_url,
            drain: Duration::from_secs(settings.drain_seconds.unwrap_or(0)),
            open: settings.open,
        })
    }

    /// The parameters of a stream whose creator sends none.
    pub(crate) fn default_params(&self) -> StreamDiffusionParams {
        self.defaults.clone()
    }

    /// The URL at which a client on this machine reaches the socket address `at`.
    pub(crate) fn local_url(&self, at: SocketAddr) -> String {
        url_of(at, self.tls.is_some())
    }

    /// Returns the settings of a server on any port of this machine with the demo model, without RTMP: for fuzzers.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub(crate) fn local() -> Result<Self> {
        let shared = SharedSettings { bind: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..SharedSettings::default() };
        let settings = Settings { shared, rtmp: Some("off".into()), ..Settings::default() };
        Self::new(settings, None, EngineOptions::default())
    }

    /// The same, for tests.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::local().unwrap()
    }
}

/// The bytes of all clips.
fn clip_space(has_folder: bool, mib: Option<u64>) -> Result<u64> {
    let usual = if has_folder { clips::FOLDER_SPACE } else { clips::MEMORY_SPACE };
    Ok(at_least_one("clip_space", mib, usual >> 20)?.saturating_mul(1 << 20))
}

/// Checks that models are named by ids.
fn preload(ids: Vec<String>) -> Result<Vec<String>> {
    for id in &ids {
        id.parse::<dreamframe::load::ModelId>().map_err(|error| error.within("preload"))?;
    }
    Ok(ids)
}

/// Options of WebRTC connections.
fn peers(settings: &Settings) -> Result<PeerOptions> {
    let turn_secret = settings.turn_secret.as_deref().map(turn_secret).transpose()?;
    let servers =
        settings.ice_server.iter().map(|text| named("ice_server", parse::ice_server(text, turn_secret.as_deref())));
    let ports = settings.udp_ports.as_deref().map(|text| named("udp_ports", parse::ports(text))).transpose()?;
    let mut peers = PeerOptions::default()
        .with_ports(ports)
        .with_public_ip(settings.public_ip)
        .with_ice_servers(servers.collect::<Result<_>>()?)
        .with_ingest(ingest(settings.max_video_side)?);
    if !settings.udp_bind.is_empty() {
        peers.bind.clone_from(&settings.udp_bind);
    }
    Ok(peers)
}

/// The pages that may use a server: with keys those of any origin, as browsers do not send keys by themselves; else
/// those of this machine, of the server's other addresses, and of `listed` origins.
fn origins(
    keys: &Keys,
    public_url: Option<&Urls>,
    worker_url: Option<&str>,
    listed: &[String],
) -> Result<AllowedOrigins> {
    let mut origins = if keys.is_open() { AllowedOrigins::local() } else { AllowedOrigins::any() };
    for own in public_url.map(Urls::origin).into_iter().chain(worker_url) {
        origins = origins.with(own)?;
    }
    with_listed(origins, listed)
}

/// Adds origins that a setting lists.
///
/// # Errors
///
/// `InvalidArgument` for one that is none.
pub(crate) fn with_listed(origins: AllowedOrigins, listed: &[String]) -> Result<AllowedOrigins> {
    let with_all = listed.iter().try_fold(origins, |origins, origin| origins.with(origin));
    with_all.map_err(|error| error.within("allow_origin"))
}

/// How a publisher's video is decoded.
fn ingest(max_video_side: Option<u32>) -> Result<IngestOptions> {
    let mut options = IngestOptions::default();
    let (sides, side) = (IngestOptions::SIDES, max_video_side.unwrap_or(options.max_side));
    if !sides.contains(&side) {
        let text = format!("got {side}, expected {} to {}", sides.start(), sides.end());
        return Err(invalid_setting("max_video_side", &text));
    }
    options.max_side = side;
    Ok(options)
}

/// The parameters of new streams: the defaults of the model, with those of the operator's file. A stream names one of the
/// models that clients know, whichever model is served.
fn defaults(source: &ModelSource, file: Option<&Path>) -> Result<StreamDiffusionParams> {
    let base = if *source == ModelSource::Demo {
        StreamDiffusionParams { model_id: models::USUAL.into(), ..StreamDiffusionParams::demo() }
    } else {
        StreamDiffusionParams::default()
    };
    let Some(path) = file else { return Ok(base) };
    let (params, notices) = read_params(path, &base)?;
    for notice in notices {
        tracing::warn!("{}: {notice}", path.display());
    }
    Ok(params)
}

/// The first line of a file that has a secret.
fn turn_secret(file: &Path) -> Result<String> {
    let text = read_text(file, MAX_FILE)?;
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.is_empty() {
        return Err(invalid_setting(
            "turn_secret",
            &format!("got the empty file {}, expected a secret in its first line", file.display()),
        ));
    }
    Ok(secret.to_owned())
}

pub(crate) fn at_least_one<N: PartialEq + From<u8>>(name: &str, value: Option<N>, usual: N) -> Result<N> {
    match value {
        Some(value) if value == N::from(0) => Err(invalid_setting(name, "got 0, expected at least 1")),
        Some(value) => Ok(value),
        None => Ok(usual),
    }
}

pub(crate) fn named<T>(name: &str, result: Result<T, String>) -> Result<T> {
    result.map_err(|message| invalid_setting(name, &message))
}

fn invalid_setting(name: &str, message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{name}: {message}"))
}

type Ports = RangeInclusive<u16>;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: Settings, keys: Option<&str>) -> Result<Config> {
        Config::new(settings, keys, EngineOptions::default())
    }

    #[test]
    fn without_settings_the_demo_model_is_served_to_this_machine() {
        let config = config(Settings::default(), None).unwrap();
        assert_eq!(config.bind.to_string(), "127.0.0.1:8889");
        assert_eq!((config.source, config.keys.is_open()), (ModelSource::Demo, true));
        assert_eq!(config.rtmp, Rtmp::Try(SocketAddr::from(([127, 0, 0, 1], 1935))));
        assert_eq!(config.defaults.model_id, "stabilityai/sd-turbo");
    }

    #[test]
    fn clips_have_more_space_in_a_folder_than_in_memory() {
        let space = |settings| config(settings, None).unwrap().clip_space;
        assert_eq!(space(Settings::default()), 128 << 20);
        assert_eq!(space(Settings { clips: Some("a".into()), ..Settings::default() }), 1024 << 20);
        assert_eq!(space(Settings { clip_space: Some(3), ..Settings::default() }), 3 << 20);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let of = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            config(settings, None).unwrap_err().to_string()
        };
        assert!(of(|s| s.shared.tls_cert = Some("a".into())).starts_with("tls_cert and tls_key"));
        assert!(of(|s| s.public_url = Some("sd.example".into())).starts_with("public_url: got"));
        assert!(of(|s| s.udp_ports = Some("9-8".into())).starts_with("udp_ports: got"));
        assert!(of(|s| s.frame_timeout = Some(0)).starts_with("frame_timeout: got 0"));
        assert!(of(|s| s.memory_limit = Some("8 apples".into())).starts_with("memory_limit: got"));
        assert!(of(|s| s.preload = vec!["../x".into()]).starts_with("preload: "));
        assert!(of(|s| s.clip_space = Some(0)).starts_with("clip_space: got 0"));
        assert!(of(|s| s.max_streams = Some(0)).starts_with("max_streams: got 0"));
        assert!(of(|s| s.shared.max_connections = Some(0)).starts_with("max_connections: got 0"));
        assert!(of(|s| s.shared.allow_origin = vec!["*".into()]).contains("allow_origin"));
        assert!(of(|s| s.ice_server = vec!["http://a".into()]).starts_with("ice_server: got"));
        assert!(of(|s| s.rtmp = Some("yes".into())).starts_with("rtmp: got"));
        assert!(of(|s| s.rtmps = Some(SocketAddr::from(([127, 0, 0, 1], 1936)))).starts_with("rtmps: got"));
        assert!(of(|s| s.push_ca = Some("missing.pem".into())).starts_with("push_ca: missing.pem: "));
        assert!(of(|s| s.push_to = vec!["http://a".into()]).starts_with("push_to: got"));
        assert!(of(|s| s.max_video_side = Some(8192)).starts_with("max_video_side: got 8192"));
        assert!(of(|s| s.style_proxy = Some("ftp://a:b@c".into())).starts_with("style_proxy: expected"));
        assert!(of(|s| s.ice_server = vec!["turn:a:3478".into()]).contains("turn_secret"));
        assert!(of(|s| s.shared.registry = Some("http://a".into())).starts_with("registry: expected"));
        assert!(of(|s| s.worker_url = Some("ftp://a".into())).starts_with("worker_url: got"));
        assert!(of(|s| s.worker_url = Some("https://a/b".into())).starts_with("worker_url: got"));
        assert!(
            of(|s| s.shared.registry = Some("redis://10.0.0.5".into())).starts_with("registry_secret_file: missing")
        );
        let plain = of(|s| {
            (s.shared.tls_cert, s.shared.tls_key) = (Some("a".into()), Some("b".into()));
            s.worker_url = Some("http://a".into());
        });
        assert!(plain.starts_with("worker_url: got http://"), "{plain}");
    }

    #[test]
    fn a_secret_of_turn_servers_is_read_from_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings = || Settings {
            turn_secret: Some(file.path().into()),
            ice_server: vec!["stun:a:3478".into(), "turn:b:3478".into()],
            ..Settings::default()
        };
        assert!(config(settings(), None).unwrap_err().to_string().starts_with("turn_secret: got"));
        std::fs::write(file.path(), "shared-secret\n").unwrap();
        let config = config(settings(), None).unwrap();
        let secrets: Vec<_> = config.peers.ice_servers.iter().map(|server| server.secret.as_deref()).collect();
        assert_eq!(secrets, [None, Some("shared-secret")]);
        assert!(!format!("{config:?}").contains("shared-secret"));
    }

    #[test]
    fn keys_of_file_and_environment_are_combined() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "key-of-the-file-of-a-test\n").unwrap();
        let settings = Settings { keys: Some(file.path().into()), ..Settings::default() };
        let keys = config(settings, Some("key-of-the-environment")).unwrap().keys;
        for key in ["key-of-the-file-of-a-test", "key-of-the-environment"] {
            let value = format!("Bearer {key}").parse().unwrap();
            assert!(
                keys.caller(&axum::http::HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value)])).is_ok()
            );
        }
    }
}

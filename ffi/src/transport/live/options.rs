//! Converts options of the host to those of the library.

use std::ffi::c_char;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use dreamframe::transport::peer::{IceServer, IceTransportPolicy, PeerOptions};
use dreamframe::transport::{ClientOptions, EgressOptions, ServeOptions};
use dreamframe::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::pointer;
use crate::text;
use crate::transport::network::dreamframe_network_options_t;
use crate::transport::server::dreamframe_server_options_t;

/// # Safety
///
/// Texts and structs are valid as documented in the header.
pub(super) unsafe fn serve_options(options: &dreamframe_server_options_t) -> Result<ServeOptions> {
    let mut serve = ServeOptions::default();
    serve.egress = egress_options(options.bitrate, options.frame_rate, options.key_frame_interval_ms)?;
    // SAFETY: the caller's guarantee.
    serve.peer = unsafe { peer_options(options.network) }?;
    // SAFETY: likewise.
    serve.token = unsafe { text::optional(options.token, "token") }?.map(str::to_owned);
    // SAFETY: likewise.
    serve.public_url = unsafe { text::optional(options.public_url, "public_url") }?.map(str::to_owned);
    // SAFETY: likewise.
    if let Some(address) = unsafe { text::optional(options.address, "address") }? {
        let what = || format!("address: got {address:?}, expected an IP address and a port, such as 127.0.0.1:8080");
        serve.addr = address.parse().map_err(|_| invalid_argument(what()))?;
    }
    // SAFETY: likewise.
    if let Some(origins) = unsafe { text::optional(options.allow_origins, "allow_origins") }? {
        serve.allow_origins = origins.split(',').map(|origin| origin.trim().to_owned()).collect();
    }
    if options.max_viewers > 0 {
        serve.limits.viewers = options.max_viewers as usize;
    }
    Ok(serve)
}

/// The common options of publishers and players.
pub(super) struct Common {
    pub(super) token: *const c_char,
    pub(super) network: *const dreamframe_network_options_t,
    pub(super) attempts: u32,
    pub(super) pause_ms: u32,
    pub(super) request_timeout_ms: u32,
}

impl Common {
    /// # Safety
    ///
    /// Texts and structs are valid as documented in the header.
    pub(super) unsafe fn client_options(self) -> Result<ClientOptions> {
        let mut options = ClientOptions::default().with_attempts(NonZeroU32::new(self.attempts));
        // SAFETY: the caller's guarantee.
        options.token = unsafe { text::optional(self.token, "token") }?.map(str::to_owned);
        // SAFETY: likewise.
        options.peer = unsafe { peer_options(self.network) }?;
        time(self.pause_ms, &mut options.pause);
        time(self.request_timeout_ms, &mut options.request_timeout);
        Ok(options)
    }
}

pub(super) fn egress_options(bitrate: u32, frame_rate: f32, key_frame_interval_ms: u32) -> Result<EgressOptions> {
    let mut options = EgressOptions::default();
    if !(0.0..f32::INFINITY).contains(&frame_rate) {
        return Err(invalid_argument(format!("frame_rate: got {frame_rate}, expected a finite number of at least 0")));
    }
    if frame_rate > 0.0 {
        options.frame_rate = frame_rate;
    }
    if bitrate > 0 {
        options.bitrate = bitrate;
        options.max_bitrate = options.max_bitrate.max(bitrate);
    }
    time(key_frame_interval_ms, &mut options.key_frame_interval);
    Ok(options)
}

/// # Safety
///
/// `network` is NULL or valid as documented in the header.
unsafe fn peer_options(network: *const dreamframe_network_options_t) -> Result<PeerOptions> {
    let mut options = PeerOptions::default();
    if network.is_null() {
        return Ok(options);
    }
    // SAFETY: the caller's guarantee.
    let network = unsafe { pointer::read(network) }?;
    // SAFETY: likewise.
    let (bind, public_ip, ice_servers) = unsafe {
        (
            text::optional(network.bind, "bind")?,
            text::optional(network.public_ip, "public_ip")?,
            text::optional(network.ice_servers_json, "ice_servers_json")?,
        )
    };
    if let Some(bind) = bind {
        options.bind = bind.split(',').map(|address| ip("bind", address)).collect::<Result<_>>()?;
    }
    options.public_ip = public_ip.map(|address| ip("public_ip", address)).transpose()?;
    if let Some(servers) = ice_servers {
        options.ice_servers = ice_servers_of(servers)?;
    }
    options.ports = match (network.first_port, network.last_port) {
        (0, 0) => None,
        (first, last) => Some(port("first_port", first)?..=port("last_port", last)?),
    };
    if options.ports.as_ref().is_some_and(|ports| ports.is_empty()) {
        let (first, last) = (network.first_port, network.last_port);
        return Err(invalid_argument(format!("last_port: got {last}, expected at least first_port ({first})")));
    }
    time(network.connect_timeout_ms, &mut options.connect_timeout);
    time(network.gather_timeout_ms, &mut options.gather_timeout);
    options.ice_transport_policy = match network.relayed_only {
        0 => IceTransportPolicy::All,
        1 => IceTransportPolicy::Relay,
        other => return Err(invalid_argument(format!("relayed_only: got {other}, expected 0 or 1"))),
    };
    Ok(options)
}

fn ip(name: &str, text: &str) -> Result<IpAddr> {
    text.trim().parse().map_err(|_| invalid_argument(format!("{name}: got {text:?}, expected an IP address")))
}

fn port(name: &str, number: u32) -> Result<u16> {
    let found = u16::try_from(number).ok().filter(|port| *port > 0);
    found.ok_or_else(|| invalid_argument(format!("{name}: got {number}, expected 1 to 65535")))
}

/// Sets `place` to a number of milliseconds; 0 leaves it unchanged.
fn time(millis: u32, place: &mut Duration) {
    if millis > 0 {
        *place = Duration::from_millis(millis.into());
    }
}

/// A STUN or TURN server in the format of browsers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IceServerText {
    urls: Urls,
    username: Option<String>,
    credential: Option<String>,
    /// Not in browsers: see `IceServer::secret`.
    secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

fn ice_servers_of(text: &str) -> Result<Vec<IceServer>> {
    // The parser's message may contain the password.
    let servers: Vec<IceServerText> = serde_json::from_str(text)
        .map_err(|_| invalid_argument("ice_servers_json: expected a list of servers with urls".into()))?;
    let server = |server: IceServerText| {
        let urls = match server.urls {
            Urls::One(url) => vec![url],
            Urls::Many(urls) => urls,
        };
        let known = IceServer::default().with_urls(urls).with_username(server.username);
        known.with_credential(server.credential).with_secret(server.secret)
    };
    Ok(servers.into_iter().map(server).collect())
}

fn invalid_argument(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

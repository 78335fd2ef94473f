//! Options of a connection.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::setters::setters;
use crate::transport::IngestOptions;
use crate::{Error, ErrorKind, Result};

/// Options of network connections.
///
/// ```
/// use dreamframe::transport::peer::{IceServer, PeerOptions};
///
/// # fn main() -> dreamframe::Result<()> {
/// let turn = IceServer::default()
///     .with_urls(vec!["turn:turn.example:3478".into()])
///     .with_username(Some("user".into()))
///     .with_credential(Some("password".into()));
/// let options = PeerOptions::default().with_ports(Some(50_000..=50_100)).with_ice_servers(vec![turn]);
/// assert!(!format!("{options:?}").contains("password"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerOptions {
    /// The addresses to bind. An unspecified address means every interface except loopback.
    /// Default: every IPv4 interface and 127.0.0.1.
    pub bind: Vec<IpAddr>,
    /// The UDP ports to use, one for each address of each connection; with `None` the system chooses.
    pub ports: Option<RangeInclusive<u16>>,
    /// The address that precedes those bound in candidates, if a NAT maps it to this machine port by port. If it is
    /// set, candidates of an offer that are not public addresses are left out, so that peers cannot make this machine
    /// send packets into its own network. Peers of that network connect nevertheless, since their checks reach this
    /// machine.
    pub public_ip: Option<IpAddr>,
    /// STUN and TURN servers, for further addresses. A server that peers can reach needs none.
    pub ice_servers: Vec<IceServer>,
    /// The candidates that may be used. Default: all.
    pub ice_transport_policy: IceTransportPolicy,
    /// The longest time for gathering candidates, which STUN and TURN servers may delay: after it, a description is sent
    /// with those that were found. A client sends later ones to the server ([`Client`](crate::transport::Client)); the
    /// answer of a server goes without them. Default: 2 s.
    pub gather_timeout: Duration,
    /// The longest time for establishing a connection once both descriptions are known, before it has failed. A client
    /// then makes another offer. Default: 15 s.
    pub connect_timeout: Duration,
    /// How a peer's video is decoded.
    pub ingest: IngestOptions,
}

setters! {
    PeerOptions:
    with_bind, bind: Vec<IpAddr>;
    with_ports, ports: Option<RangeInclusive<u16>>;
    with_public_ip, public_ip: Option<IpAddr>;
    with_ice_servers, ice_servers: Vec<IceServer>;
    with_ice_transport_policy, ice_transport_policy: IceTransportPolicy;
    with_gather_timeout, gather_timeout: Duration;
    with_connect_timeout, connect_timeout: Duration;
    with_ingest, ingest: IngestOptions;
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()],
            ports: None,
            public_ip: None,
            ice_servers: Vec::new(),
            ice_transport_policy: IceTransportPolicy::All,
            gather_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(15),
            ingest: IngestOptions::default(),
        }
    }
}

impl PeerOptions {
    /// Checks that there is a TURN server if nothing but relayed candidates may be used.
    pub(in crate::transport) fn check_relay(&self) -> Result<()> {
        if self.ice_transport_policy == IceTransportPolicy::All || self.ice_servers.iter().any(IceServer::relays) {
            return Ok(());
        }
        let what = "TURN server: missing, expected one that UDP reaches, such as turn:host:3478, since the ICE transport \
            policy is relay";
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }
}

/// The candidates that a connection may use: `iceTransportPolicy` of WebRTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IceTransportPolicy {
    /// All of them.
    #[default]
    All,
    /// Those that TURN servers relay, so that the peer does not learn the addresses of this machine. It needs a TURN
    /// server that UDP reaches, in [`PeerOptions::ice_servers`] or, for a client, named by the server.
    Relay,
}

/// A STUN or TURN server.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IceServer {
    /// Its addresses, as `stun:host[:port]` or `turn:host[:port][?transport=udp]`.
    pub urls: Vec<String>,
    /// The user name, for TURN.
    pub username: Option<String>,
    /// The password, for TURN. It is sent to publishers with the answer to their offer, but not to viewers.
    pub credential: Option<String>,
    /// In place of both, a secret that this side shares with the TURN server (coturn's `static-auth-secret`): publishers,
    /// viewers and this side itself each get a user name and a password that are derived from it and are valid for an hour.
    pub secret: Option<String>,
}

setters! {
    IceServer:
    with_urls, urls: Vec<String>;
    with_username, username: Option<String>;
    with_credential, credential: Option<String>;
    with_secret, secret: Option<String>;
}

impl IceServer {
    /// Returns whether it is a TURN server that this library can use.
    fn relays(&self) -> bool {
        let by_udp =
            |query: &str| query.split('&').all(|part| !part.starts_with("transport=") || part == "transport=udp");
        let relays = |url: &String| {
            let (address, query) = url.split_once('?').unwrap_or((url, ""));
            address.starts_with("turn:") && by_udp(query)
        };
        self.urls.iter().any(relays)
    }
}

impl std::fmt::Debug for IceServer {
    /// Leaves the password and the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).field("username", &self.username).finish_non_exhaustive()
    }
}

//! Options of a connection.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::setters::setters;
use crate::transport::IngestOptions;

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
    /// The longest time for establishing a connection, before it has failed. Default: 15 s.
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
            connect_timeout: Duration::from_secs(15),
            ingest: IngestOptions::default(),
        }
    }
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

impl std::fmt::Debug for IceServer {
    /// Leaves the password and the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).field("username", &self.username).finish_non_exhaustive()
    }
}

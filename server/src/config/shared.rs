//! The common settings of a server and a gateway.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use dreamframe::Result;
use serde::{Deserialize, Serialize};

use super::{at_least_one, invalid_setting};
use crate::cluster::Membership;

/// The default of [`SharedSettings::max_connections`]: fewer than the files that systems usually let a process open.
const MAX_CONNECTIONS: usize = 512;
/// The default of [`SharedSettings::bind`].
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8889);

/// Settings of both `dreamframe serve` and `dreamframe gateway`.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SharedSettings {
    /// Address and port to listen at; a server beyond this machine needs keys [default: 127.0.0.1:8889]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind: Option<SocketAddr>,
    /// The certificate chain, in PEM form; with --tls-key, HTTPS is served
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM form
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// An origin whose pages may use a server without keys, or a gateway on loopback; may be repeated:
    /// https://app.example [default: this machine's]
    #[arg(long, value_name = "ORIGIN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_origin: Vec<String>,
    /// The largest number of connections to the HTTP port, half of them from one address [default: 512]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_connections: Option<usize>,
    /// The Redis that servers register in and gateways find them in, such as redis://host:6379/0
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<String>,
    /// A file of at least 32 bytes that all servers and gateways of the registry share; required where other machines
    /// reach the registry
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry_secret_file: Option<PathBuf>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl SharedSettings {
    /// The address to listen at.
    pub(crate) fn bind(&self) -> SocketAddr {
        self.bind.unwrap_or(LOOPBACK)
    }

    /// The certificate and its key, where they are set.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for one without the other.
    pub(crate) fn tls(&self) -> Result<Option<Tls>> {
        match (self.tls_cert.clone(), self.tls_key.clone()) {
            (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
            (None, None) => Ok(None),
            _ => Err(invalid_setting("tls_cert and tls_key", "got one of them, expected both or neither")),
        }
    }

    /// The largest number of connections.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for 0.
    pub(crate) fn max_connections(&self) -> Result<usize> {
        at_least_one("max_connections", self.max_connections, MAX_CONNECTIONS)
    }

    /// The cluster that this is a member of, where `registry` is set.
    ///
    /// # Errors
    ///
    /// Those of [`Membership::new`].
    pub(crate) fn membership(&self) -> Result<Option<Membership>> {
        Membership::new(self.registry.as_deref(), self.registry_secret_file.as_deref())
    }
}

/// The URL at which a client on this machine reaches the socket address `at`.
pub(crate) fn url_of(at: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let host = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    format!("{scheme}://{host}:{}", at.port())
}

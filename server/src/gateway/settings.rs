//! How a gateway is set up.

use std::net::SocketAddr;
use std::path::PathBuf;

use dreamframe::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::config::{LOOPBACK, Layered, Tls};

/// What can be set by flag, environment variable (`DREAMFRAME_` and the name) and file (the name with underscores).
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address and port to listen at [default: 127.0.0.1:8889]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind: Option<SocketAddr>,
    /// The Redis in which workers tell where they are, such as redis://host:6379/0
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<String>,
    /// The certificate chain, in PEM form; with --tls-key, the gateway speaks HTTPS
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM form
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl Layered for Settings {}

/// How a gateway is set up, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) bind: SocketAddr,
    pub(crate) registry: String,
    pub(crate) tls: Option<Tls>,
}

impl Config {
    /// Checks `settings`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` naming the setting.
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let missing = || {
            let text = "registry is not there, but a gateway needs it: --registry redis://host:6379/0";
            Error::new(ErrorKind::InvalidArgument, text)
        };
        Ok(Self {
            bind: settings.bind.unwrap_or(LOOPBACK),
            registry: settings.registry.ok_or_else(missing)?,
            tls: Tls::new(settings.tls_cert, settings.tls_key)?,
        })
    }
}

//! How a gateway is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use dreamframe::transport::http::AllowedOrigins;
use dreamframe::{Error, ErrorKind, Result};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use super::connect::authorities;
use super::worker_addresses::WorkerAddresses;
use crate::cluster::Membership;
use crate::config::{LOOPBACK, Layered, MAX_CONNECTIONS, Tls, at_least_one, named, with_listed};

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
    /// A file of 32 bytes or more that all workers and gateways share; needed where others reach the registry
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry_secret_file: Option<PathBuf>,
    /// Networks of workers, such as 10.0.0.0/8,192.0.2.7 [default: any with the secret; without one, this machine]
    #[arg(long, value_name = "NETWORKS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<String>,
    /// Certificates, in PEM form, of who signs those of workers; with it, workers are reached by HTTPS alone
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers_ca: Option<PathBuf>,
    /// The certificate chain, in PEM form; with --tls-key, the gateway speaks HTTPS
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM form
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// An origin whose pages may use a gateway on loopback, may be given again: https://app.example [default: this machine's]
    #[arg(long, value_name = "ORIGIN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_origin: Vec<String>,
    /// How many connections there may be, half of them from one address [default: 512]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_connections: Option<usize>,
}

impl Layered for Settings {}

/// How a gateway is set up, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) bind: SocketAddr,
    pub(crate) registry: Membership,
    /// Where requests may go.
    pub(crate) allowed: Arc<WorkerAddresses>,
    /// How workers are known, where they are reached by TLS.
    pub(crate) workers_tls: Option<Arc<ClientConfig>>,
    pub(crate) tls: Option<Tls>,
    /// Whose pages may use it: those of this machine alone where workers without keys are asked.
    pub(crate) origins: AllowedOrigins,
    pub(crate) max_connections: usize,
}

impl Config {
    /// Checks `settings`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` naming the setting; those of the files.
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let bind = settings.bind.unwrap_or(LOOPBACK);
        let origins = if bind.ip().is_loopback() { AllowedOrigins::local() } else { AllowedOrigins::any() };
        let secret = settings.registry_secret_file.as_deref();
        let registry = Membership::new(settings.registry.as_deref(), secret)?.ok_or_else(|| {
            let text = "registry is not there, but a gateway needs it: --registry redis://host:6379/0";
            Error::new(ErrorKind::InvalidArgument, text)
        })?;
        let workers_tls = settings.workers_ca.as_deref().map(authorities).transpose()?;
        let allowed =
            WorkerAddresses::new(settings.workers.as_deref(), registry.secret.is_some(), workers_tls.is_some());
        Ok(Self {
            bind,
            origins: with_listed(origins, &settings.allow_origin)?,
            max_connections: at_least_one("max_connections", settings.max_connections, MAX_CONNECTIONS)?,
            registry,
            allowed: Arc::new(named("workers", allowed)?),
            workers_tls,
            tls: Tls::new(settings.tls_cert, settings.tls_key)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_needs_a_registry_and_a_whole_certificate() {
        let registry = || Some("redis://:secret@127.0.0.1".to_owned());
        let config = Config::new(Settings { registry: registry(), ..Settings::default() }).unwrap();
        assert_eq!((config.bind, config.tls.is_none()), (LOOPBACK, true));
        let refused = |settings| Config::new(settings).unwrap_err().to_string();
        assert!(refused(Settings::default()).starts_with("registry is not there"));
        let other = Some("http://secret@a".to_owned());
        let text = refused(Settings { registry: other, ..Settings::default() });
        assert!(text.starts_with("registry is no address") && !text.contains("secret"), "{text}");
        let far = Settings { registry: Some("redis://10.0.0.5".to_owned()), ..Settings::default() };
        assert!(refused(far).starts_with("registry_secret_file is not there"));
        let networks =
            Settings { registry: registry(), workers: Some("10.0.0.0/99".to_owned()), ..Settings::default() };
        assert!(refused(networks).starts_with("workers is \"10.0.0.0/99\""));
        let half = Settings { registry: registry(), tls_cert: Some("a".into()), ..Settings::default() };
        assert!(refused(half).starts_with("tls_cert and tls_key"));
    }
}

//! Configuration of a gateway.

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
use crate::config::{Layered, SharedSettings, Tls, named, with_listed};

/// What can be set by flag, environment variable (`DREAMFRAME_` and the name) and file (the name with underscores).
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) shared: SharedSettings,
    /// Networks of workers, such as 10.0.0.0/8,192.0.2.7 [default: any with the secret; without one, this machine]
    #[arg(long, value_name = "NETWORKS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<String>,
    /// Certificates, in PEM form, of the authorities that sign those of workers; with it, workers are reached by HTTPS
    /// alone
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers_ca: Option<PathBuf>,
}

impl Layered for Settings {
    type Flattened = SharedSettings;
}

/// The validated configuration of a gateway.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) bind: SocketAddr,
    pub(crate) registry: Membership,
    /// Where requests may go.
    pub(crate) allowed: Arc<WorkerAddresses>,
    /// The trusted authorities of workers, if they are reached by TLS.
    pub(crate) workers_tls: Option<Arc<ClientConfig>>,
    pub(crate) tls: Option<Tls>,
    /// The pages that may use the gateway: those of this machine alone if workers without keys are used.
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
        let shared = settings.shared;
        let bind = shared.bind();
        let origins = if bind.ip().is_loopback() { AllowedOrigins::local() } else { AllowedOrigins::any() };
        let registry = shared.membership()?.ok_or_else(|| {
            let text = "registry: missing, expected an address such as --registry redis://host:6379/0";
            Error::new(ErrorKind::InvalidArgument, text)
        })?;
        let workers_tls = settings.workers_ca.as_deref().map(authorities).transpose()?;
        let allowed =
            WorkerAddresses::new(settings.workers.as_deref(), registry.secret.is_some(), workers_tls.is_some());
        Ok(Self {
            bind,
            origins: with_listed(origins, &shared.allow_origin)?,
            max_connections: shared.max_connections()?,
            registry,
            allowed: Arc::new(named("workers", allowed)?),
            workers_tls,
            tls: shared.tls()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_needs_a_registry_and_a_whole_certificate() {
        let config = Config::new(settings("redis://:secret@127.0.0.1")).unwrap();
        assert_eq!((config.bind.to_string().as_str(), config.tls.is_none()), ("127.0.0.1:8889", true));
        let refused = |settings| Config::new(settings).unwrap_err().to_string();
        assert!(refused(Settings::default()).starts_with("registry: missing"));
        let text = refused(settings("http://secret@a"));
        assert!(text.starts_with("registry: expected an address") && !text.contains("secret"), "{text}");
        assert!(refused(settings("redis://10.0.0.5")).starts_with("registry_secret_file: missing"));
        let networks = Settings { workers: Some("10.0.0.0/99".to_owned()), ..settings("redis://127.0.0.1") };
        assert!(refused(networks).starts_with("workers: got \"10.0.0.0/99\""));
        let mut half = settings("redis://127.0.0.1");
        half.shared.tls_cert = Some("a".into());
        assert!(refused(half).starts_with("tls_cert and tls_key"));
    }

    fn settings(registry: &str) -> Settings {
        let shared = SharedSettings { registry: Some(registry.to_owned()), ..SharedSettings::default() };
        Settings { shared, ..Settings::default() }
    }
}

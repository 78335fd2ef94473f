//! Membership of a server or a gateway in a cluster: the address of the registry, and the secret that members share.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use dreamframe::{Error, ErrorKind, Result};
use redis::{Client, ConnectionAddr};

use super::secret::Secret;
use crate::config::named;

/// Where a registry is: `redis://host:6379/0`, `rediss://user:password@host` and the like.
#[derive(Clone)]
pub(crate) struct Address(Client);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        // It may have a password, so that it is not repeated.
        let wrong =
            |_| "expected an address of Redis, such as redis://host:6379/0 or rediss://user:password@host".to_owned();
        Client::open(text).map(Self).map_err(wrong)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

impl Address {
    /// The client that connects to it.
    pub(super) fn client(&self) -> Client {
        self.0.clone()
    }

    /// Returns true if only users of this machine reach it.
    fn is_local(&self) -> bool {
        match self.0.get_connection_info().addr() {
            ConnectionAddr::Unix(_) => true,
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => is_loopback(host),
            _ => false,
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || literal.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The registry of a cluster, and the secret of its members.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) address: Address,
    /// `None` if the registry is on this machine, and its users are trusted.
    pub(crate) secret: Option<Arc<Secret>>,
}

impl Membership {
    /// Takes the settings `registry` and `registry_secret_file`, and reads the file.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an invalid address, for a registry beyond this machine without a secret, and for a
    /// secret without a registry; those of [`Secret::read`].
    pub(crate) fn new(registry: Option<&str>, secret: Option<&Path>) -> Result<Option<Self>> {
        let wrong = |text: &str| Error::new(ErrorKind::InvalidArgument, text);
        let Some(url) = registry else {
            return match secret {
                Some(_) => Err(wrong("registry_secret_file: got a file without registry, expected both or neither")),
                None => Ok(None),
            };
        };
        let address: Address = named("registry", url.parse())?;
        let secret = secret.map(|path| Secret::read(path).map_err(|error| error.within("registry_secret_file")));
        let secret = secret.transpose()?.map(Arc::new);
        if secret.is_none() && !address.is_local() {
            return Err(wrong(
                "registry_secret_file: missing, expected for a registry that other machines reach: without it, a writer to \
                 the registry could get the API keys. Use the same file of at least 32 random bytes for all gateways \
                 and workers, such as openssl rand -hex 32 writes",
            ));
        }
        Ok(Some(Self { address, secret }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of a socket of Unix.
    const SOCKET: &str = "redis+unix:///redis.sock";

    #[test]
    fn invalid_addresses_are_rejected_without_repeating_them() {
        for url in ["", "host", "http://user:secret@host", "redis://:secret@host:port/0"] {
            let error = url.parse::<Address>().unwrap_err();
            assert!(error.starts_with("expected an address") && !error.contains("secret"), "{error}");
        }
        let urls = ["redis://host", "rediss://user:secret@host:7000/2", "valkey://host", SOCKET];
        for url in urls.into_iter().take(if cfg!(unix) { 4 } else { 3 }) {
            let address: Address = url.parse().unwrap();
            assert!(!format!("{address:?}").contains("secret"));
        }
    }

    #[test]
    fn a_registry_that_others_reach_needs_a_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 32]).unwrap();
        for (url, is_local) in [
            // The crate of the client knows sockets of Unix on Unix alone.
            (if cfg!(unix) { SOCKET } else { "redis://localhost" }, true),
            ("redis://127.0.0.1:6379", true),
            ("redis://[::1]:6379", true),
            ("rediss://localhost", true),
            ("redis://10.0.0.5", false),
            ("rediss://:password@registry.example", false),
            ("redis://localhost.example", false),
        ] {
            let without = Membership::new(Some(url), None);
            assert_eq!(without.is_ok(), is_local, "{url}");
            if let Err(error) = without {
                assert!(error.to_string().starts_with("registry_secret_file: missing"), "{error}");
            }
            assert!(Membership::new(Some(url), Some(file.path())).unwrap().unwrap().secret.is_some());
        }
        assert!(Membership::new(None, None).unwrap().is_none());
        assert!(Membership::new(None, Some(file.path())).unwrap_err().to_string().contains("without registry"));
    }
}

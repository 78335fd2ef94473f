//! Limits the addresses that a server may direct its clients to.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Uri;
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::transport::public_address::is_public;

/// Resolves names for a client of `host`.
///
/// Redirects and the URL of a session may name other hosts. A server on the public internet can name public ones only,
/// so that it cannot make the client send requests to its own network.
pub(super) struct Reach {
    resolver: DefaultResolver,
    host: String,
    /// Whether the server itself has a public address.
    is_public: AtomicBool,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Reach {
    pub(super) fn new(host: &str) -> Self {
        Self { resolver: DefaultResolver::default(), host: host.to_owned(), is_public: AtomicBool::new(false) }
    }

    /// Returns whether an address of `host`, which has `all` of these, may be connected to.
    fn permits(&self, host: &str, ip: IpAddr, mut all: impl Iterator<Item = IpAddr>) -> bool {
        if host.eq_ignore_ascii_case(&self.host) {
            // Resolved once: another answer later would not be checked.
            let public = all.any(is_public);
            self.is_public.fetch_or(public, Ordering::Relaxed);
            return true;
        }
        !self.is_public.load(Ordering::Relaxed) || is_public(ip)
    }
}

impl Resolver for Reach {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default();
        let mut permitted = self.empty();
        for address in found.iter() {
            if self.permits(host, address.ip(), found.iter().map(|address| address.ip())) {
                permitted.push(*address);
            }
        }
        if permitted.is_empty() { Err(Error::HostNotFound) } else { Ok(permitted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(reach: &Reach, host: &str, ip: &str) -> bool {
        let ip = ip.parse().unwrap();
        reach.permits(host, ip, std::iter::once(ip))
    }

    #[test]
    fn a_public_server_points_to_public_addresses_alone() {
        let reach = Reach::new("server.example");
        assert!(permits(&reach, "Server.example", "8.8.8.8"));
        assert!(permits(&reach, "other.example", "1.1.1.1"));
        for inside in ["127.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fd00::1"] {
            assert!(!permits(&reach, "other.example", inside), "{inside}");
        }
        // Another answer for its own name changes nothing for others.
        assert!(permits(&reach, "server.example", "192.168.1.1"));
        assert!(!permits(&reach, "other.example", "192.168.1.1"));
    }

    #[test]
    fn a_server_inside_points_anywhere() {
        let reach = Reach::new("127.0.0.1");
        assert!(permits(&reach, "127.0.0.1", "127.0.0.1") && permits(&reach, "other.example", "192.168.1.1"));
        assert!(permits(&reach, "other.example", "8.8.8.8"));
    }
}

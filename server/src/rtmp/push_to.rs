//! The addresses that streams may be pushed to: public ones, and those that the operator allows; and the authorities whose
//! certificates services may have.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use dreamframe::Result;
use dreamframe::transport::is_public;
use rustls::{ClientConfig, RootCertStore};

use super::target::Target;
use crate::authorities;
use crate::listener::choose_tls;

/// The name of all private networks.
const PRIVATE: &str = "private";

/// The addresses that streams may be pushed to.
#[derive(Debug, Clone, Default)]
pub(crate) struct PushTo {
    hosts: Vec<Host>,
    private: bool,
    loopback: bool,
    // `None` for the public authorities alone.
    tls: Option<Arc<ClientConfig>>,
}

/// A host that is allowed with any address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    /// `None` for every port.
    port: Option<u16>,
}

impl PushTo {
    /// Reads what the host allows in addition to public addresses: `private`, or a host with or without a port.
    /// `loopback` also allows the machine's own addresses.
    ///
    /// # Errors
    ///
    /// A text that is neither, with what is expected.
    pub(crate) fn new(allowed: &[String], loopback: bool) -> std::result::Result<Self, String> {
        let mut all = Self { loopback, ..Self::default() };
        for text in allowed {
            if text == PRIVATE {
                all.private = true;
            } else {
                let wrong =
                    || format!("got {text:?}, expected {PRIVATE}, or a host such as media.example or 10.0.0.5:1935");
                all.hosts.push(host(text).ok_or_else(wrong)?);
            }
        }
        Ok(all)
    }

    /// Trusts the authorities of a file in PEM form as well.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a file that cannot be read, or that has no certificate.
    pub(crate) fn with_authorities(mut self, path: &Path) -> Result<Self> {
        let mut roots = public_roots();
        authorities::add("push_ca", path, &mut roots)?;
        self.tls = Some(client(roots));
        Ok(self)
    }

    /// Returns the settings of connections by TLS.
    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        self.tls.clone().unwrap_or_else(|| client(public_roots()))
    }

    /// Resolves the host of `target`, once: connections are made to the result.
    ///
    /// # Errors
    ///
    /// Those of the system; `PermissionDenied` where no address is allowed.
    pub(super) async fn resolve(&self, target: &Target) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await?;
        let allowed: Vec<_> = found.filter(|address| self.allows(target, address.ip())).collect();
        if allowed.is_empty() {
            let text = "no address of the host is public or allowed by --push-to";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(allowed)
    }

    fn allows(&self, target: &Target, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let is_named = |host: &Host| {
            host.name.eq_ignore_ascii_case(&target.host) && host.port.is_none_or(|port| port == target.port)
        };
        is_public(ip)
            || self.loopback && ip.is_loopback()
            || self.private && is_private(ip)
            || self.hosts.iter().any(is_named)
    }
}

fn public_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn client(roots: RootCertStore) -> Arc<ClientConfig> {
    choose_tls();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Returns true for an address of a private network or of this machine. Link-local addresses are not included, since
/// cloud providers serve machine credentials at one.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    }
}

/// Parses a host as in a URL, with or without a port.
fn host(text: &str) -> Option<Host> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Host { name: ip.to_string(), port: None });
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (text, None),
    };
    let name = match name.strip_prefix('[') {
        Some(ip) => ip.strip_suffix(']')?.parse::<IpAddr>().ok()?.to_string(),
        None => name.to_owned(),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (!name.is_empty() && name.bytes().all(fits)).then_some(Host { name, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: &[&str], loopback: bool, host: &str, ip: &str) -> bool {
        let allowed: Vec<_> = allowed.iter().map(|text| (*text).to_owned()).collect();
        let target = Target::parse(&format!("rtmp://{host}/live/key")).unwrap();
        PushTo::new(&allowed, loopback).unwrap().allows(&target, ip.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_allowed_and_others_are_not() {
        assert!(allows(&[], false, "a.example", "8.8.8.8") && allows(&[], false, "a.example", "2606:4700::1"));
        for ip in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"]
        {
            assert!(!allows(&[], false, "a.example", ip), "{ip}");
        }
        assert!(allows(&[], true, "localhost", "127.0.0.1") && !allows(&[], true, "a.example", "10.0.0.1"));
        assert!(allows(&[], true, "localhost", "::ffff:127.0.0.1"));
    }

    #[test]
    fn private_networks_are_allowed_by_their_name_but_links_are_not() {
        for ip in ["10.0.0.1", "192.168.1.1", "127.0.0.1", "fd00::1", "::1", "::ffff:10.0.0.1"] {
            assert!(allows(&["private"], false, "a.example", ip), "{ip}");
        }
        for ip in ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"] {
            assert!(!allows(&["private"], false, "a.example", ip), "{ip}");
        }
    }

    #[test]
    fn a_host_is_allowed_as_the_url_names_it() {
        assert!(allows(&["Media.example"], false, "media.example:99", "10.0.0.1"));
        assert!(allows(&["media.example:1935"], false, "media.example", "10.0.0.1"));
        assert!(!allows(&["media.example:99"], false, "media.example", "10.0.0.1"));
        assert!(!allows(&["media.example"], false, "evil-media.example", "10.0.0.1"));
        assert!(allows(&["10.0.0.1"], false, "10.0.0.1", "10.0.0.1"));
        for v6 in ["fd00::1", "[fd00::1]", "[fd00::1]:1935", "[fd00:0::1]"] {
            assert!(allows(&[v6], false, "[fd00::1]", "fd00::1"), "{v6}");
        }
        for wrong in ["", "a b", "host:", "host:0", "host:x", "[fd00::1", "http://host", "host/app"] {
            assert!(PushTo::new(&[wrong.to_owned()], false).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_host_without_an_allowed_address_is_refused() {
        let target = Target::parse("rtmp://127.0.0.1:9/live/key").unwrap();
        let refused = PushTo::default().resolve(&target).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let found = PushTo::new(&["127.0.0.1:9".to_owned()], false).unwrap().resolve(&target).await.unwrap();
        assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 9))]);
    }
}

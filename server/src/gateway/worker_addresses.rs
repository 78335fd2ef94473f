//! The addresses that a gateway may send requests to, and with them the API keys of its clients.

use std::net::IpAddr;
use std::str::FromStr;

use crate::config::worker_url;

/// A network: addresses with the same prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = String;

    /// Takes `10.0.0.0/8`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("got {text:?}, expected a network or an address such as 10.0.0.0/8, 2001:db8::/32 or 10.0.0.5");
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().map_err(|_| wrong())?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), str::parse).ok().filter(|bits| *bits <= width).ok_or_else(wrong)?;
        Ok(Self { first, bits })
    }
}

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        let (one, other, width) = match (self.first, ip) {
            (IpAddr::V4(one), IpAddr::V4(other)) => (u32::from(one).into(), u32::from(other).into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => (u128::from(one), u128::from(other), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        // A shift by all bits leaves no difference.
        (one ^ other).checked_shr(width - self.bits).unwrap_or(0) == 0
    }
}

/// The workers that a gateway may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkerAddresses {
    addresses: Addresses,
    /// Whether they must be reached by TLS; otherwise by plain HTTP.
    is_tls: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Addresses {
    /// Any address that members of the cluster publish.
    Any,
    /// Without a secret, entries are not authenticated.
    Loopback,
    Listed(Vec<Network>),
}

impl WorkerAddresses {
    /// Makes that of a gateway with these settings.
    ///
    /// # Errors
    ///
    /// The part of the list that is not a network.
    pub(crate) fn new(listed: Option<&str>, has_secret: bool, is_tls: bool) -> Result<Self, String> {
        let addresses = match listed {
            Some(text) => {
                let networks = text.split(',').map(|part| part.trim().parse());
                Addresses::Listed(networks.collect::<Result<_, _>>()?)
            }
            None if has_secret => Addresses::Any,
            None => Addresses::Loopback,
        };
        Ok(Self { addresses, is_tls })
    }

    /// Whether requests may be sent to this address.
    pub(super) fn allows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match &self.addresses {
            Addresses::Any => true,
            Addresses::Loopback => ip.is_loopback(),
            Addresses::Listed(networks) => networks.iter().any(|network| network.contains(ip)),
        }
    }

    /// Checks a worker's address as far as possible without name resolution.
    ///
    /// # Errors
    ///
    /// The reason for not sending a request.
    pub(super) fn check(&self, url: &str) -> Result<(), &'static str> {
        if worker_url(url).is_err() {
            return Err("invalid address of a worker");
        }
        match (url.starts_with("https://"), self.is_tls) {
            (true, false) => return Err("got an https:// address, expected http:// without --workers-ca"),
            (false, true) => return Err("got an http:// address, expected https:// with --workers-ca"),
            (true, true) | (false, false) => {}
        }
        let literal = url.parse::<axum::http::Uri>().ok();
        let literal = literal.as_ref().and_then(axum::http::Uri::host).and_then(literal_ip);
        if literal.is_some_and(|ip| !self.allows(ip)) {
            return Err("--workers does not allow its address");
        }
        Ok(())
    }
}

/// The IP address of a host that is not a name.
pub(super) fn literal_ip(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allows(allowed: &WorkerAddresses, ips: &[(&str, bool)]) {
        for (ip, is_allowed) in ips {
            assert_eq!(allowed.allows(ip.parse().unwrap()), *is_allowed, "{ip}: {allowed:?}");
        }
    }

    #[test]
    fn only_listed_networks_are_allowed() {
        let allowed = WorkerAddresses::new(Some("10.1.0.0/16, 192.0.2.7,2001:db8::/33 ,::1"), true, false).unwrap();
        allows(
            &allowed,
            &[
                ("10.1.255.255", true),
                ("10.2.0.0", false),
                ("192.0.2.7", true),
                ("192.0.2.6", false),
                ("127.0.0.1", false),
                ("2001:db8::1", true),
                ("2001:db8:8000::1", false),
                ("::1", true),
                ("::2", false),
                ("::ffff:10.1.0.1", true),
                ("::ffff:10.2.0.1", false),
            ],
        );
        allows(&WorkerAddresses::new(Some("0.0.0.0/0"), false, false).unwrap(), &[("8.8.8.8", true), ("::1", false)]);
        allows(&WorkerAddresses::new(Some("::/0"), false, false).unwrap(), &[("8.8.8.8", false), ("2001::1", true)]);
    }

    #[test]
    fn where_nothing_is_listed_the_secret_decides() {
        let (with, without) =
            (WorkerAddresses::new(None, true, false).unwrap(), WorkerAddresses::new(None, false, false).unwrap());
        allows(&with, &[("10.0.0.1", true), ("127.0.0.1", true)]);
        allows(&without, &[("10.0.0.1", false), ("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true)]);
    }

    #[test]
    fn invalid_networks_are_rejected() {
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8,", "a/b/c"]
        {
            let error = WorkerAddresses::new(Some(text), true, false).unwrap_err();
            assert!(error.contains("such as 10.0.0.0/8"), "{text}: {error}");
        }
    }

    #[test]
    fn address_is_checked_before_name_resolution() {
        let (plain, tls) = (
            WorkerAddresses::new(Some("10.0.0.0/8"), true, false),
            WorkerAddresses::new(Some("10.0.0.0/8"), true, true),
        );
        let (plain, tls) = (plain.unwrap(), tls.unwrap());
        for (url, by_plain, by_tls) in [
            ("http://10.0.0.5:8889", true, false),
            ("https://10.0.0.5:8889", false, true),
            ("http://11.0.0.5:8889", false, false),
            ("http://[::1]:8889", false, false),
            // A name is resolved, and checked, when connecting.
            ("http://worker:8889", true, false),
            ("https://worker", false, true),
            ("ftp://10.0.0.5", false, false),
            ("http://user@10.0.0.5", false, false),
            ("http://10.0.0.5/path", false, false),
            ("http://10.0.0.5@11.0.0.5", false, false),
            ("", false, false),
        ] {
            assert_eq!((plain.check(url).is_ok(), tls.check(url).is_ok()), (by_plain, by_tls), "{url}");
        }
    }

    proptest! {
        #[test]
        fn a_network_has_the_addresses_with_its_first_bits(first: u32, other: u32, bits in 0_u32..=32) {
            let network: Network = format!("{}/{bits}", std::net::Ipv4Addr::from(first)).parse().unwrap();
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            prop_assert_eq!(network.contains(IpAddr::V4(other.into())), first & mask == other & mask);
        }
    }
}

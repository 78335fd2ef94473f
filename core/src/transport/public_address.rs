//! Identifies addresses of the public internet. Clients may direct a server to these only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns true if `ip` is a unicast address of the public internet.
///
/// An IPv6 address that carries an IPv4 address, mapped or for NAT64 (`64:ff9b::/96`), is classified by that one.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    // The shared space of providers, 100.64.0.0/10, and the addresses of benchmarks, 198.18.0.0/15.
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (18..20).contains(&b);
    // IETF protocol assignments, 192.0.0.0/24, and 6to4 relays, 192.88.99.0/24.
    let protocol = matches!((a, b, c), (192, 0, 0) | (192, 88, 99));
    let reserved = a == 0 || a >= 240 || ip.is_documentation();
    let inside = ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared;
    !(inside || benchmark || protocol || reserved || ip.is_multicast())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return is_public_v4(ip);
    }
    let [first, second, ..] = ip.segments();
    let [.., a, b, c, d] = ip.octets();
    match (first, second) {
        (0x64, 0xff9b) if ip.segments().get(2..6) == Some(&[0; 4]) => is_public_v4(Ipv4Addr::new(a, b, c, d)),
        // 2001::/23 is for protocols; it contains Teredo, 2001::/32, which tunnels to any IPv4 address, as 6to4 does.
        (0x2001, ..0x200) | (0x2002, _) => false,
        // Documentation.
        (0x2001, 0xdb8) | (0x3fff, ..0x1000) => false,
        // Global unicast addresses are in 2000::/3.
        _ => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_public_internet_are_public() {
        let v4 = ["8.8.8.8", "93.184.216.34", "192.0.1.1", "192.88.98.1", "100.128.0.1", "198.20.0.1", "172.32.0.1"];
        let v6 = ["2606:2800:220:1::1", "2001:200::1", "2001:4860:4860::8888", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"];
        for ip in v4.into_iter().chain(v6) {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn private_reserved_and_tunnelled_addresses_are_not() {
        let inside = ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"];
        let reserved =
            ["255.255.255.255", "240.0.0.1", "224.0.0.1", "198.19.0.1", "203.0.113.1", "192.0.0.170", "192.88.99.1"];
        let v6 = ["::", "::1", "fe80::1", "fd00::1", "ff02::1", "fec0::1", "2001:db8::1", "3fff::1", "100::1"];
        // Addresses that a translator or a tunnel turns into IPv4 ones.
        let tunnelled = [
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:0:1::8.8.8.8",
            "2002:a9fe:a9fe::1",
            "2002:0808:0808::1",
            "2001:0:a9fe:a9fe::1",
            "2001:2::1",
        ];
        for ip in inside.into_iter().chain(reserved).chain(v6).chain(tunnelled) {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}

//! The local addresses and ports of a connection.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::options::PeerOptions;
use crate::{Error, ErrorKind, Result};

/// Selects an address with a port for each address of `options`, in order of preference.
///
/// With a range of ports each is tried by binding it. It is free again on return, so callers do this one at a time until
/// the connection has bound it.
pub(super) fn addresses(options: &PeerOptions) -> Result<Vec<SocketAddr>> {
    let mut ips = Vec::new();
    for &ip in &options.bind {
        if ip.is_unspecified() {
            interfaces(ip, &mut ips)?;
        } else if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    if ips.is_empty() {
        let reason = format!("bind: got {:?}, expected at least one address of this machine", options.bind);
        return Err(Error::new(ErrorKind::InvalidArgument, reason));
    }
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    let mut held = Vec::new();
    let mut found = Vec::new();
    for ip in ips {
        let port = match &options.ports {
            None => 0,
            Some(range) => {
                let socket = free_port(ip, *range.start(), *range.end())?;
                let port = socket.local_addr().map_err(|e| failed(ip, e))?.port();
                held.push(socket);
                port
            }
        };
        found.push(SocketAddr::new(ip, port));
    }
    Ok(found)
}

/// Adds the addresses of all interfaces of the family of `wildcard`, except loopback and link-local ones.
fn interfaces(wildcard: IpAddr, ips: &mut Vec<IpAddr>) -> Result<()> {
    let all = rtc::shared::ifaces::ifaces().map_err(|e| failed(wildcard, e))?;
    for ip in all.into_iter().filter_map(|i| i.addr).map(|a| a.ip()) {
        let one_link = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
        };
        let fits = ip.is_ipv4() == wildcard.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified();
        if fits && !one_link && !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Ok(())
}

/// Walks the range, from where the last walk ended: a port just given back may still get packets of its last connection.
fn free_port(ip: IpAddr, first: u16, last: u16) -> Result<UdpSocket> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = u32::from(last.saturating_sub(first)) + 1;
    for _ in 0..count {
        let offset = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(u32::from(first) + offset).unwrap_or(last);
        if let Ok(socket) = UdpSocket::bind((ip, port)) {
            return Ok(socket);
        }
    }
    Err(Error::new(ErrorKind::Io, format!("no UDP port from {first} to {last} is free at {ip}")))
}

fn failed(ip: IpAddr, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("failed to receive at {ip}")).with_source(error)
}

//! Style images from the network, for the engine, which has none.

use std::io::Read as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use dreamframe::{Error, ErrorKind, Result, StyleImages};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::public_address::is_public;

/// How long an image may take to come.
const TIME: Duration = Duration::from_secs(5);
/// How large an image may be, in bytes.
const MOST: u64 = 6 << 20;

/// Fetches style images from public addresses: what runs inside the host's network is none of a client's business.
#[derive(Debug)]
pub(crate) struct Fetch;

impl StyleImages for Fetch {
    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIME)).max_redirects(3).build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), PublicOnly);
        let failed =
            |error: ureq::Error| Error::new(ErrorKind::Io, "the style image cannot be fetched").with_source(error);
        let response = agent.get(url).call().map_err(failed)?;
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(MOST + 1);
        body.read_to_end(&mut bytes).map_err(|error| Error::io("the style image", "read", error))?;
        if bytes.len() as u64 > MOST {
            let text = format!("the style image has more than {MOST} bytes");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(bytes)
    }
}

/// Resolves names, and refuses those of private networks, at the moment of connecting and after each redirection.
#[derive(Debug)]
struct PublicOnly;

impl Resolver for PublicOnly {
    fn resolve(&self, uri: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let found = (host, port).to_socket_addrs().map_err(ureq::Error::Io)?;
        let mut addresses = self.empty();
        let public = found.filter(|address: &SocketAddr| is_public(address.ip()));
        // As many as the list has room for.
        public.take(8).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_is_refused_before_a_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/image.png", listener.local_addr().unwrap());
        assert!(Fetch.fetch(&url).is_err());
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }
}

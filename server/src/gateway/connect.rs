//! Connections from a gateway to workers: to allowed addresses only, and by TLS if an authority is configured.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use dreamframe::Result;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::worker_addresses::{WorkerAddresses, literal_ip};
use crate::listener::choose_tls;

/// The longest time for connecting to a worker: name resolution, TCP and TLS.
const CONNECT_TIME: Duration = Duration::from_secs(4);

/// Reads the authorities whose certificates workers have.
///
/// # Errors
///
/// `InvalidArgument` for a file that cannot be read, or that has no certificate.
pub(super) fn authorities(path: &Path) -> Result<Arc<ClientConfig>> {
    choose_tls();
    let mut roots = RootCertStore::empty();
    crate::authorities::add("workers_ca", path, &mut roots)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connects to workers.
#[derive(Clone)]
pub(super) struct Connector {
    allowed: Arc<WorkerAddresses>,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(allowed: Arc<WorkerAddresses>, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { allowed, tls: tls.map(TlsConnector::from) }
    }

    async fn connect(&self, uri: &Uri) -> io::Result<Channel> {
        let host = uri.host().unwrap_or_default();
        let tls = match (uri.scheme_str(), &self.tls) {
            (Some("https"), Some(tls)) => Some(tls),
            (Some("http"), None) => None,
            _ => return Err(io::Error::other("its scheme is not the one that this gateway uses for workers")),
        };
        let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        let addresses: Vec<SocketAddr> = match literal_ip(host) {
            Some(ip) => vec![SocketAddr::new(ip, port)],
            None => tokio::net::lookup_host((host, port)).await?.collect(),
        };
        // Checked after name resolution, since the name server decides about the address.
        let allowed: Vec<SocketAddr> = addresses.into_iter().filter(|at| self.allowed.allows(at.ip())).collect();
        if allowed.is_empty() {
            let text = "its host has no address that --workers allows";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let socket = TcpStream::connect(allowed.as_slice()).await?;
        socket.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Channel::Plain(socket)) };
        let name = literal_ip(host).map_or_else(|| ServerName::try_from(host.to_owned()), |ip| Ok(ip.into()));
        let name = name.map_err(io::Error::other)?;
        Ok(Channel::Tls(Box::new(tls.connect(name, socket).await?)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Channel>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIME, connector.connect(&uri)).await {
                Ok(connected) => connected.map(TokioIo::new),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting timed out")),
            }
        })
    }
}

/// A connection to a worker.
#[derive(Debug)]
pub(super) enum Channel {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Channel {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(allowed: &WorkerAddresses, url: &str) -> io::Result<Channel> {
        Connector::new(Arc::new(allowed.clone()), None).connect(&url.parse().unwrap()).await
    }

    #[tokio::test]
    async fn names_are_checked_by_their_resolved_addresses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let urls = [format!("http://localhost:{port}"), format!("http://127.0.0.1:{port}")];
        let (near, far) = (
            WorkerAddresses::new(Some("127.0.0.0/8"), true, false),
            WorkerAddresses::new(Some("192.0.2.0/24"), true, false),
        );
        let (near, far) = (near.unwrap(), far.unwrap());
        for url in &urls {
            assert!(connect(&near, url).await.is_ok(), "{url}");
            assert_eq!(connect(&far, url).await.unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{url}");
        }
        // Neither unencrypted where TLS is required, nor the reverse.
        assert!(connect(&near, &urls[1].replace("http", "https")).await.is_err());
    }

    #[test]
    fn a_file_without_a_certificate_is_no_authority() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(file.path(), text).unwrap();
            let error = authorities(file.path()).unwrap_err();
            assert!(error.to_string().starts_with("workers_ca"), "{error}");
        }
        let rcgen::CertifiedKey { cert, .. } = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        std::fs::write(file.path(), cert.pem()).unwrap();
        assert!(authorities(file.path()).is_ok());
    }
}

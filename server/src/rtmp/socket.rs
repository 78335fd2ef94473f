//! Sockets of RTMP connections, with or without TLS.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::push_to::PushTo;
use super::target::Target;

/// A connection.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Connects to the service of `target`, at addresses in `allowed` only.
///
/// # Errors
///
/// Those of the system; `PermissionDenied` where no address is allowed; `InvalidData` for an invalid certificate.
pub(super) async fn connect(target: &Target, allowed: &PushTo) -> io::Result<Box<dyn Socket>> {
    let socket = TcpStream::connect(&*allowed.resolve(target).await?).await?;
    let _ = socket.set_nodelay(true);
    if !target.is_tls {
        return Ok(Box::new(socket));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(allowed.tls()).connect(name, socket).await?))
}

/// Accepts a connection, by TLS if there is a certificate.
///
/// # Errors
///
/// Those of the system, and of TLS.
pub(super) async fn accept(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Box<dyn Socket>> {
    let _ = socket.set_nodelay(true);
    Ok(match tls {
        Some(tls) => Box::new(TlsAcceptor::from(tls).accept(socket).await?),
        None => Box::new(socket),
    })
}

//! The HTTP listener of a server, with or without TLS, and its graceful shutdown.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use dreamframe::{Error, ErrorKind, Result};

use crate::config::Tls;
use crate::connections::{ConnectionLimit, Limited};

/// The longest time that requests may take when the server ends.
const GRACE: Duration = Duration::from_secs(4);
/// The longest time for a client to send the head of a request, from the start of the connection or the end of the
/// previous response.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// A bound address, before anything is served.
#[derive(Debug)]
pub(crate) struct HttpListener {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    limit: Arc<ConnectionLimit>,
}

impl HttpListener {
    /// Binds the address and reads the certificate; `connections` is the largest number of them.
    ///
    /// # Errors
    ///
    /// `Io` if the address is taken or may not be; `InvalidArgument` for a certificate that cannot be used.
    pub(crate) async fn new(bind: SocketAddr, tls: Option<&Tls>, connections: usize) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Io, format!("failed to listen at {bind}")).with_source(error);
        let listener = TcpListener::bind(bind).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = match tls {
            Some(tls) => Some(certificate(tls).await?),
            None => None,
        };
        Ok(Self { address, listener, tls, limit: ConnectionLimit::new(connections) })
    }

    /// Returns the certificate, for connections by another protocol than HTTP.
    pub(crate) fn other_tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        let mut config = rustls::ServerConfig::clone(&self.tls.as_ref()?.get_inner());
        config.alpn_protocols.clear();
        Some(Arc::new(config))
    }

    /// Serves until `ended` completes; then accepts no more requests, and returns once those in progress are answered.
    ///
    /// # Errors
    ///
    /// `Io` if the listener fails.
    pub(crate) async fn serve(self, router: Router, ended: impl Future<Output = ()>) -> Result<()> {
        let handle = Handle::<SocketAddr>::new();
        let service = router.into_make_service();
        let failed = |error| Error::new(ErrorKind::Io, "the server failed").with_source(error);
        let mut server = axum_server::from_tcp(self.listener).map_err(failed)?.handle(handle.clone());
        server.http_builder().http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HEAD_TIME);
        let limited = Limited(self.limit);
        let serving = async {
            // HTTP/1.1 only, so that detecting the version needs no time. Set last, since another acceptor resets it.
            match self.tls {
                Some(tls) => {
                    server.acceptor(RustlsAcceptor::new(tls).acceptor(limited)).http1_only().serve(service).await
                }
                None => server.acceptor(limited).http1_only().serve(service).await,
            }
        };
        let ending = async {
            ended.await;
            handle.graceful_shutdown(Some(GRACE));
        };
        let (served, ()) = tokio::join!(serving, ending);
        served.map_err(failed)
    }
}

/// Installs the TLS provider, for the server and for the registry's client, which have none of their own.
pub(crate) fn choose_tls() {
    // An error means that one is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn certificate(tls: &Tls) -> Result<RustlsConfig> {
    choose_tls();
    let read = RustlsConfig::from_pem_file(&tls.cert, &tls.key).await.map_err(|error| {
        let text = format!("failed to use the certificate {} with the key {}", tls.cert.display(), tls.key.display());
        Error::new(ErrorKind::InvalidArgument, text).with_source(error)
    })?;
    let mut config = rustls::ServerConfig::clone(&read.get_inner());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

//! The server's life: it binds, serves, looks after its streams, and ends in good order.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use dreamframe::{Error, ErrorKind, Result};

use crate::app::{App, router};
use crate::config::{Config, Rtmp, Tls};

/// How often streams are looked after; also the pace of the loading picture.
const TICK: Duration = Duration::from_millis(100);
/// How long requests may take to end when the server does.
const GRACE: Duration = Duration::from_secs(4);
/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// A server that has its address and serves nobody yet.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    tls: Option<RustlsConfig>,
}

impl Bound {
    /// Takes the address, so that nothing else can, and reads the certificate.
    ///
    /// # Errors
    ///
    /// `Io` where the address is taken or may not be; `InvalidArgument` for a certificate that cannot be used.
    pub(crate) async fn new(config: Config) -> Result<Self> {
        let bind = config.bind;
        let failed = |error| Error::new(ErrorKind::Io, format!("cannot listen at {bind}")).with_source(error);
        let listener = TcpListener::bind(bind).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = match &config.tls {
            Some(tls) => Some(certificate(tls).await?),
            None => None,
        };
        Ok(Self { app: App::new(config, address), address, listener, tls })
    }

    /// Serves until `ended` is over; then takes no more requests, ends what runs, and returns.
    ///
    /// # Errors
    ///
    /// `Io` where the listener fails.
    pub(crate) async fn serve(self, ended: impl Future<Output = ()>) -> Result<()> {
        let Self { app, listener, tls, .. } = self;
        let handle = Handle::<SocketAddr>::new();
        let service = router(app.clone()).into_make_service();
        let failed = |error| Error::new(ErrorKind::Io, "the server failed").with_source(error);
        let mut server = axum_server::from_tcp(listener).map_err(failed)?.handle(handle.clone());
        server.http_builder().http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HEAD_TIME);
        let serving = async {
            match tls {
                Some(tls) => server.acceptor(RustlsAcceptor::new(tls)).serve(service).await,
                None => server.serve(service).await,
            }
        };
        let rtmp = listen_rtmp(&app).await?;
        let tending = tend(app.clone());
        let ending = async {
            ended.await;
            tracing::info!("ending");
            handle.graceful_shutdown(Some(GRACE));
            if let Some(rtmp) = &rtmp {
                rtmp.abort();
            }
            app.streams.close().await;
        };
        tokio::select! {
            // Comes to its end after the listener's.
            (served, ()) = async { tokio::join!(serving, ending) } => served.map_err(failed),
            never = tending => never,
        }
    }
}

/// Takes in RTMP beside HTTP.
async fn listen_rtmp(app: &Arc<App>) -> Result<Option<tokio::task::JoinHandle<()>>> {
    let (address, must) = match app.config.rtmp {
        Rtmp::Off => return Ok(None),
        Rtmp::Try(address) => (address, false),
        Rtmp::At(address) => (address, true),
    };
    let listener = match tokio::net::TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) if must => {
            let text = format!("cannot listen for RTMP at {address}");
            return Err(Error::new(ErrorKind::Io, text).with_source(error));
        }
        Err(error) => {
            tracing::warn!(%address, %error, "RTMP is not taken in");
            return Ok(None);
        }
    };
    let limits = crate::rtmp::Limits::default();
    Ok(Some(tokio::spawn(crate::rtmp::listen(app.clone(), listener, limits))))
}

/// Looks after streams, for ever.
async fn tend(app: Arc<App>) -> Result<()> {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        app.streams.tick().await;
    }
}

async fn certificate(tls: &Tls) -> Result<RustlsConfig> {
    // An error says that there is one already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    RustlsConfig::from_pem_file(&tls.cert, &tls.key).await.map_err(|error| {
        let text = format!("cannot use the certificate {} with the key {}", tls.cert.display(), tls.key.display());
        Error::new(ErrorKind::InvalidArgument, text).with_source(error)
    })
}

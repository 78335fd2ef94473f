//! Server lifecycle: bind, serve, supervise streams, graceful shutdown.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dreamframe::{Error, ErrorKind, Result};
use rustls::ServerConfig;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::app::{App, router};
use crate::cluster::{Presence, Registry};
use crate::config::{Config, Rtmp};
use crate::listener::HttpListener;
use crate::panics::restart_after_panics;
use crate::streams::{Preloaded, Store};

/// The interval of supervising streams, and of placeholder pictures.
const TICK: Duration = Duration::from_millis(100);

/// A server with a bound address that serves nothing yet.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) app: Arc<App>,
    pub(crate) listener: HttpListener,
    /// The socket for OSC, if it is enabled.
    pub(crate) osc: Option<UdpSocket>,
}

impl Bound {
    /// Binds the address, so that no other process can, and reads the certificate.
    ///
    /// # Errors
    ///
    /// `Io` if the address is taken or may not be; `InvalidArgument` for a certificate that cannot be used; those of
    /// [`App::new`].
    pub(crate) async fn new(config: Config) -> Result<Self> {
        let listener = HttpListener::new(config.bind, config.tls.as_ref(), config.max_connections).await?;
        let presence = match &config.registry {
            Some(registry) => {
                let url = config.worker_url.clone().unwrap_or_else(|| config.local_url(listener.address));
                Some(Presence::new(Registry::new(registry)?, url, config.keys.is_open()))
            }
            None => None,
        };
        let osc = match config.osc {
            Some(address) => Some(crate::osc::bind(address).await?),
            None => None,
        };
        Ok(Self { app: App::new(config, listener.address, presence)?, listener, osc })
    }

    /// Serves until `ended` completes; then accepts no more requests, ends all streams, and returns.
    ///
    /// # Errors
    ///
    /// `Io` if the listener fails; those of loading the models of `--preload`.
    pub(crate) async fn serve(self, ended: impl Future<Output = ()>) -> Result<()> {
        let Self { app, listener, osc } = self;
        let mut rtmp = listen_rtmp(&app, listener.other_tls()).await?;
        let (closing, closes) = tokio::sync::oneshot::channel();
        let ending = async {
            ended.await;
            drain(&app).await;
            tracing::info!("shutting down");
            if let Some(presence) = &app.presence {
                presence.leave().await;
            }
            // Runs until shutdown, since peers wait for the end of their connections.
            let _ = closing.send(());
            rtmp.abort_all();
            app.streams.close().await;
        };
        let closes = async {
            let _ = closes.await;
        };
        tokio::select! {
            // Ends after the listener.
            (served, ()) = async { tokio::join!(listener.serve(router(app.clone()), closes), ending) } => served,
            never = tend(app.clone()) => never,
            failed = preload(app.clone()) => failed,
            () = listen_osc(app.clone(), osc) => Ok(()),
        }
    }
}

/// Loads the models of `--preload`, and keeps them indefinitely.
async fn preload(app: Arc<App>) -> Result<()> {
    let mut kept: Vec<Preloaded> = Vec::new();
    for id in app.config.preload.clone() {
        tracing::info!(model = id, "preloading");
        let (app, of) = (app.clone(), id.clone());
        let loaded = tokio::task::spawn_blocking(move || app.streams.preload(&of)).await;
        let cancelled = |_| Error::new(ErrorKind::Internal, "loading was cancelled");
        kept.push(loaded.map_err(cancelled).flatten().map_err(|error| error.within(format_args!("preload: {id}")))?);
    }
    app.is_loading.store(false, Ordering::Relaxed);
    std::future::pending().await
}

/// Accepts no more streams, and waits for those in use, for the configured time.
async fn drain(app: &App) {
    app.streams.drain();
    let start = Instant::now();
    if app.config.drain.is_zero() {
        return;
    }
    tracing::info!(streams = app.streams.in_use(), "draining");
    while app.streams.in_use() > 0 && start.elapsed() < app.config.drain {
        tokio::time::sleep(TICK).await;
    }
}

/// Starts the RTMP listeners, which end with the result.
async fn listen_rtmp(app: &Arc<App>, tls: Option<Arc<ServerConfig>>) -> Result<JoinSet<()>> {
    let mut listeners = JoinSet::new();
    let address = match app.config.rtmp {
        Rtmp::Off => None,
        Rtmp::Try(address) => Some((address, false)),
        Rtmp::At(address) => Some((address, true)),
    };
    let plain = address.map(|(address, must)| (address, must, None));
    let by_tls = app.config.rtmps.map(|address| (address, true, tls));
    for (address, must, tls) in plain.into_iter().chain(by_tls) {
        let listener = match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) if must => {
                let text = format!("failed to listen for RTMP at {address}");
                return Err(Error::new(ErrorKind::Io, text).with_source(error));
            }
            Err(error) => {
                tracing::warn!(%address, %error, "RTMP publishing is disabled");
                continue;
            }
        };
        let app = app.clone();
        listeners.spawn(async move {
            let listen = || crate::rtmp::listen(app.clone(), &listener, tls.clone(), crate::rtmp::Limits::default());
            restart_after_panics("the listener for RTMP", listen).await;
        });
    }
    Ok(listeners)
}

/// Receives OSC, indefinitely.
async fn listen_osc(app: Arc<App>, socket: Option<UdpSocket>) {
    match socket {
        Some(socket) => restart_after_panics("the receiver of OSC", || crate::osc::listen(app.clone(), &socket)).await,
        None => std::future::pending().await,
    }
}

/// Supervises streams, and publishes them to gateways, indefinitely.
async fn tend(app: Arc<App>) -> Result<()> {
    let publishing = async {
        match &app.presence {
            Some(presence) => {
                restart_after_panics("publishing the worker", || presence.keep(&app.streams)).await;
            }
            None => std::future::pending().await,
        }
    };
    let supervising = restart_after_panics("supervision", || supervise(&app.streams));
    tokio::join!(publishing, supervising).1
}

async fn supervise(streams: &Store) -> Result<()> {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        streams.tick().await;
    }
}

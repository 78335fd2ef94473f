//! WHIP and WHEP endpoints in this process, for one session.
//!
//! One runtime serves HTTP and carries the connections of all peers.

mod channel;
mod listener;
mod routes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::channel::SessionChannel;
use self::listener::ConnectionLimiter;
use self::routes::Site;
use super::http::Limits;
use super::peer::{Media, PeerOptions};
use super::{AudioHub, Egress, EgressOptions, WhepEndpoint, WhipEndpoint};
use crate::engine::Engine;
use crate::frame::{FrameView, PixelFormat};
use crate::session::{Session, SessionHandle, SessionOptions};
use crate::setters::setters;
use crate::{Error, ErrorKind, Result};

/// The longest time for requests in progress when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// The brightness of the placeholder before the first picture.
const GREY: u8 = 32;

/// Options of a [`Server`].
///
/// ```
/// use dreamframe::ErrorKind;
/// use dreamframe::transport::peer::Media;
/// use dreamframe::transport::{ServeOptions, serve_media};
///
/// # fn main() -> dreamframe::Result<()> {
/// let options = ServeOptions::default().with_addr(([0, 0, 0, 0], 0).into());
/// // Other machines reach this address, so a token is needed.
/// let error = serve_media(Media::default(), Media::default(), &options).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
/// let options = options.with_token(Some("a secret".into()));
/// assert!(!format!("{options:?}").contains("a secret"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// The address to listen at. With port 0 the system chooses one; an address that other machines reach needs a
    /// [`token`](Self::token).
    /// Default: 127.0.0.1:8080.
    pub addr: SocketAddr,
    /// The token that publishers and viewers must send, as `Authorization: Bearer <token>`. It gives the same access to
    /// both: viewers may also publish, and change parameters by the data channel. Default: none.
    pub token: Option<String>,
    /// The URL by which clients know the server, as `https://host`, behind a proxy that does not report it.
    /// Default: the one that a request was made to.
    pub public_url: Option<String>,
    /// The origins whose pages may use a server without a [`token`](Self::token), such as `https://app.example`,
    /// besides those of loopback names and addresses and that of [`public_url`](Self::public_url); and the hosts that
    /// it may be asked as. With a token pages of every origin may, if they know it. Default: no others.
    pub allow_origins: Vec<String>,
    /// How connections reach the network.
    pub peer: PeerOptions,
    /// The limits of viewers, sessions and times.
    pub limits: Limits,
    /// How pictures are encoded for viewers; [`serve_media`] has an encoder already.
    pub egress: EgressOptions,
}

setters! {
    ServeOptions:
    with_addr, addr: SocketAddr;
    with_token, token: Option<String>;
    with_public_url, public_url: Option<String>;
    with_allow_origins, allow_origins: Vec<String>;
    with_peer, peer: PeerOptions;
    with_limits, limits: Limits;
    with_egress, egress: EgressOptions;
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            addr: (Ipv4Addr::LOCALHOST, 8080).into(),
            token: None,
            public_url: None,
            allow_origins: Vec::new(),
            peer: PeerOptions::default(),
            limits: Limits::default(),
            egress: EgressOptions::default(),
        }
    }
}

impl fmt::Debug for ServeOptions {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("addr", &self.addr)
            .field("token", &self.token.is_some())
            .field("public_url", &self.public_url)
            .field("allow_origins", &self.allow_origins)
            .field("peer", &self.peer)
            .field("limits", &self.limits)
            .field("egress", &self.egress)
            .finish()
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server<S = Session> {
    site: Arc<Site>,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// The session, which ends with the server.
    served: S,
}

/// Starts a session of `engine` and serves it: publishers send its frames, and viewers get its pictures.
///
/// Clients can change parameters by the data channel `parameters` ([`SessionChannel`]), which also gets the session's
/// events, in place of the host. Viewers see a grey picture before the first one.
///
/// ```no_run
/// use dreamframe::transport::{ServeOptions, serve};
/// use dreamframe::{Engine, ModelSource, ParamsPatch};
///
/// let engine = Engine::builder().models(ModelSource::Demo).build()?;
/// let server = serve(engine, ServeOptions::default())?;
/// println!("publish to {} and watch {}", server.whip_url(), server.whep_url());
/// server.session().update(&ParamsPatch::from_json(r#"{"prompt": "a garden"}"#)?)?;
/// # Ok::<(), dreamframe::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`Engine::start`] and of [`serve_media`].
pub fn serve(engine: Engine, options: ServeOptions) -> Result<Server> {
    let egress = Egress::new(options.egress);
    let session = engine.start(SessionOptions { on_picture: Some(egress.picture_callback()), ..Default::default() })?;
    serve_shown(session.handle(), egress, &options, session)
}

/// Like [`serve`], for a session that its host has started and ends: one whose pictures `egress` shows, by
/// [`picture_callback`](Egress::picture_callback).
///
/// # Errors
///
/// Those of [`serve_media`]; the session then continues.
pub fn serve_session(session: SessionHandle, egress: Egress, options: &ServeOptions) -> Result<Server<()>> {
    serve_shown(session, egress, options, ())
}

fn serve_shown<S>(session: SessionHandle, egress: Egress, options: &ServeOptions, served: S) -> Result<Server<S>> {
    if egress.stats().shown.total == 0 {
        let (format, params) = (PixelFormat::Rgba8, session.params());
        let grey = vec![GREY; format.packed_len(params.width, params.height)];
        egress.show(&FrameView::packed(format, params.width, params.height, &grey)?);
    }
    let channel = Arc::new(SessionChannel::new(session));
    let audio = AudioHub::default();
    let publisher = Media {
        video_in: Some(channel.clone()),
        audio_in: Some(audio.clone()),
        channel: Some(channel.clone()),
        ..Media::default()
    };
    let viewer =
        Media { video_out: Some(egress), audio_out: Some(audio), channel: Some(channel.clone()), ..Media::default() };
    let server = Server::start(publisher, viewer, options, served)?;
    channel.forward_events()?;
    Ok(server)
}

/// Serves a host's own frames and pictures: publishers send to the sinks of `publisher`, and viewers get the sources of
/// `viewer`.
///
/// # Errors
///
/// `InvalidArgument` for an address that other machines reach without a token, an empty token, an invalid public URL or
/// allowed origin, or the ICE transport policy relay without a TURN server; `Io` if the address cannot be bound; `Device`
/// if no thread can be started.
pub fn serve_media(publisher: Media, viewer: Media, options: &ServeOptions) -> Result<Server<()>> {
    Server::start(publisher, viewer, options, ())
}

impl<S> Server<S> {
    fn start(publisher: Media, viewer: Media, options: &ServeOptions, served: S) -> Result<Self> {
        options.peer.check_relay()?;
        if options.token.is_none() && !options.addr.ip().is_loopback() {
            let what = format!(
                "token: missing, expected one for the address {}, which other machines can reach",
                options.addr
            );
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        if options.token.as_deref() == Some("") {
            let what = "token: got no characters, expected at least one, or no token";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let no_thread = |error| Error::new(ErrorKind::Device, "failed to start a thread").with_source(error);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime =
            runtime.worker_threads(2).thread_name("dreamframe-serve").enable_all().build().map_err(no_thread)?;
        let taken =
            |error| Error::new(ErrorKind::Io, format!("failed to listen at {}", options.addr)).with_source(error);
        let listener = runtime.block_on(TcpListener::bind(options.addr)).map_err(taken)?;
        let addr = listener.local_addr().map_err(taken)?;
        let site = Arc::new(Site {
            whip: WhipEndpoint::new(publisher, options.peer.clone(), options.limits),
            whep: WhepEndpoint::new(viewer, options.peer.clone(), options.limits),
            token: options.token.clone(),
            base: routes::Base::new(options.public_url.as_deref(), addr)?,
            origins: routes::allowed_origins(options)?,
        });
        let (stop, stopped) = watch::channel(false);
        let working = site.clone();
        let thread = std::thread::Builder::new()
            .name("dreamframe-serve".into())
            .spawn(move || run(runtime, listener, working, stopped))
            .map_err(no_thread)?;
        Ok(Self { site, addr, stop, thread: Some(thread), served })
    }

    /// Returns the address that the server listens at.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the address to publish to.
    pub fn whip_url(&self) -> String {
        self.site.base.whip_url()
    }

    /// Returns the address to watch.
    pub fn whep_url(&self) -> String {
        self.site.base.whep_url()
    }

    /// Returns the endpoint of publishers.
    pub fn whip(&self) -> &WhipEndpoint {
        &self.site.whip
    }

    /// Returns the endpoint of viewers.
    pub fn whep(&self) -> &WhepEndpoint {
        &self.site.whep
    }

    /// Ends all connections and the session, and waits for that, for some seconds at most. Must not be called from
    /// callbacks of the server, such as a sink.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // What panicked there has been logged.
            let _ = thread.join();
        }
    }
}

impl Server<Session> {
    /// Returns the handle of the session, for parameters and statistics.
    pub fn session(&self) -> SessionHandle {
        self.served.handle()
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The server's thread.
fn run(runtime: Runtime, listener: TcpListener, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    runtime.block_on(async {
        let mut stopping = stopped.clone();
        let router = routes::router(site.clone());
        let serving = axum::serve(ConnectionLimiter::new(listener), router).with_graceful_shutdown(async move {
            // Without its owner a server is stopped, too.
            let _ = stopping.wait_for(|stopped| *stopped).await;
        });
        let mut serving = tokio::spawn(serving.into_future());
        let _ = stopped.wait_for(|stopped| *stopped).await;
        let _ = timeout(FAREWELL, async { tokio::join!(site.whip.close(), site.whep.close()) }).await;
        if timeout(FAREWELL, &mut serving).await.is_err() {
            // The address must be free when this ends.
            serving.abort();
            let _ = serving.await;
        }
    });
    runtime.shutdown_background();
}

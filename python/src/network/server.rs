//! `Server`: WHIP and WHEP endpoints for a stream.

use std::mem;
use std::net::SocketAddr;
use std::sync::Mutex;

use dreamframe::transport::http::Limits;
use dreamframe::transport::peer::PeerStats;
use dreamframe::transport::{Egress, EgressStats, ServeOptions, WhepEndpoint, WhipEndpoint, serve_session};
use dreamframe::{Error, ErrorKind, SessionOptions};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyTuple};
use serde::Serialize;

use super::peer;
use super::publisher::egress_options;
use crate::errors::OrRaise;
use crate::options::positive;
use crate::session::{STOP_TIMEOUT, Session};
use crate::shared_state::lock;
use crate::stream::StreamDiffusion;
use crate::worker::{end, end_later};
use crate::{interpreter, log, plain, results};

/// A WHIP and a WHEP endpoint for a stream: publishers send its frames, viewers receive its pictures.
///
/// Created by `serve`. All methods are thread-safe. There is one publisher at a time: a new one replaces it. Viewers
/// see a grey placeholder before the first picture. Publishers and viewers can also change parameters, with JSON on the
/// data channel `parameters`.
///
/// >>> with serve() as server:
/// ...     print(server.whip_url, server.whep_url)
/// ...     server.update(prompt=input("prompt: "))
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct Server {
    stream: Py<StreamDiffusion>,
    /// Whether the stream was created for the server, and is closed with it.
    owned: bool,
    session: Py<Session>,
    network: Network,
}

/// The network part of a server. Dropping it stops the endpoints.
struct Network {
    server: Mutex<Option<dreamframe::transport::Server<()>>>,
    egress: Egress,
    whip: WhipEndpoint,
    whep: WhepEndpoint,
    addr: SocketAddr,
    urls: [String; 2],
}

/// Serves a stream at `address`. Returns immediately.
///
/// `stream` runs in a session until the server is stopped, and can be called again afterwards. If it is parameters, or
/// None for the demo model, a stream is created that is closed with the server. Publishers and viewers must send
/// `token`, which is required if `address` is not a loopback address. Port 0 selects a free port. `public_url` is the
/// server's address as clients see it behind a proxy. Without a token, web pages may use the server only if their
/// origin is this machine, `public_url` or one of `allow_origins`, such as "https://app.example"; others are rejected.
/// `bitrate` is the encoder's target, in bits per second; `viewers` is the maximum number of viewers. For connections
/// through a NAT, `ice_servers` are STUN and TURN servers, `public_ip` is the public address, and `ports` are the first
/// and the last UDP port.
///
/// Raises:
///     InvalidArgumentError: the stream is already running in a session, or an option is out of range.
///     IoError: the address is in use. The stream can be called again.
///     InvalidParamsError: a parameter is out of range; `violations` lists every one.
#[pyfunction]
#[pyo3(signature = (
    stream: "StreamDiffusion | StreamDiffusionParams | Mapping[str, typing.Any] | None" = None,
    *,
    address: "str" = "127.0.0.1:8080",
    token: "str | None" = None,
    public_url: "str | None" = None,
    allow_origins: "Sequence[str] | None" = None,
    bitrate: "int | None" = None,
    viewers: "int | None" = None,
    ice_servers: "Iterable[str | IceServer] | None" = None,
    public_ip: "str | None" = None,
    ports: "tuple[int, int] | None" = None,
) -> "Server")]
#[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
pub(crate) fn serve(
    py: Python<'_>,
    stream: Option<&Bound<'_, PyAny>>,
    address: &str,
    token: Option<String>,
    public_url: Option<String>,
    allow_origins: Option<Vec<String>>,
    bitrate: Option<&Bound<'_, PyAny>>,
    viewers: Option<&Bound<'_, PyAny>>,
    ice_servers: Option<&Bound<'_, PyAny>>,
    public_ip: Option<&Bound<'_, PyAny>>,
    ports: Option<&Bound<'_, PyAny>>,
) -> PyResult<Server> {
    log::refresh(py);
    interpreter::check_not_forked().or_raise(py)?;
    let mut limits = Limits::default();
    if let Some(viewers) = viewers {
        limits.viewers = positive("viewers", viewers)?.get() as usize;
    }
    let options = ServeOptions::default()
        .with_addr(socket(address).or_raise(py)?)
        .with_token(token)
        .with_public_url(public_url)
        .with_allow_origins(allow_origins.unwrap_or_default())
        .with_peer(peer::options(ice_servers, public_ip, ports)?)
        .with_limits(limits)
        .with_egress(egress_options(bitrate)?);
    let (stream, owned) = match stream {
        Some(stream) if stream.is_instance_of::<StreamDiffusion>() => (stream.clone(), false),
        Some(other) if other.cast::<PyMapping>().is_err() && !other.hasattr(intern!(py, "model_dump"))? => {
            let name = plain::type_name(other);
            let text = format!("stream: got a {name}, expected a StreamDiffusion, its parameters, or None");
            return Err(PyTypeError::new_err(text));
        }
        params => (py.get_type::<StreamDiffusion>().call1((params,))?, true),
    };
    let stream = stream.cast_into::<StreamDiffusion>()?;
    Server::start(&stream, owned, &options)
}

fn socket(address: &str) -> dreamframe::Result<SocketAddr> {
    address.parse().map_err(|_| {
        let text = format!("address: got {address:?}, expected an IP address and a port, such as 127.0.0.1:8080");
        Error::new(ErrorKind::InvalidArgument, text)
    })
}

impl Server {
    fn start(stream: &Bound<'_, StreamDiffusion>, owned: bool, options: &ServeOptions) -> PyResult<Self> {
        let py = stream.py();
        let egress = Egress::new(options.egress);
        let mut shown = SessionOptions::default();
        shown.on_picture = Some(egress.picture_callback());
        let session = stream.get().begin(py, shown, None)?;
        let handle = session.running().handle.clone();
        match py.detach(|| serve_session(handle, egress.clone(), options)) {
            Ok(server) => {
                let network = Network::new(server, egress);
                Ok(Self { stream: stream.clone().unbind(), owned, session: Py::new(py, session)?, network })
            }
            Err(error) => {
                // On failure the stream can be called again.
                session.stop(py, STOP_TIMEOUT)?;
                Err(error).or_raise(py)
            }
        }
    }
}

impl Network {
    fn new(server: dreamframe::transport::Server<()>, egress: Egress) -> Self {
        Self {
            egress,
            whip: server.whip().clone(),
            whep: server.whep().clone(),
            addr: server.addr(),
            urls: [server.whip_url(), server.whep_url()],
            server: Mutex::new(Some(server)),
        }
    }

    fn is_open(&self) -> bool {
        lock(&self.server).is_some()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Some(server) = lock(&self.server).take() else { return };
        if interpreter::is_forked() {
            // In a forked process there is no thread to wait for.
            mem::forget(server);
            return;
        }
        let _ = end_later(move || drop(server));
    }
}

#[derive(Serialize)]
struct Stats {
    session: dreamframe::Stats,
    egress: EgressStats,
    publisher: Option<PeerStats>,
    viewers: Vec<PeerStats>,
}

#[pymethods]
impl Server {
    /// The URL to publish to.
    #[getter]
    fn whip_url(&self) -> String {
        let [whip, _] = &self.network.urls;
        whip.clone()
    }

    /// The URL to watch.
    #[getter]
    fn whep_url(&self) -> String {
        let [_, whep] = &self.network.urls;
        whep.clone()
    }

    /// The port that the server listens on.
    #[getter] // -> "int"
    fn port(&self) -> u16 {
        self.network.addr.port()
    }

    /// The session that is served. It also accepts frames from this program. Its pictures go to viewers, and its events
    /// to all clients.
    #[getter] // -> "Session"
    fn session(&self, py: Python<'_>) -> Py<Session> {
        self.session.clone_ref(py)
    }

    /// Changes parameters, like the session's `update`.
    ///
    /// Raises:
    ///     InvalidParamsError: a value is out of range; `violations` lists every one, and nothing has changed.
    ///     ClosedError: the server was stopped.
    #[pyo3(signature = (
        patch: "StreamDiffusionParams | Mapping[str, typing.Any] | None" = None,
        /,
        **changes: "Unpack[ParamsPatch]",
    ) -> "Ticket")]
    fn update(
        &self,
        py: Python<'_>,
        patch: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.session.get().update(py, patch, changes)
    }

    /// Returns a context manager for a `with` block: changes to its parameters apply together when it ends without an
    /// error.
    #[pyo3(signature = () -> "Edit")]
    fn edit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        results::edit(self.session.bind(py).as_any())
    }

    /// The desired parameters: those accepted last, minus updates that were rejected since.
    #[getter] // -> "StreamDiffusionParams"
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.session.get().params(py)
    }

    /// The number of viewers, including those that are connecting.
    #[getter]
    fn viewers(&self) -> usize {
        self.network.whep.viewers()
    }

    /// Whether a publisher is connected.
    #[getter]
    fn publishing(&self) -> bool {
        self.network.whip.publisher().is_some()
    }

    /// Whether the server accepts publishers and viewers.
    #[getter]
    fn is_running(&self) -> bool {
        self.network.is_open()
    }

    /// Returns statistics of the session, the encoder and each connection.
    #[pyo3(signature = () -> "ServerStats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        log::deliver(py);
        let Network { egress, whip, whep, .. } = &self.network;
        let session = &self.session.get().running().handle;
        let stats = py.detach(|| Stats {
            session: session.stats(),
            egress: egress.stats(),
            publisher: whip.publisher().map(|peer| peer.stats()),
            viewers: whep.connections().iter().map(|peer| peer.stats()).collect(),
        });
        results::serialized(py, &stats)
    }

    /// Ends all connections, within a few seconds, and the session. The stream can be called again, or is closed if it
    /// was created for the server. Has no effect on a stopped server.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let server = lock(&self.network.server).take();
        if let Some(server) = server {
            end(py, move || drop(server))?;
        }
        self.session.get().stop(py, STOP_TIMEOUT)?;
        if self.owned { self.stream.get().close(py) } else { Ok(()) }
    }

    #[pyo3(signature = () -> "Self")]
    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*exc: "object") -> "None")]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        let _ = exc;
        self.stop(py)
    }

    fn __repr__(&self) -> String {
        let Network { addr, whip, whep, .. } = &self.network;
        let state = if self.network.is_open() { "running" } else { "stopped" };
        let publishing = if whip.publisher().is_some() { "published to" } else { "nobody publishes" };
        format!("<Server {state}, {addr}, {publishing}, viewers {}>", whep.viewers())
    }
}

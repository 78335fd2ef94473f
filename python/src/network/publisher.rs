//! `Publisher`: sends frames to a WHIP server.

use dreamframe::transport::peer::PeerStats;
use dreamframe::transport::{Egress, EgressOptions, EgressStats};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use serde::Serialize;

use super::client::{self, Connection, State};
use crate::errors::OrRaise;
use crate::options::positive;
use crate::{frame, interpreter, log, results};

/// Publishes frames to a WHIP server.
///
/// Created by `publish`. All methods are thread-safe. A lost connection is re-established; `state` is the connection
/// state.
///
/// >>> with publish("https://host/whip/key") as publisher:
/// ...     for frame in camera():
/// ...         publisher.show(frame)
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct Publisher {
    connection: Connection,
    egress: Egress,
}

/// Starts to publish to the WHIP server at `url`. Returns immediately: the connection is made in the background.
///
/// `token` is sent to that server only. `bitrate` is the encoder's target, in bits per second. The publisher gives up
/// after `attempts` consecutive failed attempts; None means never. `ice_servers` are STUN and TURN servers for
/// connections through a NAT. With `relayed_only`, only TURN servers are used, those given or named by the server, so that
/// the server does not learn the addresses of this machine.
///
/// Raises:
///     InvalidArgumentError: the address is not http or https, or an option is out of range.
#[pyfunction]
#[pyo3(signature = (
    url: "str",
    *,
    token: "str | None" = None,
    bitrate: "int | None" = None,
    attempts: "int | None" = None,
    ice_servers: "Iterable[str | IceServer] | None" = None,
    relayed_only: "bool" = false,
) -> "Publisher")]
pub(crate) fn publish(
    py: Python<'_>,
    url: &str,
    token: Option<String>,
    bitrate: Option<&Bound<'_, PyAny>>,
    attempts: Option<&Bound<'_, PyAny>>,
    ice_servers: Option<&Bound<'_, PyAny>>,
    relayed_only: bool,
) -> PyResult<Publisher> {
    log::refresh(py);
    interpreter::check_not_forked().or_raise(py)?;
    let egress = Egress::new(egress_options(bitrate)?);
    let options = client::options(token, attempts, ice_servers, relayed_only)?;
    let client = py.detach(|| dreamframe::transport::publish(url, options, egress.clone())).or_raise(py)?;
    Ok(Publisher { connection: Connection::new("publisher", client), egress })
}

/// Reads the encoder's options.
pub(super) fn egress_options(bitrate: Option<&Bound<'_, PyAny>>) -> PyResult<EgressOptions> {
    let mut options = EgressOptions::default();
    if let Some(bitrate) = bitrate {
        options.bitrate = positive("bitrate", bitrate)?.get();
        options.max_bitrate = options.max_bitrate.max(options.bitrate);
    }
    Ok(options)
}

#[derive(Serialize)]
struct Stats {
    egress: EgressStats,
    peer: Option<PeerStats>,
}

#[pymethods]
impl Publisher {
    /// Sends a frame, without waiting: it replaces one that is not encoded yet. An odd last row or column is cropped.
    ///
    /// Frames may be sent before there is a connection: once it is established, the newest is sent.
    ///
    /// Raises:
    ///     InvalidFrameError: the frame has another type or shape; the message has the details.
    ///     ClosedError: the publisher was stopped, or has given up; the message has the reason.
    #[pyo3(signature = (frame: "FrameLike", /) -> "None")]
    fn show(&self, frame: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = frame.py();
        interpreter::check_not_forked().or_raise(py)?;
        if let Some(why) = self.connection.over() {
            return Err(why).or_raise(py);
        }
        let frame = frame::copied(frame)?;
        py.detach(|| self.egress.show(&frame.view()));
        Ok(())
    }

    /// The connection state: `connecting` until the first connection, `disconnected` while reconnecting, `failed` once
    /// the publisher has given up, `closed` once it was stopped.
    #[getter] // -> "ConnectionState"
    fn state(&self) -> &'static str {
        self.connection.state()
    }

    /// Waits until the connection is in `state`, which is `connected` by default.
    ///
    /// Raises:
    ///     TimeoutError: it is not in that state after `timeout` seconds; the message has the most recent error.
    ///     ClosedError: it has ended in another state; the message has the reason.
    #[pyo3(signature = (state: "ConnectionState" = State::default(), timeout: "float | None" = None) -> "None")]
    fn wait(&self, py: Python<'_>, state: State, timeout: Option<f64>) -> PyResult<()> {
        self.connection.wait(py, state, timeout)
    }

    /// The most recent error, if any: of a failed attempt, or of a lost connection.
    #[getter] // -> "DreamframeError | None"
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.connection.error(py)
    }

    /// The address at which viewers can watch the stream; None until the server has sent one.
    #[getter] // -> "str | None"
    fn playback_url(&self) -> Option<String> {
        self.connection.client().playback_url()
    }

    /// Returns statistics of the encoder and, while connected, of the connection.
    #[pyo3(signature = () -> "PublisherStats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        log::deliver(py);
        let stats = py.detach(|| Stats { egress: self.egress.stats(), peer: self.connection.client().stats() });
        results::serialized(py, &stats)
    }

    /// Ends the session on the server and the connection. Waits a few seconds at most. Has no effect on a stopped
    /// publisher.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.connection.stop(py)
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
        self.connection.repr("Publisher")
    }
}

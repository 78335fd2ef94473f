//! `Publisher`: frames to a WHIP server, for Python.

use dreamframe::transport::peer::PeerStats;
use dreamframe::transport::{Egress, EgressOptions, EgressStats};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use serde::Serialize;

use super::client::{self, Connection, State};
use crate::errors::OrRaise;
use crate::options::positive;
use crate::{facts, foreign, frame, log};

/// Publishes frames to a WHIP server.
///
/// Made by `publish`. Every method may be called from any thread. A connection that is lost is made anew; `state` says
/// how far it is.
///
/// >>> with publish("https://host/whip/key") as publisher:
/// ...     for frame in camera():
/// ...         publisher.show(frame)
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct Publisher {
    connection: Connection,
    egress: Egress,
}

/// Starts to publish to the WHIP server at `url`, and returns at once: the connection is made beside the program.
///
/// `token` is told to that server and to no other. `bitrate` is what the encoder aims at, in bits a second. After
/// `attempts` in a row that failed it gives up; None is never. `ice_servers` are asked for ways through a NAT.
///
/// Raises:
///     InvalidArgumentError: the address is not of http or https, or an option is out of range.
#[pyfunction]
#[pyo3(signature = (
    url: "str",
    *,
    token: "str | None" = None,
    bitrate: "int | None" = None,
    attempts: "int | None" = None,
    ice_servers: "Iterable[str | IceServer] | None" = None,
) -> "Publisher")]
pub(crate) fn publish(
    py: Python<'_>,
    url: &str,
    token: Option<String>,
    bitrate: Option<&Bound<'_, PyAny>>,
    attempts: Option<&Bound<'_, PyAny>>,
    ice_servers: Option<&Bound<'_, PyAny>>,
) -> PyResult<Publisher> {
    log::refresh(py);
    foreign::check_home().or_raise(py)?;
    let egress = Egress::new(egress_options(bitrate)?);
    let options = client::options(token, attempts, ice_servers)?;
    let client = py.detach(|| dreamframe::transport::publish(url, options, egress.clone())).or_raise(py)?;
    Ok(Publisher { connection: Connection::new("publisher", client), egress })
}

/// Reads how pictures are encoded.
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
    /// Shows a frame, and never waits: one that was not encoded yet is replaced. A single last row or column is cut off.
    ///
    /// Frames may be shown before there is a connection: once it is up, the newest is sent.
    ///
    /// Raises:
    ///     InvalidFrameError: the frame has another type or shape; the text says what to do about it.
    ///     ClosedError: the publisher was stopped, or has given up; the text says why.
    #[pyo3(signature = (frame: "FrameLike", /) -> "None")]
    fn show(&self, frame: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = frame.py();
        foreign::check_home().or_raise(py)?;
        if let Some(why) = self.connection.over() {
            return Err(why).or_raise(py);
        }
        let frame = frame::copied(frame)?;
        py.detach(|| self.egress.show(&frame.view()));
        Ok(())
    }

    /// How far the connection is: `connecting` until the first is up, `disconnected` while one is lost and the next is
    /// made, `failed` once the publisher has given up, `closed` once it was stopped.
    #[getter] // -> "ConnectionState"
    fn state(&self) -> &'static str {
        self.connection.state()
    }

    /// Waits until the connection is in `state`; where none is named, until it is up.
    ///
    /// Raises:
    ///     TimeoutError: it is not after `timeout` seconds; the text says what went wrong last.
    ///     ClosedError: it has ended in another state; the text says why.
    #[pyo3(signature = (state: "ConnectionState" = State::default(), timeout: "float | None" = None) -> "None")]
    fn wait(&self, py: Python<'_>, state: State, timeout: Option<f64>) -> PyResult<()> {
        self.connection.wait(py, state, timeout)
    }

    /// What went wrong last, if anything has: why an attempt failed, or a connection was lost.
    #[getter] // -> "DreamframeError | None"
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.connection.error(py)
    }

    /// The address at which what is published can be watched, once a server has said one.
    #[getter] // -> "str | None"
    fn playback_url(&self) -> Option<String> {
        self.connection.client().playback_url()
    }

    /// Returns what was encoded, and what the connection has carried while there is one.
    #[pyo3(signature = () -> "PublisherStats")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        log::deliver(py);
        let stats = py.detach(|| Stats { egress: self.egress.stats(), peer: self.connection.client().stats() });
        facts::serialized(py, &stats)
    }

    /// Ends the session on the server and the connection, and waits for that, for some seconds at most. Stopping once
    /// more does nothing.
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

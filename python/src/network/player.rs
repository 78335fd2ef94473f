//! `Player`: receives frames from a WHEP server.

use std::sync::{Arc, Mutex};

use dreamframe::frame::{Frame, FrameCopier};
use dreamframe::transport::{FrameSink, LatestFrame};
use dreamframe::{Error, ErrorKind, PixelFormat};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::client::{self, Connection, State};
use crate::errors::{OrRaise, exception};
use crate::picture::{self, OutputArray};
use crate::session::Session;
use crate::shared_state::lock;
use crate::worker::wait_up_to;
use crate::{interpreter, log, plain, results};

/// Receives frames from a WHEP server.
///
/// Created by `play`. All methods are thread-safe. A lost connection is re-established; `state` is the connection
/// state.
///
/// >>> with play("https://host/whep/key") as player:
/// ...     for frame in player:
/// ...         show(frame)
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct Player {
    connection: Connection,
    output: PixelFormat,
    goal: FrameTarget,
    /// Used by the thread that takes a frame.
    copier: Mutex<FrameCopier>,
}

/// Where frames go.
enum FrameTarget {
    /// To the callers of `poll` and `next`.
    Newest(Arc<LatestFrame>),
    /// To a session, which stays open as long as the player exists.
    Session(#[expect(dead_code, reason = "a session that nobody holds ends")] Py<Session>),
}

/// Starts to play from the WHEP server at `url`. Returns immediately: the connection is made in the background.
///
/// `token` is sent to that server only. The player gives up after `attempts` consecutive failed attempts; None means
/// never. `ice_servers` are STUN and TURN servers for connections through a NAT. With `relayed_only`, only TURN servers
/// are used, those given or named by the server, so that the server does not learn the addresses of this machine. `into`
/// receives the frames directly, without Python; without it, `output` is the channel order of frames.
///
/// Raises:
///     InvalidArgumentError: the address is not http or https, or an option is out of range.
#[pyfunction]
#[pyo3(signature = (
    url: "str",
    *,
    token: "str | None" = None,
    attempts: "int | None" = None,
    ice_servers: "Iterable[str | IceServer] | None" = None,
    relayed_only: "bool" = false,
    into: "Session | None" = None,
    output: "typing.Literal['rgba', 'bgra', 'rgb']" = "rgba",
) -> "Player")]
#[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
pub(crate) fn play(
    py: Python<'_>,
    url: &str,
    token: Option<String>,
    attempts: Option<&Bound<'_, PyAny>>,
    ice_servers: Option<&Bound<'_, PyAny>>,
    relayed_only: bool,
    into: Option<&Bound<'_, PyAny>>,
    output: &str,
) -> PyResult<Player> {
    log::refresh(py);
    interpreter::check_not_forked().or_raise(py)?;
    let output = picture::output(py, output)?;
    let options = client::options(token, attempts, ice_servers, relayed_only)?;
    let (goal, sink): (_, Arc<dyn FrameSink>) = match into {
        Some(session) => {
            let session = session_of(session)?;
            let handle = session.get().running().handle.clone();
            (FrameTarget::Session(session.clone().unbind()), Arc::new(handle))
        }
        None => {
            let newest = Arc::new(LatestFrame::new());
            (FrameTarget::Newest(newest.clone()), newest)
        }
    };
    let client = py.detach(|| dreamframe::transport::play(url, options, sink)).or_raise(py)?;
    Ok(Player { connection: Connection::new("player", client), output, goal, copier: Mutex::default() })
}

fn session_of<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, Session>> {
    object.cast::<Session>().map_err(|_| {
        let name = plain::type_name(object);
        let text = format!("into: got a {name}, expected a Session that start() returned, or the session of a server");
        pyo3::exceptions::PyTypeError::new_err(text)
    })
}

impl Player {
    fn newest(&self, py: Python<'_>) -> PyResult<&LatestFrame> {
        match &self.goal {
            FrameTarget::Newest(newest) => Ok(newest),
            FrameTarget::Session(_) => {
                let text = "the frames of this player go to a session; take the pictures there";
                Err(exception(py, &Error::new(ErrorKind::InvalidArgument, text)))
            }
        }
    }

    /// Copies a frame into an array.
    fn to_array(&self, py: Python<'_>, frame: &Frame) -> PyResult<Py<PyAny>> {
        let mut array = OutputArray::for_frame(py, self.output, (frame.width(), frame.height()))?;
        py.detach(|| lock(&self.copier).copy(&frame.view(), &mut array.view()?)).or_raise(py)?;
        Ok(array.into_array())
    }

    fn next_frame(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let newest = self.newest(py)?;
        let connection = &self.connection;
        let came = wait_up_to(py, timeout, |most| match newest.take_within(most) {
            // A frame that arrived just before the end is returned, too.
            None if connection.client().state().is_over() => Some(newest.take()),
            None => None,
            frame => Some(frame),
        })?;
        match came {
            Some(Some(frame)) => self.to_array(py, &frame).map(Some),
            Some(None) => connection.failure().map_or(Ok(None), |why| Err(why).or_raise(py)),
            None => Ok(None),
        }
    }
}

#[pymethods]
impl Player {
    /// Returns the newest frame that has not been taken; None if there is none.
    #[pyo3(signature = () -> "Frame | None")]
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        log::deliver(py);
        let frame = self.newest(py)?.take();
        frame.map(|frame| self.to_array(py, &frame)).transpose()
    }

    /// Waits for a frame that has not been taken. Returns None after `timeout` seconds, or once the player was stopped.
    ///
    /// Raises:
    ///     ClosedError: the player has given up; the message has the reason.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Frame | None")]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        self.next_frame(py, timeout)
    }

    /// Iterates over frames until the player is stopped; a frame that is not taken in time is dropped.
    // -> "Self"
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    // -> "Frame"
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.next_frame(py, None)
    }

    /// The connection state: `connecting` until the first connection, `disconnected` while reconnecting, `failed` once
    /// the player has given up, `closed` once it was stopped.
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

    /// Returns statistics of the connection; None while disconnected.
    #[pyo3(signature = () -> "PeerStats | None")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        log::deliver(py);
        results::serialized(py, &py.detach(|| self.connection.client().stats()))
    }

    /// Ends the session on the server and the connection. Waits a few seconds at most. Has no effect on a stopped
    /// player.
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
        self.connection.repr("Player")
    }
}

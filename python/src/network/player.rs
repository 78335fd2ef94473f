//! `Player`: frames from a WHEP server, for Python.

use std::sync::{Arc, Mutex};

use dreamframe::frame::{Frame, FrameCopier};
use dreamframe::transport::{FrameSink, LatestFrame};
use dreamframe::{Error, ErrorKind, PixelFormat};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::client::{self, Connection, State};
use crate::errors::{OrRaise, exception};
use crate::picture::{self, Room};
use crate::session::Session;
use crate::told::lock;
use crate::worker::wait_up_to;
use crate::{facts, foreign, log, plain};

/// Plays from a WHEP server.
///
/// Made by `play`. Every method may be called from any thread. A connection that is lost is made anew; `state` says how
/// far it is.
///
/// >>> with play("https://host/whep/key") as player:
/// ...     for frame in player:
/// ...         show(frame)
#[pyclass(module = "dreamframe", frozen, weakref)]
pub(crate) struct Player {
    connection: Connection,
    output: PixelFormat,
    goal: Goal,
    /// Used by whoever takes a frame.
    copier: Mutex<FrameCopier>,
}

/// Where frames go.
enum Goal {
    /// To whoever asks.
    Newest(Arc<LatestFrame>),
    /// To a session, which goes on as long as the player is there.
    Session(#[expect(dead_code, reason = "a session that nobody holds ends")] Py<Session>),
}

/// Starts to play from the WHEP server at `url`, and returns at once: the connection is made beside the program.
///
/// `token` is told to that server and to no other. After `attempts` in a row that failed it gives up; None is never.
/// `ice_servers` are asked for ways through a NAT. `into` takes the frames, which then never reach Python; without it,
/// `output` says what they hold.
///
/// Raises:
///     InvalidArgumentError: the address is not of http or https, or an option is out of range.
#[pyfunction]
#[pyo3(signature = (
    url: "str",
    *,
    token: "str | None" = None,
    attempts: "int | None" = None,
    ice_servers: "Iterable[str | IceServer] | None" = None,
    into: "Session | None" = None,
    output: "typing.Literal['rgba', 'bgra', 'rgb']" = "rgba",
) -> "Player")]
pub(crate) fn play(
    py: Python<'_>,
    url: &str,
    token: Option<String>,
    attempts: Option<&Bound<'_, PyAny>>,
    ice_servers: Option<&Bound<'_, PyAny>>,
    into: Option<&Bound<'_, PyAny>>,
    output: &str,
) -> PyResult<Player> {
    log::refresh(py);
    foreign::check_home().or_raise(py)?;
    let output = picture::output(py, output)?;
    let options = client::options(token, attempts, ice_servers)?;
    let (goal, sink): (_, Arc<dyn FrameSink>) = match into {
        Some(session) => {
            let session = session_of(session)?;
            let handle = session.get().running().handle.clone();
            (Goal::Session(session.clone().unbind()), Arc::new(handle))
        }
        None => {
            let newest = Arc::new(LatestFrame::new());
            (Goal::Newest(newest.clone()), newest)
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
            Goal::Newest(newest) => Ok(newest),
            Goal::Session(_) => {
                let text = "the frames of this player go to a session; take the pictures there";
                Err(exception(py, &Error::new(ErrorKind::InvalidArgument, text)))
            }
        }
    }

    /// Copies a frame into an array.
    fn given(&self, py: Python<'_>, frame: &Frame) -> PyResult<Py<PyAny>> {
        let mut room = Room::for_frame(py, self.output, (frame.width(), frame.height()))?;
        py.detach(|| lock(&self.copier).copy(&frame.view(), &mut room.view()?)).or_raise(py)?;
        Ok(room.filled())
    }

    fn next_frame(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let newest = self.newest(py)?;
        let connection = &self.connection;
        let came = wait_up_to(py, timeout, |most| match newest.take_within(most) {
            // What came just before the end is given, too.
            None if connection.client().state().is_over() => Some(newest.take()),
            None => None,
            frame => Some(frame),
        })?;
        match came {
            Some(Some(frame)) => self.given(py, &frame).map(Some),
            Some(None) => connection.failure().map_or(Ok(None), |why| Err(why).or_raise(py)),
            None => Ok(None),
        }
    }
}

#[pymethods]
impl Player {
    /// Takes the newest frame, if there is one that nobody has taken.
    #[pyo3(signature = () -> "Frame | None")]
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        log::deliver(py);
        let frame = self.newest(py)?.take();
        frame.map(|frame| self.given(py, &frame)).transpose()
    }

    /// Waits for a frame that nobody has taken; None after `timeout` seconds, and once the player was stopped.
    ///
    /// Raises:
    ///     ClosedError: the player has given up; the text says why.
    #[pyo3(signature = (timeout: "float | None" = None) -> "Frame | None")]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        self.next_frame(py, timeout)
    }

    /// Returns frames as they come, until the player is stopped; those that nobody asks for in time are left out.
    // -> "Self"
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    // -> "Frame"
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.next_frame(py, None)
    }

    /// How far the connection is: `connecting` until the first is up, `disconnected` while one is lost and the next is
    /// made, `failed` once the player has given up, `closed` once it was stopped.
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

    /// Returns what the connection has carried, while there is one.
    #[pyo3(signature = () -> "PeerStats | None")]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        log::deliver(py);
        facts::serialized(py, &py.detach(|| self.connection.client().stats()))
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
        self.connection.repr("Player")
    }
}

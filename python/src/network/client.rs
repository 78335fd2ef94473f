//! Common parts of publishers and players: connection state, waiting, shutdown.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use dreamframe::transport::peer::{IceTransportPolicy, PeerState};
use dreamframe::transport::{Client, ClientOptions};
use dreamframe::{Error, ErrorKind};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::peer;
use crate::errors::{OrRaise, exception};
use crate::options::positive;
use crate::worker::{end, end_later, wait_up_to};
use crate::{interpreter, log, results};

/// Reads the options of a client.
pub(crate) fn options(
    token: Option<String>,
    attempts: Option<&Bound<'_, PyAny>>,
    ice_servers: Option<&Bound<'_, PyAny>>,
    relayed_only: bool,
) -> PyResult<ClientOptions> {
    let attempts = attempts.map(|attempts| positive("attempts", attempts)).transpose()?;
    let policy = if relayed_only { IceTransportPolicy::Relay } else { IceTransportPolicy::All };
    let peer = peer::options(ice_servers, None, None)?.with_ice_transport_policy(policy);
    Ok(ClientOptions::default().with_token(token).with_attempts(attempts).with_peer(peer))
}

/// A publisher or a player; stops it when dropped.
pub(crate) struct Connection {
    client: Arc<Client>,
    /// The name of the class, for `repr`.
    what: &'static str,
}

impl Connection {
    /// Wraps a client that was started.
    pub(crate) fn new(what: &'static str, client: Client) -> Self {
        Self { client: Arc::new(client), what }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the name of the connection state.
    pub(crate) fn state(&self) -> &'static str {
        self.client.state().name()
    }

    /// Waits until the connection is in a state.
    ///
    /// # Errors
    ///
    /// `TimeoutError`; `ClosedError` if it ends in another state.
    pub(crate) fn wait(&self, py: Python<'_>, State(state): State, timeout: Option<f64>) -> PyResult<()> {
        let client = &self.client;
        let reached = wait_up_to(py, timeout, |most| match client.wait_for(state, most) {
            Err(error) if error.kind() == ErrorKind::Timeout => None,
            ended => Some(ended),
        })?;
        reached.unwrap_or_else(|| client.wait_for(state, Duration::ZERO)).or_raise(py)
    }

    /// Returns the error of a client that has given up.
    pub(crate) fn failure(&self) -> Option<Error> {
        (self.client.state() == PeerState::Failed).then(|| {
            let error = Error::new(ErrorKind::Closed, format!("the {} has given up", self.what));
            match self.client.trouble() {
                Some(trouble) => error.with_source(trouble),
                None => error,
            }
        })
    }

    /// Returns the error of a client that has given up or was stopped.
    pub(crate) fn over(&self) -> Option<Error> {
        let is_closed = self.client.state() == PeerState::Closed;
        let stopped = || Error::new(ErrorKind::Closed, format!("the {} was stopped", self.what));
        self.failure().or_else(|| is_closed.then(stopped))
    }

    /// Returns the most recent error, if any.
    pub(crate) fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        log::deliver(py);
        Some(exception(py, &*self.client.trouble()?).into_value(py).into_any())
    }

    /// Stops the client, and waits until it has stopped.
    pub(crate) fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let client = self.client.clone();
        end(py, move || client.stop())
    }

    /// Returns the text of `repr`.
    pub(crate) fn repr(&self, class: &str) -> String {
        format!("<{class} {}>", self.state())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let client = self.client.clone();
        if interpreter::is_forked() {
            // In a forked process there is no thread to wait for.
            mem::forget(client);
            return;
        }
        // Does not wait for the server's response. If no thread can be started for that, dropping the last clone waits.
        let _ = end_later(move || client.stop());
    }
}

/// A connection state given by its Python name.
pub(crate) struct State(PeerState);

impl Default for State {
    fn default() -> Self {
        Self(PeerState::Connected)
    }
}

impl<'py> FromPyObject<'_, 'py> for State {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        use PeerState::{Closed, Connected, Connecting, Disconnected, Failed};

        let Ok(name) = object.extract::<String>() else {
            let text = format!("state: got {:?}, expected text; to set seconds: wait(timeout=10)", &*object);
            return Err(PyTypeError::new_err(text));
        };
        let states = [Connecting, Connected, Disconnected, Failed, Closed].map(|state| (state.name(), state));
        results::named(object.py(), "state", &name, states).map(Self)
    }
}

//! The object of a server's handle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dreamframe::transport::{Egress, Server, serve_session};
use dreamframe::{Error, ErrorKind, Result};

use super::options::serve_options;
use crate::engine_cell::EngineCell;
use crate::session::SessionCell;
use crate::transport::server::dreamframe_server_options_t;

/// Timeout for ending a session when starting the server fails.
const END: Duration = Duration::from_secs(10);

/// The object of a server's handle.
pub(crate) struct ServerCell {
    /// `None` once it was stopped.
    server: Mutex<Option<Server<()>>>,
    session: Arc<SessionCell>,
    whip_url: String,
    whep_url: String,
    port: u16,
}

impl ServerCell {
    /// # Safety
    ///
    /// Texts and structs are valid as documented in the header.
    pub(crate) unsafe fn start(engine: Arc<EngineCell>, options: &dreamframe_server_options_t) -> Result<Self> {
        // SAFETY: the caller's guarantee.
        let options = unsafe { serve_options(options) }?;
        let egress = Egress::new(options.egress);
        let viewers = egress.clone();
        let session = SessionCell::serve(engine, move |picture| viewers.show(picture))?;
        let served = session.within(|handle| serve_session(handle.clone(), egress, &options));
        let server = match served {
            Ok(server) => server,
            Err(error) => {
                // The engine is returned: only the server failed.
                let _ = session.end_within(END);
                return Err(error);
            }
        };
        let (whip_url, whep_url, port) = (server.whip_url(), server.whep_url(), server.addr().port());
        Ok(Self { server: Mutex::new(Some(server)), session: Arc::new(session), whip_url, whep_url, port })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Server<()>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<R>(&self, at: impl FnOnce(&Server<()>) -> R) -> Result<R> {
        self.lock().as_ref().map(at).ok_or_else(stopped)
    }

    pub(crate) fn whip_url(&self) -> &str {
        &self.whip_url
    }

    pub(crate) fn whep_url(&self) -> &str {
        &self.whep_url
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn session(&self) -> Arc<SessionCell> {
        self.session.clone()
    }

    pub(crate) fn viewers(&self) -> Result<usize> {
        self.look(|server| server.whep().viewers())
    }

    pub(crate) fn is_publishing(&self) -> Result<bool> {
        self.look(|server| server.whip().publisher().is_some())
    }

    pub(crate) fn stop(&self, timeout: Duration) -> Result<()> {
        let server = self.lock().take().ok_or_else(stopped)?;
        server.stop();
        self.session.end_within(timeout)
    }

    pub(crate) fn free(&self) {
        let server = self.lock().take();
        if let Some(server) = server {
            server.stop();
            self.session.abandon();
        }
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the server is already stopped")
}

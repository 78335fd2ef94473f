//! The object of an engine's handle: the engine, or a marker while a session has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use dreamframe::{Engine, Error, ErrorKind, Result};

use crate::options::Hooks;

/// The object of an engine's handle.
pub(crate) struct EngineCell {
    slot: Mutex<Slot>,
    pub(crate) hooks: Hooks,
    freed: AtomicBool,
}

/// Where the engine is.
enum Slot {
    Ready(Box<Engine>),
    /// In a session.
    Session,
    /// Lost: a session ended without returning it.
    Lost,
}

impl EngineCell {
    /// Creates a cell with `engine` and the host's callbacks.
    pub(crate) fn new(engine: Engine, hooks: Hooks) -> Self {
        Self { slot: Mutex::new(Slot::Ready(Box::new(engine))), hooks, freed: AtomicBool::new(false) }
    }

    /// # Errors
    ///
    /// `InvalidArgument` while another call has locked it, `Internal` after a call has panicked.
    fn lock(&self) -> Result<MutexGuard<'_, Slot>> {
        match self.slot.try_lock() {
            Ok(slot) => Ok(slot),
            Err(TryLockError::WouldBlock) => Err(invalid_argument("the engine is in use by a call on another thread")),
            Err(TryLockError::Poisoned(_)) => {
                Err(Error::new(ErrorKind::Internal, "the engine panicked in an earlier call; free it"))
            }
        }
    }

    /// Runs `body` with the engine and the host's log.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` while another call or a session has it, `Closed` if it is lost, errors of `body`.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut Engine) -> Result<R>) -> Result<R> {
        let mut slot = self.lock()?;
        match &mut *slot {
            Slot::Ready(engine) => self.hooks.within(|| body(engine)),
            Slot::Session => Err(invalid_argument("the engine is in a session; stop the session first")),
            Slot::Lost => Err(Error::new(ErrorKind::Closed, "the engine was lost with its session; free it")),
        }
    }

    /// Moves the engine into a session that `start` creates; if that fails, it is lost.
    ///
    /// # Errors
    ///
    /// Those of `with` and `start`.
    pub(crate) fn lend<R>(&self, start: impl FnOnce(Engine) -> Result<R>) -> Result<R> {
        self.with(|_| Ok(()))?;
        let mut slot = self.lock()?;
        let Slot::Ready(engine) = std::mem::replace(&mut *slot, Slot::Lost) else {
            return Err(invalid_argument("the engine is in a session; stop the session first"));
        };
        let started = self.hooks.within(|| start(*engine))?;
        *slot = Slot::Session;
        Ok(started)
    }

    /// Ends the session; the engine is available again if the session returned it.
    pub(crate) fn end_session(&self, engine: Option<Engine>) {
        if let Ok(mut slot) = self.slot.lock() {
            *slot = engine.map_or(Slot::Lost, |engine| Slot::Ready(Box::new(engine)));
        }
        if self.freed.load(Ordering::Acquire) {
            self.hooks.close();
        }
    }

    /// Runs after the host has freed the handle.
    pub(crate) fn free(&self) {
        self.freed.store(true, Ordering::Release);
        let in_session = self.slot.try_lock().is_ok_and(|slot| matches!(*slot, Slot::Session));
        if !in_session {
            self.hooks.close();
        }
    }
}

fn invalid_argument(text: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

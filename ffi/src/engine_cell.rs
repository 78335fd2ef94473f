//! What stands behind an engine's handle: the engine, or a session that has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use dreamframe::{Engine, Error, ErrorKind, Result};

use crate::options::Hooks;

/// What stands behind an engine's handle.
pub(crate) struct EngineCell {
    slot: Mutex<Slot>,
    pub(crate) hooks: Hooks,
    freed: AtomicBool,
}

/// Where the engine is.
enum Slot {
    Ready(Box<Engine>),
    /// A session has it.
    Session,
    /// A session ended without giving it back.
    Gone,
}

impl EngineCell {
    /// A cell with `engine`, and the functions that the host gave for it.
    pub(crate) fn new(engine: Engine, hooks: Hooks) -> Self {
        Self { slot: Mutex::new(Slot::Ready(Box::new(engine))), hooks, freed: AtomicBool::new(false) }
    }

    /// # Errors
    ///
    /// `InvalidArgument` while another call has it, `Internal` once a call has panicked.
    fn lock(&self) -> Result<MutexGuard<'_, Slot>> {
        match self.slot.try_lock() {
            Ok(slot) => Ok(slot),
            Err(TryLockError::WouldBlock) => Err(wrong("the engine is in use by a call on another thread")),
            Err(TryLockError::Poisoned(_)) => {
                Err(Error::new(ErrorKind::Internal, "the engine panicked in an earlier call; free it"))
            }
        }
    }

    /// Runs `body` with the engine and the host's log.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` while another call or a session has it, `Closed` where it is gone, those of `body`.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut Engine) -> Result<R>) -> Result<R> {
        let mut slot = self.lock()?;
        match &mut *slot {
            Slot::Ready(engine) => self.hooks.within(|| body(engine)),
            Slot::Session => Err(wrong("the engine is in a session; stop the session first")),
            Slot::Gone => Err(Error::new(ErrorKind::Closed, "the engine was lost with its session; free it")),
        }
    }

    /// Takes the engine for a session that `start` makes; on an error of that it is gone.
    ///
    /// # Errors
    ///
    /// Those of `with` and `start`.
    pub(crate) fn lend<R>(&self, start: impl FnOnce(Engine) -> Result<R>) -> Result<R> {
        self.with(|_| Ok(()))?;
        let mut slot = self.lock()?;
        let Slot::Ready(engine) = std::mem::replace(&mut *slot, Slot::Gone) else {
            return Err(wrong("the engine is in a session; stop the session first"));
        };
        let started = self.hooks.within(|| start(*engine))?;
        *slot = Slot::Session;
        Ok(started)
    }

    /// Ends the session: with the engine, where it gave it back.
    pub(crate) fn end_session(&self, engine: Option<Engine>) {
        if let Ok(mut slot) = self.slot.lock() {
            *slot = engine.map_or(Slot::Gone, |engine| Slot::Ready(Box::new(engine)));
        }
        if self.freed.load(Ordering::Acquire) {
            self.hooks.close();
        }
    }

    /// What is left once the host holds no handle.
    pub(crate) fn free(&self) {
        self.freed.store(true, Ordering::Release);
        let in_session = self.slot.try_lock().is_ok_and(|slot| matches!(*slot, Slot::Session));
        if !in_session {
            self.hooks.close();
        }
    }
}

fn wrong(text: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

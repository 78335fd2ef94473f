//! Sessions: engines on their own threads, with frames and pictures passed without waiting.

#[cfg(feature = "transport")]
mod served;

use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dreamframe::frame::FrameCopier;
use dreamframe::{
    Engine, Error, ErrorKind, FailedFrame, Picture, PictureInfo, Result, Session, SessionHandle, SessionOptions,
};

use crate::callback::{self, Gate, UserData};
use crate::engine::dreamframe_engine_t;
use crate::engine_cell::EngineCell;
use crate::frame::dreamframe_frame_t;
use crate::guard::guard;
use crate::handle::{self, Handle};
use crate::picture::dreamframe_picture_info_t;
use crate::pointer::{self, Out, Versioned};
use crate::status::dreamframe_status_t;

/// A session. Its functions are thread-safe unless documented otherwise.
#[derive(Debug)]
pub struct dreamframe_session_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_session_t {
    type Object = SessionCell;
    const NAME: &'static str = "session";
}

/// What a session outputs for a frame that failed, in addition to the event.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_failed_frame_t {
    /// The last picture is repeated, so that there is a picture for each frame.
    DREAMFRAME_FAILED_FRAME_REPEAT = 1,
    /// No picture.
    DREAMFRAME_FAILED_FRAME_SKIP = 2,
}

/// Receives a picture as soon as it is ready.
///
/// - Threads: called on the session's thread, one picture at a time. It must return quickly, since the next frame waits
///   for it,
///   and must not call `dreamframe_session_stop()`; other functions of the session are allowed.
/// - Ownership: picture and info are valid during the call, and must not be written.
///
/// @param user_data  that of the session's options
/// @param picture    the pixels; NULL if another thread has already polled them
/// @param info       how the picture was made
pub type dreamframe_picture_callback_t = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        picture: *const dreamframe_frame_t,
        info: *const dreamframe_picture_info_t,
    ),
>;

/// Options of a session. Initialize with `DREAMFRAME_SESSION_OPTIONS_INIT`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_session_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Receives pictures as soon as they are ready; NULL for a host that polls.
    pub on_picture: dreamframe_picture_callback_t,
    /// Passed to `on_picture`.
    pub user_data: *mut c_void,
    /// A `dreamframe_failed_frame_t`; 0 to repeat.
    pub failed_frame: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: no function, NULL, integers.
unsafe impl Versioned for dreamframe_session_options_t {
    const NAME: &'static str = "session_options";
    const LEAST: usize = offset_of!(Self, reserved) + size_of::<u32>();
}

/// The object of a session's handle.
pub(crate) struct SessionCell {
    engine: Arc<EngineCell>,
    /// `None` once it was stopped.
    session: Mutex<Option<Session>>,
    pub(crate) handle: SessionHandle,
    pub(crate) shared: Arc<Shared>,
    pub(crate) copier: Mutex<FrameCopier>,
}

/// State shared between the session's thread and the host's threads.
pub(crate) struct Shared {
    /// A picture whose size was returned, but which was not taken.
    kept: Mutex<Option<Picture>>,
    /// The size of the last such picture: `width << 32 | height`.
    size: AtomicU64,
    pub(crate) on_picture: Option<Arc<Gate>>,
    /// Whether it belongs to a server. The server then ends it, and stores its pictures in `kept` after sending them to
    /// viewers.
    served: bool,
}

impl Shared {
    fn new(size: (u32, u32), on_picture: Option<Arc<Gate>>) -> Self {
        let size = AtomicU64::new(u64::from(size.0) << 32 | u64::from(size.1));
        Self { kept: Mutex::new(None), size, on_picture, served: false }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Picture>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the newest picture that was not taken.
    pub(crate) fn take(&self, handle: &SessionHandle) -> Option<Picture> {
        let mut kept = self.kept();
        let new = if self.served { None } else { handle.poll() };
        let picture = new.or_else(|| kept.take())?;
        // An older one is not shown any more.
        *kept = None;
        drop(kept);
        self.note_size(&picture);
        Some(picture)
    }

    /// Stores the size of a picture.
    pub(crate) fn note_size(&self, picture: &Picture) {
        let (width, height) = (picture.frame.width(), picture.frame.height());
        self.size.store(u64::from(width) << 32 | u64::from(height), Ordering::Release);
    }

    /// Puts back a picture that could not be copied, unless there is a newer one.
    pub(crate) fn put_back(&self, picture: Picture) {
        self.kept().get_or_insert(picture);
    }

    /// Returns the size of the next picture, as far as it is known.
    pub(crate) fn size(&self, handle: &SessionHandle) -> (u32, u32) {
        if let Some(picture) = self.take(handle) {
            self.put_back(picture);
        }
        let size = self.size.load(Ordering::Acquire);
        ((size >> 32) as u32, size as u32)
    }
}

impl SessionCell {
    /// Runs `body` with the host's log.
    pub(crate) fn within<R>(&self, body: impl FnOnce(&SessionHandle) -> R) -> R {
        self.engine.hooks.within(|| body(&self.handle))
    }

    fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn stop(&self, timeout: Duration) -> Result<()> {
        if self.shared.on_picture.as_ref().is_some_and(|gate| gate.is_inside()) {
            let text = "a session cannot be stopped from its own callback";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        if self.shared.served {
            return Err(Error::new(ErrorKind::InvalidArgument, "the session belongs to a server; stop the server"));
        }
        self.end_within(timeout)
    }

    /// Ends the session and returns the engine.
    ///
    /// # Errors
    ///
    /// `Closed` if it was already ended, and errors of ending a session.
    pub(crate) fn end_within(&self, timeout: Duration) -> Result<()> {
        let stopped = || Error::new(ErrorKind::Closed, "the session is already stopped");
        let session = self.session().ok_or_else(stopped)?;
        let ended = self.engine.hooks.within(|| session.stop(timeout));
        self.end(ended)
    }

    fn end(&self, ended: Result<Engine>) -> Result<()> {
        match &ended {
            // The timeout may be caused by `on_picture` itself.
            Err(error) if error.kind() == ErrorKind::Timeout => self.close_without_waiting(),
            Ok(_) | Err(_) => self.close(),
        }
        let (engine, result) = match ended {
            Ok(engine) => (Some(engine), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.engine.end_session(engine);
        result
    }

    fn close_without_waiting(&self) {
        if let Some(gate) = &self.shared.on_picture {
            gate.close_without_waiting();
        }
    }

    fn close(&self) {
        if let Some(gate) = &self.shared.on_picture {
            gate.close();
        }
    }

    fn free(&self) {
        if !self.shared.served {
            self.abandon();
        }
    }

    /// Drops the session and waits for its threads. If this thread is inside a callback, one of them may be inside
    /// another that waits for this one: then it waits no longer than [`NESTED_WAIT`](callback::NESTED_WAIT).
    fn drop_session(&self, session: Session) {
        if !callback::is_inside_any() || session.is_on_own_thread() {
            self.engine.hooks.within(|| drop(session));
            return;
        }
        let engine = self.engine.clone();
        let (done, ended) = sync_channel(1);
        let work = move || {
            engine.hooks.within(|| drop(session));
            // The waiting thread may have timed out.
            let _ = done.send(());
        };
        // If no thread can be started, the session is dropped on this one.
        if thread::Builder::new().name("dreamframe-free".into()).spawn(work).is_ok() {
            let _ = ended.recv_timeout(callback::NESTED_WAIT);
        }
    }

    /// Ends it together with its engine, if it is running.
    pub(crate) fn abandon(&self) {
        match self.session() {
            Some(session) => {
                self.drop_session(session);
                // The host is not interested in the result.
                let _ = self.end(Err(Error::new(ErrorKind::Closed, "the session was freed")));
            }
            None => self.close(),
        }
    }
}

impl dreamframe_session_options_t {
    fn options(&self, on_picture: Option<OnPicture>) -> Result<SessionOptions> {
        let mut options = SessionOptions::default();
        options.failed_frame = match self.failed_frame {
            0 | 1 => FailedFrame::Repeat,
            2 => FailedFrame::Skip,
            other => {
                let text = format!("failed_frame: got {other}, expected 0 to 2");
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
        };
        if let Some(on_picture) = on_picture {
            options.on_picture = Some(Box::new(move |handle, info| on_picture.call(handle, info)));
        }
        Ok(options)
    }
}

/// The host's callback for pictures.
struct OnPicture {
    callback: unsafe extern "C" fn(*mut c_void, *const dreamframe_frame_t, *const dreamframe_picture_info_t),
    user_data: UserData,
    gate: Arc<Gate>,
    shared: Arc<Shared>,
}

impl OnPicture {
    fn call(&self, handle: &SessionHandle, info: &PictureInfo) {
        let picture = self.shared.take(handle);
        let frame = picture.as_ref().map(|picture| dreamframe_frame_t::describe(&picture.frame.view()));
        let info = picture.as_ref().map_or(*info, Picture::info);
        let size = frame.map_or((0, 0), |frame| (frame.width, frame.height));
        let info = dreamframe_picture_info_t::new(&info, size);
        let frame = frame.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the host's callback, with structs that outlive the call.
        self.gate.call(|| unsafe { (self.callback)(self.user_data.0, frame, &raw const info) });
        if let Some(picture) = picture {
            self.shared.put_back(picture);
        }
    }
}

/// Starts a session: moves the engine to its own thread, until `dreamframe_session_stop()` returns it.
///
/// - Threads: one call at a time per object.
/// - Ownership: the host still owns the engine, which is in the session until that is stopped. The host owns the
///   session, and
///   frees it with `dreamframe_session_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an engine that is in use or in a session;
///   `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread; the engine is then freed.
///
/// @param[in]  engine       from `dreamframe_engine_create()`
/// @param[in]  options      initialized with `DREAMFRAME_SESSION_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_session  the new session
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_start(
    engine: *mut dreamframe_engine_t,
    options: *const dreamframe_session_options_t,
    out_session: *mut *mut dreamframe_session_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_session, "out_session") }?;
        let options = if options.is_null() {
            let (user_data, on_picture) = (std::ptr::null_mut(), None);
            dreamframe_session_options_t { struct_size: 0, on_picture, user_data, failed_frame: 0, reserved: 0 }
        } else {
            // SAFETY: likewise.
            unsafe { pointer::read(options) }?
        };
        let cell = handle::get(engine.cast_const())?;
        let size = cell.with(|engine| Ok(engine.size()))?;
        let shared = Arc::new(Shared::new(size, options.on_picture.map(|_| Arc::default())));
        let on_picture = options.on_picture.zip(shared.on_picture.clone()).map(|(callback, gate)| {
            let (user_data, shared) = (UserData(options.user_data), shared.clone());
            OnPicture { callback, user_data, gate, shared }
        });
        let core_options = options.options(on_picture)?;
        let session = cell.lend(|engine| engine.start(core_options))?;
        let (handle, copier) = (session.handle(), Mutex::default());
        out.set(handle::insert(
            SessionCell { engine: cell, session: Mutex::new(Some(session)), handle, shared, copier }.into(),
        ));
        Ok(())
    })
}

/// Stops a session and returns the engine. A waiting frame is still processed, and prepared updates are
/// applied. When the call returns, `on_picture` is not called again; pictures that were not taken can still be polled.
///
/// - Threads: any thread except the session's own: never from `on_picture`.
/// - Ownership: the session must still be freed. The engine can be used again.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, from `on_picture`, and for the session of a server;
///   `DREAMFRAME_ERROR_CLOSED` for a session that was stopped; `DREAMFRAME_ERROR_TIMEOUT` if frames or `on_picture`
///   take
///   longer: the session then ends in the background, with its engine, and `on_picture` is not called again;
///   `DREAMFRAME_ERROR_INTERNAL` if the engine panicked.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[in]  timeout_ms  timeout in milliseconds
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_stop(
    session: *mut dreamframe_session_t,
    timeout_ms: u64,
) -> dreamframe_status_t {
    guard(|| handle::get(session.cast_const())?.stop(Duration::from_millis(timeout_ms)))
}

/// Frees a session. NULL or a handle that was freed has no effect. A running session ends after its current frame, and
/// its engine is freed with it; a model that is being loaded is not waited for. The session of a server continues.
///
/// - Threads: any thread. If another call is using the session, that call completes. Inside a callback of any object,
///   this
///   waits at most 5 seconds for the session's own callbacks, so that two threads that free each other's objects in
///   callbacks
///   do not deadlock.
/// - Ownership: the handle is invalid afterwards. When the call returns, `on_picture` is not running, unless it is the
///   caller,
///   or the wait for it timed out inside another callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_free(session: *mut dreamframe_session_t) {
    guard(|| {
        if let Some(cell) = handle::remove(session)? {
            cell.free();
        }
        Ok(())
    });
}

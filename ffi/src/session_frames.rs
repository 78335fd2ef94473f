//! Frames into a session, pictures out of it.

use std::time::Duration;

use dreamframe::{Error, ErrorKind, Picture, Result};

use crate::frame::{copy_out, dreamframe_frame_t};
use crate::guard::{Done, guard, guard_ready};
use crate::handle;
use crate::picture::dreamframe_picture_info_t;
use crate::pointer::{self, Out, OutStruct};
use crate::session::{SessionCell, dreamframe_session_t};
use crate::status::dreamframe_status_t;

impl SessionCell {
    /// Copies a picture into the host's memory; where that cannot be, the picture waits for the next time.
    ///
    /// # Safety
    ///
    /// `room` is the host's, as the header says.
    unsafe fn give(
        &self,
        picture: Picture,
        room: &dreamframe_frame_t,
        out: Option<OutStruct<dreamframe_picture_info_t>>,
    ) -> Result<Done> {
        self.shared.note_size(&picture);
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { copy_out(&self.copier, &picture.frame.view(), room) } {
            self.shared.put_back(picture);
            return Err(error);
        }
        if let Some(out) = out {
            let size = (picture.frame.width(), picture.frame.height());
            out.set(&dreamframe_picture_info_t::new(&picture.info(), size));
        }
        Ok(Done::Yes)
    }

    /// Returns the information of no picture.
    fn nothing(&self) -> Result<Done> {
        if self.handle.is_running() {
            return Ok(Done::NotReady);
        }
        Err(Error::new(ErrorKind::Closed, "the session has ended and has no further picture"))
    }
}

/// Hands a frame to the session. Returns at once: a frame that still waits is replaced.
///
/// - Threads: any thread, also while other calls on this session run.
/// - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `frame`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for what
///   cannot be; `DREAMFRAME_ERROR_CLOSED` once the session has ended; `DREAMFRAME_ERROR_OUT_OF_MEMORY`.
///
/// @param[in]  session  from `dreamframe_session_start()`
/// @param[in]  frame    the frame, of any size and format
/// @param[out] out_id   the number by which a picture will name this frame as its source; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_submit(
    session: *mut dreamframe_session_t,
    frame: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let (frame, out) = unsafe { (pointer::read(frame)?, Out::optional(out_id, "out_id")?) };
        let cell = handle::get(session.cast_const())?;
        // SAFETY: likewise.
        let view = unsafe { frame.view() }?;
        let id = cell.handle.submit(&view)?;
        if let Some(out) = out {
            out.set(id.0);
        }
        Ok(())
    })
}

/// Copies the newest picture into the host's memory, unless it was taken already. Never waits.
///
/// Returns `DREAMFRAME_NOT_READY` where there is none yet. A picture that does not fit into `room` stays: ask
/// `dreamframe_session_size()`, and poll again.
///
/// - Threads: any thread, also while other calls on this session run; each picture goes to one of them.
/// - Ownership: the library keeps no pointer to `room`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for room
///   that cannot be or has another size; `DREAMFRAME_ERROR_CLOSED` once the session has ended and all pictures are taken.
///
/// @param[in]  session   from `dreamframe_session_start()`
/// @param[in]  room      where the picture goes, in any format
/// @param[out] out_info  how the picture was made; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_poll(
    session: *mut dreamframe_session_t,
    room: *const dreamframe_frame_t,
    out_info: *mut dreamframe_picture_info_t,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: the host's promise, as the header says.
        let (room, out) = unsafe { (pointer::read(room)?, OutStruct::optional(out_info)?) };
        let cell = handle::get(session.cast_const())?;
        // SAFETY: likewise.
        unsafe { room.view_mut(None) }?;
        match cell.shared.take(&cell.handle) {
            // SAFETY: likewise.
            Some(picture) => unsafe { cell.give(picture, &room, out) },
            None => cell.nothing(),
        }
    })
}

/// As `dreamframe_session_poll()`, but waits for a picture. For sessions without `on_picture`.
///
/// Returns `DREAMFRAME_NOT_READY` where none came in time.
///
/// - Threads: any thread, also while other calls on this session run; each picture goes to one of them.
/// - Ownership: the library keeps no pointer to `room`.
/// - Errors: those of `dreamframe_session_poll()`; `DREAMFRAME_ERROR_INVALID_ARGUMENT` also for a session with `on_picture`.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[in]  timeout_ms  how long to wait at most, in milliseconds
/// @param[in]  room        where the picture goes, in any format
/// @param[out] out_info    how the picture was made; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_wait(
    session: *mut dreamframe_session_t,
    timeout_ms: u64,
    room: *const dreamframe_frame_t,
    out_info: *mut dreamframe_picture_info_t,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: the host's promise, as the header says.
        let (room, out) = unsafe { (pointer::read(room)?, OutStruct::optional(out_info)?) };
        let cell = handle::get(session.cast_const())?;
        if cell.shared.on_picture.is_some() {
            let text = "a session with on_picture does not support waiting; use dreamframe_session_poll";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        // SAFETY: likewise.
        unsafe { room.view_mut(None) }?;
        let picture = match cell.shared.take(&cell.handle) {
            None => cell.handle.wait(Duration::from_millis(timeout_ms)),
            picture => picture,
        };
        match picture {
            // SAFETY: likewise.
            Some(picture) => unsafe { cell.give(picture, &room, out) },
            None => cell.nothing(),
        }
    })
}

/// Returns the size of the picture that the next poll takes, in pixels; if none waits, that of the last one, and of the
/// engine's pictures before the first.
///
/// - Threads: any thread, also while other calls on this session run.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[out] out_width   pixels in a row
/// @param[out] out_height  rows
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_size(
    session: *mut dreamframe_session_t,
    out_width: *mut u32,
    out_height: *mut u32,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let (width, height) =
            unsafe { (Out::required(out_width, "out_width")?, Out::required(out_height, "out_height")?) };
        let cell = handle::get(session.cast_const())?;
        let size = cell.shared.size(&cell.handle);
        width.set(size.0);
        height.set(size.1);
        Ok(())
    })
}

/// Returns whether the session accepts frames.
///
/// - Threads: any thread, also while other calls on this session run.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[out] out_running  false once it was stopped or has ended by itself
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_is_running(
    session: *mut dreamframe_session_t,
    out_running: *mut bool,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let out = unsafe { Out::required(out_running, "out_running") }?;
        out.set(handle::get(session.cast_const())?.handle.is_running());
        Ok(())
    })
}

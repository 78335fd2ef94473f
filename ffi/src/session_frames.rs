//! Submitting frames to a session, and taking pictures from it.

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
    /// Copies a picture into the host's memory; on failure, the picture is kept for the next call.
    ///
    /// # Safety
    ///
    /// `target` is valid as documented in the header.
    unsafe fn give(
        &self,
        picture: Picture,
        target: &dreamframe_frame_t,
        out: Option<OutStruct<dreamframe_picture_info_t>>,
    ) -> Result<Done> {
        self.shared.note_size(&picture);
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { copy_out(&self.copier, &picture.frame.view(), target) } {
            self.shared.put_back(picture);
            return Err(error);
        }
        if let Some(out) = out {
            let size = (picture.frame.width(), picture.frame.height());
            out.set(&dreamframe_picture_info_t::new(&picture.info(), size));
        }
        Ok(Done::Yes)
    }

    /// Returns metadata without a picture.
    fn no_picture(&self) -> Result<Done> {
        if self.handle.is_running() {
            return Ok(Done::NotReady);
        }
        Err(Error::new(ErrorKind::Closed, "the session has ended and has no further picture"))
    }
}

/// Submits a frame to the session, without waiting: a frame that is not yet processed is replaced.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `frame`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME`
///   for an
///   invalid frame; `DREAMFRAME_ERROR_CLOSED` once the session has ended; `DREAMFRAME_ERROR_OUT_OF_MEMORY`.
///
/// @param[in]  session  from `dreamframe_session_start()`
/// @param[in]  frame    the frame, of any size and format
/// @param[out] out_id   the id of the frame, which is the source id of its picture; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_submit(
    session: *mut dreamframe_session_t,
    frame: *const dreamframe_frame_t,
    out_id: *mut u64,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
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

/// Copies the newest picture into the host's memory, unless it was already taken. Does not wait.
///
/// Returns `DREAMFRAME_NOT_READY` if there is none yet. A picture of another size than `target` is kept: call
/// `dreamframe_session_size()`, and poll again.
///
/// - Threads: any thread, also concurrently; each picture is returned once.
/// - Ownership: the library keeps no pointer to `target`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME`
///   for an
///   invalid target or one of another size; `DREAMFRAME_ERROR_CLOSED` once the session has ended and all pictures are
///   taken.
///
/// @param[in]  session   from `dreamframe_session_start()`
/// @param[in]  target    receives the picture, in any format
/// @param[out] out_info  how the picture was made; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_poll(
    session: *mut dreamframe_session_t,
    target: *const dreamframe_frame_t,
    out_info: *mut dreamframe_picture_info_t,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (target, out) = unsafe { (pointer::read(target)?, OutStruct::optional(out_info)?) };
        let cell = handle::get(session.cast_const())?;
        // SAFETY: likewise.
        unsafe { target.view_mut(None) }?;
        match cell.shared.take(&cell.handle) {
            // SAFETY: likewise.
            Some(picture) => unsafe { cell.give(picture, &target, out) },
            None => cell.no_picture(),
        }
    })
}

/// Like `dreamframe_session_poll()`, but waits for a picture. For sessions without `on_picture`.
///
/// Returns `DREAMFRAME_NOT_READY` on a timeout.
///
/// - Threads: any thread, also concurrently; each picture is returned once.
/// - Ownership: the library keeps no pointer to `target`.
/// - Errors: those of `dreamframe_session_poll()`; `DREAMFRAME_ERROR_INVALID_ARGUMENT` also for a session with `on_picture`.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[in]  timeout_ms  timeout in milliseconds
/// @param[in]  target      receives the picture, in any format
/// @param[out] out_info    how the picture was made; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_wait(
    session: *mut dreamframe_session_t,
    timeout_ms: u64,
    target: *const dreamframe_frame_t,
    out_info: *mut dreamframe_picture_info_t,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (target, out) = unsafe { (pointer::read(target)?, OutStruct::optional(out_info)?) };
        let cell = handle::get(session.cast_const())?;
        if cell.shared.on_picture.is_some() {
            let text = "a session with on_picture does not support waiting; use dreamframe_session_poll";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        // SAFETY: likewise.
        unsafe { target.view_mut(None) }?;
        let picture = match cell.shared.take(&cell.handle) {
            None => cell.handle.wait(Duration::from_millis(timeout_ms)),
            picture => picture,
        };
        match picture {
            // SAFETY: likewise.
            Some(picture) => unsafe { cell.give(picture, &target, out) },
            None => cell.no_picture(),
        }
    })
}

/// Returns the size of the picture that the next poll returns, in pixels. If no picture waits, it is that of the last
/// one, or that of the engine before the first.
///
/// - Threads: any thread, also concurrently.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[out] out_width   width in pixels
/// @param[out] out_height  height in pixels
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_size(
    session: *mut dreamframe_session_t,
    out_width: *mut u32,
    out_height: *mut u32,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
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
/// - Threads: any thread, also concurrently.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[out] out_running  false once it was stopped or has ended
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_is_running(
    session: *mut dreamframe_session_t,
    out_running: *mut bool,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_running, "out_running") }?;
        out.set(handle::get(session.cast_const())?.handle.is_running());
        Ok(())
    })
}

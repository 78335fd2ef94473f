//! Images of the host besides frames: those of `external` processors, and style images.

use std::ffi::c_char;

use dreamframe::{Result, SessionHandle, style_pixels_uri};

use crate::engine::{self, dreamframe_engine_t};
use crate::frame::dreamframe_frame_t;
use crate::guard::guard;
use crate::handle;
use crate::pointer::{self, Out};
use crate::session::dreamframe_session_t;
use crate::status::dreamframe_status_t;
use crate::text;

fn within<R>(session: *mut dreamframe_session_t, body: impl FnOnce(&SessionHandle) -> Result<R>) -> Result<R> {
    handle::get(session.cast_const())?.within(body)
}

/// Sets the image of `external` processors, from the next frame on: the control image of one ControlNet, or that of all
/// ControlNets without their own, and the result of `external` in `image_preprocessing` and `image_postprocessing`.
///
/// The image is fitted to the size of the stream as frames are. It stays until it is replaced or cleared, whatever
/// ControlNets are added and removed. Without one, `external` returns its input, for a ControlNet the frame, and a notice
/// reports this.
///
/// - Threads: one call at a time per object.
/// - Ownership: the pixels are copied before the call returns; the texts are not kept.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an empty id, images of more than 64
///   ControlNets, and an engine that is in use or in a session; `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid image;
///   `DREAMFRAME_ERROR_OUT_OF_MEMORY`. The image that was set before stays.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[in]  controlnet  the `model_id` of a ControlNet; NULL for all
/// @param[in]  image       the image, of any size and format
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_set_external_image(
    engine: *mut dreamframe_engine_t,
    controlnet: *const c_char,
    image: *const dreamframe_frame_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (controlnet, image) = unsafe { (text::optional(controlnet, "controlnet")?, pointer::read(image)?) };
        engine::with(engine, |engine| {
            // SAFETY: likewise.
            engine.set_external_image(controlnet, &unsafe { image.view() }?)
        })
    })
}

/// Removes the image that `dreamframe_engine_set_external_image()` set, if there is one. A ControlNet uses the image for
/// all then.
///
/// - Threads: one call at a time per object.
/// - Ownership: the text is not kept.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[in]  controlnet  the `model_id` of a ControlNet; NULL for the image for all
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_clear_external_image(
    engine: *mut dreamframe_engine_t,
    controlnet: *const c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let controlnet = unsafe { text::optional(controlnet, "controlnet") }?;
        engine::with(engine, |engine| {
            engine.clear_external_image(controlnet);
            Ok(())
        })
    })
}

/// Like `dreamframe_engine_set_external_image()`, while the session runs. Waits for neither a frame nor a model; the newest
/// image counts.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the pixels are copied before the call returns; the text is not kept.
/// - Errors: those of the engine's function, and `DREAMFRAME_ERROR_CLOSED` once the session has ended.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[in]  controlnet  the `model_id` of a ControlNet; NULL for all
/// @param[in]  image       the image, of any size and format
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_set_external_image(
    session: *mut dreamframe_session_t,
    controlnet: *const c_char,
    image: *const dreamframe_frame_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (controlnet, image) = unsafe { (text::optional(controlnet, "controlnet")?, pointer::read(image)?) };
        // SAFETY: likewise.
        within(session, |handle| handle.set_external_image(controlnet, &unsafe { image.view() }?))
    })
}

/// Removes the image that `dreamframe_session_set_external_image()` set, if there is one.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the text is not kept.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` once the session has ended.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[in]  controlnet  the `model_id` of a ControlNet; NULL for the image for all
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_clear_external_image(
    session: *mut dreamframe_session_t,
    controlnet: *const c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let controlnet = unsafe { text::optional(controlnet, "controlnet") }?;
        within(session, |handle| handle.clear_external_image(controlnet))
    })
}

/// Sets the style image of the IP-Adapter before the next frame: the parameter `ip_adapter_style_image_url`, as
/// `dreamframe_style_pixels_uri()` gives it. The image is encoded before the call returns, if the adapter is enabled.
///
/// - Threads: one call at a time per object.
/// - Ownership: the pixels are not kept.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid image, and those of
///   `dreamframe_engine_update()`.
///
/// @param[in]  engine  from `dreamframe_engine_create()`
/// @param[in]  image   the image, of any size and format
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_set_style_image(
    engine: *mut dreamframe_engine_t,
    image: *const dreamframe_frame_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let image = unsafe { pointer::read(image) }?;
        engine::with(engine, |engine| {
            // SAFETY: likewise.
            engine.set_style_image(&unsafe { image.view() }?)?;
            Ok(())
        })
    })
}

/// Like `dreamframe_engine_set_style_image()`, while the session runs. The call takes some milliseconds; the image is
/// encoded on another thread. Of several images that wait, only the last one is.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the pixels are not kept.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid image, and those of
///   `dreamframe_session_update()`.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[in]  image        the image, of any size and format
/// @param[out] out_version  the version of the update, as of `dreamframe_session_update()`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_set_style_image(
    session: *mut dreamframe_session_t,
    image: *const dreamframe_frame_t,
    out_version: *mut u64,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (image, version) = unsafe { (pointer::read(image)?, Out::optional(out_version, "out_version")?) };
        // SAFETY: likewise.
        let ticket = within(session, |handle| handle.set_style_image(&unsafe { image.view() }?))?;
        if let Some(version) = version {
            version.set(ticket.version);
        }
        Ok(())
    })
}

/// Encodes pixels as a value of the parameter `ip_adapter_style_image_url`: the central square, scaled to 512x512 if it is
/// larger. Alpha is dropped.
///
/// - Threads: any thread.
/// - Ownership: the pixels are not kept; free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL and a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for an
///   invalid image; `DREAMFRAME_ERROR_OUT_OF_MEMORY`.
///
/// @param[in]  image     the image, of any size and format
/// @param[out] out_text  a data URI
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_style_pixels_uri(
    image: *const dreamframe_frame_t,
    out_text: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (image, out) = unsafe { (pointer::read(image)?, Out::required(out_text, "out_text")?) };
        // SAFETY: likewise.
        out.set(text::to_host(style_pixels_uri(&unsafe { image.view() }?)?));
        Ok(())
    })
}

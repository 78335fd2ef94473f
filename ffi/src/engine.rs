//! Engines: process frames on the calling thread.

use std::ffi::c_char;

use dreamframe::{Engine, Error, ErrorKind, ExecutorKind, ParamsPatch, Result, Update};
use serde_json::json;

use crate::engine_cell::EngineCell;
use crate::frame::dreamframe_frame_t;
use crate::guard::guard;
use crate::handle::{self, Handle};
use crate::options::dreamframe_options_t;
use crate::params::{cost_of, transition_of};
use crate::picture::dreamframe_picture_info_t;
use crate::pointer::{self, Out, OutStruct};
use crate::status::dreamframe_status_t;
use crate::text;

/// An engine: parameters, models and the state of one stream. Calls must be serialized; they may come from any thread.
#[derive(Debug)]
pub struct dreamframe_engine_t {
    _opaque: [u8; 0],
}

impl Handle for dreamframe_engine_t {
    type Object = EngineCell;
    const NAME: &'static str = "engine";
}

/// Runs `body` with the engine of a handle.
///
/// # Errors
///
/// `InvalidArgument` for an invalid handle, and an engine that is in use or in a session; errors of `body`.
pub(crate) fn with<R>(engine: *mut dreamframe_engine_t, body: impl FnOnce(&mut Engine) -> Result<R>) -> Result<R> {
    handle::get(engine.cast_const())?.with(body)
}

/// Checks that the memory for a picture has the picture's size.
///
/// # Errors
///
/// `InvalidFrame` with both sizes.
pub(crate) fn check_size(got: (u32, u32), size: (u32, u32)) -> Result<()> {
    if got == size {
        return Ok(());
    }
    let text = format!("memory for the picture: got {}x{}, expected {}x{}", got.0, got.1, size.0, size.1);
    Err(Error::new(ErrorKind::InvalidFrame, text))
}

/// Creates an engine: loads the models and prepares the first frame. Slow; `progress` may cancel it.
///
/// - Threads: any thread.
/// - Ownership: of `options`, only the callbacks and their `user_data` are kept. The host owns the engine, and frees it
///   with `dreamframe_engine_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size` or an invalid option;
///   `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation; `DREAMFRAME_ERROR_NOT_FOUND`, `_BAD_MODEL`, `_UNSUPPORTED`,
///   `_OUT_OF_MEMORY`, `_IO`, `_CANCELLED`.
///
/// @param[in]  options     begun with `DREAMFRAME_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_engine  the new engine
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_create(
    options: *const dreamframe_options_t,
    out_engine: *mut *mut dreamframe_engine_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_engine, "out_engine") }?;
        // SAFETY: likewise.
        let options = if options.is_null() { dreamframe_options_t::none() } else { unsafe { pointer::read(options) }? };
        // SAFETY: likewise.
        let (engine, hooks) = unsafe { options.build() }?;
        out.set(handle::insert(EngineCell::new(engine, hooks).into()));
        Ok(())
    })
}

/// Frees an engine. NULL or a handle that was freed has no effect. A session that was started from it keeps running
/// until the session is freed.
///
/// - Threads: any thread. If another call is using the engine, that call completes first. Inside a callback of any
///   object, this
///   waits at most 5 seconds for the engine's own callbacks.
/// - Ownership: the handle is invalid afterwards. When the call returns, the engine's callbacks are not called again,
///   except
///   those of its session and one for which that wait timed out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_free(engine: *mut dreamframe_engine_t) {
    guard(|| {
        if let Some(cell) = handle::remove(engine)? {
            cell.free();
        }
        Ok(())
    });
}

/// Processes one frame and writes the picture of the frame `delay` calls ago into the host's memory.
///
/// - Threads: one call at a time per object.
/// - Ownership: the host owns both frames; the library keeps no pointer into them. They must not overlap.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an engine that is in use or in a session;
///   `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid frame or size; errors of the device. The engine continues with the next
///   frame; the pixels of `target` are then unspecified.
///
/// @param[in]  engine    from `dreamframe_engine_create()`
/// @param[in]  frame     the frame, of any size and format
/// @param[in]  target    receives the picture: of the size `dreamframe_engine_size()`, in any format
/// @param[out] out_info  how the picture was made; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_process(
    engine: *mut dreamframe_engine_t,
    frame: *const dreamframe_frame_t,
    target: *const dreamframe_frame_t,
    out_info: *mut dreamframe_picture_info_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (frame, target, out) =
            unsafe { (pointer::read(frame)?, pointer::read(target)?, OutStruct::optional(out_info)?) };
        with(engine, |engine| {
            // SAFETY: likewise.
            let (view, mut picture) = unsafe { (frame.view()?, target.view_mut(Some(&frame))?) };
            let size = engine.size();
            check_size((target.width, target.height), size)?;
            let info = engine.process_into(&view, &mut picture)?;
            if let Some(out) = out {
                out.set(&dreamframe_picture_info_t::new(&info, size));
            }
            Ok(())
        })
    })
}

/// Changes parameters before the next frame: all of them, or none on an error. Slow if something is loaded.
///
/// - Threads: one call at a time per object.
/// - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
///   `DREAMFRAME_ERROR_NOT_FOUND`, `_BAD_MODEL`, `_UNSUPPORTED`, `_OUT_OF_MEMORY`, `_CANCELLED`. Nothing has changed then.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[in]  patch_json  an object with the parameters to change
/// @param[out] out_cost    a `dreamframe_cost_t`, or 0 if nothing changed; may be NULL
/// @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_update(
    engine: *mut dreamframe_engine_t,
    patch_json: *const c_char,
    out_cost: *mut u32,
    out_report: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (cost, report) = unsafe { reports(out_cost, out_report) }?;
        // SAFETY: likewise.
        let patch = unsafe { text::required(patch_json, "patch_json") }?;
        let update = with(engine, |engine| engine.update(&ParamsPatch::from_json(patch)?))?;
        write_report(&update, cost, report)
    })
}

/// Returns what `dreamframe_engine_update()` would change, and the cost, without applying it. Fast.
///
/// - Threads: one call at a time per object.
/// - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[in]  patch_json  an object with the parameters to change
/// @param[out] out_cost    a `dreamframe_cost_t`, or 0 if nothing changes; may be NULL
/// @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_plan(
    engine: *mut dreamframe_engine_t,
    patch_json: *const c_char,
    out_cost: *mut u32,
    out_report: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (cost, report) = unsafe { reports(out_cost, out_report) }?;
        // SAFETY: likewise.
        let patch = unsafe { text::required(patch_json, "patch_json") }?;
        let plan = with(engine, |engine| engine.plan(&ParamsPatch::from_json(patch)?))?;
        write_report(plan.update(), cost, report)
    })
}

/// Changes the prompt gradually, over this number of pictures.
///
/// - Threads: one call at a time per object.
/// - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also for an invalid transition; `DREAMFRAME_ERROR_INVALID_PARAMS`
///   for invalid prompts. Nothing has changed then.
///
/// @param[in]  engine           from `dreamframe_engine_create()`
/// @param[in]  transition_json  `{"target_prompts": "snow", "num_steps": 4, "temporal_interpolation_method":
/// "linear"}`,
///                              of which only the first is required; prompts as in the parameter `prompt`
/// @param[out] out_report       `{"cost": "recompute", "changes": […], "notices": […]}`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_transition(
    engine: *mut dreamframe_engine_t,
    transition_json: *const c_char,
    out_report: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::optional(out_report, "out_report") }?;
        // SAFETY: likewise.
        let transition = unsafe { text::required(transition_json, "transition_json") }?;
        let transition = transition_of(transition)?;
        let update = with(engine, |engine| engine.transition(&transition))?;
        write_report(&update, None, out)
    })
}

type ReportOutputs = (Option<Out<u32>>, Option<Out<*mut c_char>>);

/// # Safety
///
/// Both are NULL, or can be written until the call returns.
unsafe fn reports(out_cost: *mut u32, out_report: *mut *mut c_char) -> Result<ReportOutputs> {
    // SAFETY: the caller's promise.
    unsafe { Ok((Out::optional(out_cost, "out_cost")?, Out::optional(out_report, "out_report")?)) }
}

fn write_report(update: &Update, cost: Option<Out<u32>>, report: Option<Out<*mut c_char>>) -> Result<()> {
    let text = report.is_some().then(|| text::json_of(update)).transpose()?;
    if let (Some(report), Some(text)) = (report, text) {
        report.set(text);
    }
    if let Some(cost) = cost {
        cost.set(cost_of(update.cost));
    }
    Ok(())
}

/// Returns the parameters in use, as JSON with every field.
///
/// - Threads: one call at a time per object.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
///
/// @param[in]  engine    from `dreamframe_engine_create()`
/// @param[out] out_json  the parameters
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_params(
    engine: *mut dreamframe_engine_t,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        out.set(text::json_of(&with(engine, |engine| Ok(engine.params().to_value()))?)?);
        Ok(())
    })
}

/// Returns the size of the next picture, in pixels: that of the parameters, times the factors of processors that
/// enlarge it.
///
/// - Threads: one call at a time per object.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
///
/// @param[in]  engine      from `dreamframe_engine_create()`
/// @param[out] out_width   width in pixels
/// @param[out] out_height  height in pixels
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_size(
    engine: *mut dreamframe_engine_t,
    out_width: *mut u32,
    out_height: *mut u32,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (width, height) =
            unsafe { (Out::required(out_width, "out_width")?, Out::required(out_height, "out_height")?) };
        let size = with(engine, |engine| Ok(engine.size()))?;
        width.set(size.0);
        height.set(size.1);
        Ok(())
    })
}

/// Returns how many frames after its frame a picture is returned.
///
/// - Threads: one call at a time per object.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
///
/// @param[in]  engine     from `dreamframe_engine_create()`
/// @param[out] out_delay  in frames
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_delay(
    engine: *mut dreamframe_engine_t,
    out_delay: *mut u32,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_delay, "out_delay") }?;
        out.set(u32::try_from(with(engine, |engine| Ok(engine.delay()))?).unwrap_or(u32::MAX));
        Ok(())
    })
}

/// Returns a description of the engine, as JSON: `model`, `device`, `executor`, `provider` (null unless the executor is
/// `onnx`), `dtype`, `threads`, `evaluations_per_frame`, and `notices` about values that are interpreted differently.
///
/// - Threads: one call at a time per object.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
///
/// @param[in]  engine    from `dreamframe_engine_create()`
/// @param[out] out_json  one object
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_engine_info(
    engine: *mut dreamframe_engine_t,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        let info = with(engine, |engine| {
            let options = engine.options();
            let provider = (options.executor == ExecutorKind::Onnx).then(|| options.onnx.provider.name());
            Ok(json!({
                "model": engine.model(),
                "device": engine.device(),
                "executor": options.executor.name(),
                "provider": provider,
                "dtype": options.dtype.name(),
                "threads": engine.threads(),
                "evaluations_per_frame": engine.evaluations_per_frame(),
                "notices": engine.notices(),
            }))
        })?;
        out.set(text::json_of(&info)?);
        Ok(())
    })
}

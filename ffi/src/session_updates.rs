//! Parameter updates and events of a running session.

use std::ffi::c_char;
use std::time::Duration;

use dreamframe::{Error, ErrorKind, Outcome, ParamsPatch, Result, SessionHandle, Ticket};
use serde_json::{Map, Value};

use crate::guard::{Done, guard, guard_ready};
use crate::handle;
use crate::params::{cost_of, transition_of};
use crate::pointer::Out;
use crate::session::dreamframe_session_t;
use crate::status::dreamframe_status_t;
use crate::text;

/// How an update ended, unless it was rejected.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_outcome_t {
    /// It was applied.
    DREAMFRAME_OUTCOME_APPLIED = 1,
    /// It was skipped, because later updates change all of its fields.
    DREAMFRAME_OUTCOME_SUPERSEDED = 2,
}

fn within<R>(session: *mut dreamframe_session_t, body: impl FnOnce(&SessionHandle) -> Result<R>) -> Result<R> {
    handle::get(session.cast_const())?.within(body)
}

/// Changes parameters while frames are processed. The patch is validated now, prepared on another thread, and applied
/// between two frames. A later failure, such as a missing model, is reported by an event and by
/// `dreamframe_session_wait_for()`.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
///   `DREAMFRAME_ERROR_UNSUPPORTED`, `_CLOSED`. Nothing has changed then.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[in]  patch_json   an object with the parameters to change
/// @param[out] out_version  the version of the update; pictures made with it have at least this version; may be NULL
/// @param[out] out_report   `{"version": 1, "cost": "hot", "changes": […], "notices": […]}`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_update(
    session: *mut dreamframe_session_t,
    patch_json: *const c_char,
    out_version: *mut u64,
    out_report: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (version, report) =
            unsafe { (Out::optional(out_version, "out_version")?, Out::optional(out_report, "out_report")?) };
        // SAFETY: likewise.
        let patch = unsafe { text::required(patch_json, "patch_json") }?;
        let ticket = within(session, |handle| handle.update(&ParamsPatch::from_json(patch)?))?;
        if let Some(report) = report {
            report.set(text::json_of(&ticket)?);
        }
        number(&ticket, version);
        Ok(())
    })
}

fn number(ticket: &Ticket, version: Option<Out<u64>>) {
    if let Some(version) = version {
        version.set(ticket.version);
    }
}

/// Changes the parameter `name`; `object.field` means a field of an object.
///
/// # Safety
///
/// The pointers are valid as documented in the header.
unsafe fn set(
    session: *mut dreamframe_session_t,
    name: *const c_char,
    value: impl FnOnce() -> Result<Value>,
    out_version: *mut u64,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the caller's guarantee.
        let (out, name) = unsafe { (Out::optional(out_version, "out_version")?, text::required(name, "name")?) };
        let nest = |value, name: &str| Value::Object(Map::from_iter([(name.to_owned(), value)]));
        let patch = name.rsplit('.').fold(value()?, nest);
        let ticket = within(session, |handle| handle.update(&ParamsPatch::from_value(patch)?))?;
        number(&ticket, out);
        Ok(())
    })
}

/// Changes one number, such as `"guidance_scale"` or `"ip_adapter.scale"`; otherwise like
/// `dreamframe_session_update()`.
///
/// The value is converted to the shortest decimal that yields the same float: `0.7f` is 0.7.
///
/// - Threads: any thread, also concurrently.
/// - Errors: those of `dreamframe_session_update()`; `DREAMFRAME_ERROR_INVALID_ARGUMENT` also for a value that is not finite.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[in]  name         a parameter, or a field of an object as `object.field`
/// @param[in]  value        the new value
/// @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_set_f32(
    session: *mut dreamframe_session_t,
    name: *const c_char,
    value: f32,
    out_version: *mut u64,
) -> dreamframe_status_t {
    let value = || {
        let decimal = value.to_string().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
        let text = || format!("value: got {value}, expected a finite number");
        decimal.map(Value::Number).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, text()))
    };
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { set(session, name, value, out_version) }
}

/// Changes one integer, such as `"seed"` or `"num_inference_steps"`; otherwise like `dreamframe_session_set_f32()`.
///
/// - Threads: any thread, also concurrently.
/// - Errors: those of `dreamframe_session_update()`.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[in]  name         a parameter, or a field of an object as `object.field`
/// @param[in]  value        the new value
/// @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_set_i64(
    session: *mut dreamframe_session_t,
    name: *const c_char,
    value: i64,
    out_version: *mut u64,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { set(session, name, || Ok(value.into()), out_version) }
}

/// Changes one boolean, such as `"skip_diffusion"`; otherwise like `dreamframe_session_set_f32()`.
///
/// - Threads: any thread, also concurrently.
/// - Errors: those of `dreamframe_session_update()`.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[in]  name         a parameter, or a field of an object as `object.field`
/// @param[in]  value        the new value
/// @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_set_bool(
    session: *mut dreamframe_session_t,
    name: *const c_char,
    value: bool,
    out_version: *mut u64,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { set(session, name, || Ok(value.into()), out_version) }
}

/// Changes one string, such as `"prompt"`, which needs no quoting; otherwise like `dreamframe_session_set_f32()`.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the text is not kept.
/// - Errors: those of `dreamframe_session_update()`.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[in]  name         a parameter, or a field of an object as `object.field`
/// @param[in]  value        the new value
/// @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_set_text(
    session: *mut dreamframe_session_t,
    name: *const c_char,
    value: *const c_char,
    out_version: *mut u64,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { set(session, name, || text::required(value, "value").map(Value::from), out_version) }
}

/// Changes the prompt gradually, over a number of pictures, while frames are processed.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the text is not kept.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also for an invalid transition; `DREAMFRAME_ERROR_INVALID_PARAMS`
///   for invalid prompts; `DREAMFRAME_ERROR_CLOSED`. Nothing has changed then.
///
/// @param[in]  session          from `dreamframe_session_start()`
/// @param[in]  transition_json  as for `dreamframe_engine_transition()`
/// @param[out] out_version      the version of its first update; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_transition(
    session: *mut dreamframe_session_t,
    transition_json: *const c_char,
    out_version: *mut u64,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (out, text) = unsafe {
            (Out::optional(out_version, "out_version")?, text::required(transition_json, "transition_json")?)
        };
        let transition = transition_of(text)?;
        let ticket = within(session, |handle| handle.transition(&transition))?;
        number(&ticket, out);
        Ok(())
    })
}

/// Returns the desired parameters as JSON with every field: all accepted updates, minus those rejected since.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  session   from `dreamframe_session_start()`
/// @param[out] out_json  the parameters
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_params(
    session: *mut dreamframe_session_t,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        out.set(text::json_of(&within(session, |handle| Ok(handle.params().to_value()))?)?);
        Ok(())
    })
}

/// Returns what `dreamframe_session_update()` would change, and the cost, without applying it. Fast.
///
/// - Threads: any thread, also concurrently.
/// - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also while the old pipeline is released and the new one is not ready yet;
///   `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[in]  patch_json  an object with the parameters to change
/// @param[out] out_cost    a `dreamframe_cost_t`, or 0 if nothing changes; may be NULL
/// @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_plan(
    session: *mut dreamframe_session_t,
    patch_json: *const c_char,
    out_cost: *mut u32,
    out_report: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (cost, report) =
            unsafe { (Out::optional(out_cost, "out_cost")?, Out::optional(out_report, "out_report")?) };
        // SAFETY: likewise.
        let patch = unsafe { text::required(patch_json, "patch_json") }?;
        let plan = within(session, |handle| handle.plan(&ParamsPatch::from_json(patch)?))?;
        if let Some(report) = report {
            report.set(text::json_of(plan.update())?);
        }
        if let Some(cost) = cost {
            cost.set(cost_of(plan.cost()));
        }
        Ok(())
    })
}

/// Waits until an update is applied, superseded or rejected. For a rejected one, returns the status of its error.
///
/// - Threads: any thread, also concurrently; not from `on_picture`.
/// - Errors: `DREAMFRAME_ERROR_TIMEOUT`; `DREAMFRAME_ERROR_CLOSED` if the session ends first;
///   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an update whose result is no longer stored; the error of a rejected update.
///
/// @param[in]  session      from `dreamframe_session_start()`
/// @param[in]  version      the version of the update
/// @param[in]  timeout_ms   timeout in milliseconds
/// @param[out] out_outcome  a `dreamframe_outcome_t`; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_wait_for(
    session: *mut dreamframe_session_t,
    version: u64,
    timeout_ms: u64,
    out_outcome: *mut u32,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::optional(out_outcome, "out_outcome") }?;
        let cell = handle::get(session.cast_const())?;
        let outcome = match cell.handle.wait_for_version(version, Duration::from_millis(timeout_ms))? {
            Outcome::Applied => dreamframe_outcome_t::DREAMFRAME_OUTCOME_APPLIED,
            Outcome::Superseded => dreamframe_outcome_t::DREAMFRAME_OUTCOME_SUPERSEDED,
            Outcome::Rejected(error) => return Err(clone_error(&error)),
            _ => return Err(Error::new(ErrorKind::Internal, "the outcome has no value in the header")),
        };
        if let Some(out) = out {
            out.set(outcome as u32);
        }
        Ok(())
    })
}

/// Copies an error.
fn clone_error(error: &Error) -> Error {
    match error.violations() {
        [] => Error::new(error.kind(), format!("{error:#}")),
        violations => Error::invalid_params(violations.to_vec()),
    }
}

/// Takes the oldest event; waits for one if there is none.
///
/// Returns `DREAMFRAME_NOT_READY` on a timeout. `type` is one of `update_applied`, `update_rejected`,
/// `update_superseded` (each with `version`), `frame_failed` (with `id`), `degraded`, `recovered`, `callback_failed`,
/// `transition_failed`, `stopped`; `error` has the format of `dreamframe_last_error_json()`. Later versions may add
/// types and fields.
///
/// - Threads: any thread, also concurrently; each event is returned once.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  session     from `dreamframe_session_start()`
/// @param[in]  timeout_ms  timeout in milliseconds; 0 not to wait
/// @param[out] out_json    one object
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_next_event(
    session: *mut dreamframe_session_t,
    timeout_ms: u64,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        let events = handle::get(session.cast_const())?.handle.events();
        let event = match timeout_ms {
            0 => events.try_next(),
            timeout_ms => events.next_within(Duration::from_millis(timeout_ms)),
        };
        let Some(event) = event else { return Ok(Done::NotReady) };
        out.set(text::json_of(&event)?);
        Ok(Done::Yes)
    })
}

//! Parameters as JSON, and the cost of changing them.

use std::ffi::c_char;

use dreamframe::params::{self, Cost};
use dreamframe::{Error, ErrorKind, Result, StreamDiffusionParams, Transition};
use serde_json::json;

use crate::guard::guard;
use crate::pointer::Out;
use crate::status::dreamframe_status_t;
use crate::text;

/// Cost of a change of parameters, in increasing order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_cost_t {
    /// Values are replaced between two frames.
    DREAMFRAME_COST_HOT = 1,
    /// Loaded networks compute something first.
    DREAMFRAME_COST_RECOMPUTE = 2,
    /// A network is loaded while frames are processed.
    DREAMFRAME_COST_LOAD = 3,
    /// A second pipeline is built, and then replaces the first.
    DREAMFRAME_COST_REBUILD = 4,
}

/// Returns the number of a cost; 0 for none.
pub(crate) fn cost_of(cost: Option<Cost>) -> u32 {
    match cost {
        None => 0,
        Some(Cost::Hot) => dreamframe_cost_t::DREAMFRAME_COST_HOT as u32,
        Some(Cost::Recompute) => dreamframe_cost_t::DREAMFRAME_COST_RECOMPUTE as u32,
        Some(Cost::Load) => dreamframe_cost_t::DREAMFRAME_COST_LOAD as u32,
        Some(Cost::Rebuild) => dreamframe_cost_t::DREAMFRAME_COST_REBUILD as u32,
    }
}

/// Reads a transition of the prompt.
///
/// # Errors
///
/// `InvalidArgument` for an invalid transition.
pub(crate) fn transition_of(text: &str) -> Result<Transition> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, "transition_json: invalid transition").with_source(error)
    })
}

/// Returns Daydream's default parameters, as JSON with every field.
///
/// - Threads: any thread.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[out] out_json  the parameters
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_params_defaults(out_json: *mut *mut c_char) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(out_json, || text::json_of(&StreamDiffusionParams::default().to_value())) }
}

/// Returns the parameters of the demo model, which are the default of an engine, as JSON with every field.
///
/// - Threads: any thread.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[out] out_json  the parameters
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_params_demo(out_json: *mut *mut c_char) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(out_json, || text::json_of(&StreamDiffusionParams::demo().to_value())) }
}

/// Returns parameters that suit a model, as JSON with every field. The model must be downloaded, as by
/// `dreamframe models fetch NAME`.
///
/// - Threads: any thread.
/// - Ownership: the name is not kept; free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` for an unknown name, with all
///   names.
///
/// @param[in]  name      a short name, such as `sdxs`, a repository that has one, or `demo`
/// @param[out] out_json  the parameters
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_params_for_model(
    name: *const c_char,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe {
        give(out_json, || text::json_of(&StreamDiffusionParams::for_model(text::required(name, "name")?)?.to_value()))
    }
}

/// Returns the JSON Schema of the parameters: names, types, ranges, defaults, and the cost of changing each.
///
/// - Threads: any thread.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[out] out_json  the schema
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_params_schema(out_json: *mut *mut c_char) -> dreamframe_status_t {
    // SAFETY: guaranteed by the host, as documented in the header.
    unsafe { give(out_json, || text::json_of(params::schema())) }
}

/// Validates parameters without an engine. A model may still reject them.
///
/// - Threads: any thread.
/// - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
///
/// @param[in]  params_json  an object with some of the parameters; missing ones have Daydream's defaults
/// @param[out] out_report   `{"params": {…}, "notices": […]}` with every field; may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_params_check(
    params_json: *const c_char,
    out_report: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (out, text) =
            unsafe { (Out::optional(out_report, "out_report")?, text::required(params_json, "params_json")?) };
        let (params, notices) = StreamDiffusionParams::from_json(text)?;
        if let Some(out) = out {
            out.set(text::json_of(&json!({"params": params.to_value(), "notices": notices}))?);
        }
        Ok(())
    })
}

/// Applies a change to parameters, without an engine. A model may still reject them.
///
/// - Threads: any thread.
/// - Ownership: the texts are not kept; free the result with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
///
/// @param[in]  base_json   parameters, as for `dreamframe_params_check()`; NULL for those of the demo model
/// @param[in]  patch_json  an object with the parameters to change
/// @param[out] out_json    the parameters with every field
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_params_merge(
    base_json: *const c_char,
    patch_json: *const c_char,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (base, patch) =
            unsafe { (text::optional(base_json, "base_json")?, text::required(patch_json, "patch_json")?) };
        // SAFETY: likewise.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        let base = match base {
            Some(base) => StreamDiffusionParams::from_json(base)?.0,
            None => StreamDiffusionParams::demo(),
        };
        out.set(text::json_of(&base.patched(patch)?.0.to_value())?);
        Ok(())
    })
}

/// # Safety
///
/// `out_json` is NULL, or writable until the call returns.
unsafe fn give(out_json: *mut *mut c_char, make: impl FnOnce() -> Result<*mut c_char>) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        out.set(make()?);
        Ok(())
    })
}

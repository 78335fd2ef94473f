//! Downloads of models from the Hugging Face hub.
//!
//! The functions exist in every library. Without the feature `hub` they return an error: `absent` replaces `live`.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;

use dreamframe::{Error, ErrorKind, Result};

use crate::guard::guard;
use crate::pointer::{self, Out, Versioned};
use crate::status::dreamframe_status_t;
use crate::text;

#[cfg(not(feature = "hub"))]
mod absent;
#[cfg(feature = "hub")]
mod live;

#[cfg(not(feature = "hub"))]
use self::absent as backend;
#[cfg(feature = "hub")]
use self::live as backend;

/// Receives the progress of a download, and may cancel it.
///
/// - Threads: called on the thread that called `dreamframe_models_fetch()` or `dreamframe_models_fetch_for()`.
/// - Ownership: the texts are valid during the call.
///
/// @param user_data  that of the options
/// @param model      the id of the model
/// @param file       the file of the model that is being downloaded
/// @param done       bytes that are downloaded, of all files of the model
/// @param total      bytes of all files of the model
///
/// Returns 0 to continue; any other value cancels the download with `DREAMFRAME_ERROR_CANCELLED`. Complete files are kept,
/// and a later download continues an incomplete one.
pub type dreamframe_fetch_callback_t = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        model: *const c_char,
        file: *const c_char,
        done: u64,
        total: u64,
    ) -> i32,
>;

/// Options of downloads. Initialize with `DREAMFRAME_FETCH_OPTIONS_INIT`: zeros and NULLs are the defaults.
///
/// Texts are UTF-8 and not kept.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_fetch_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The address of the hub, without a slash at the end; NULL for the environment variable `HF_ENDPOINT`, or
    /// `https://huggingface.co`.
    pub endpoint: *const c_char,
    /// The folder of the cache; NULL for the one of the environment variables `HF_HUB_CACHE`, `HF_HOME` and
    /// `XDG_CACHE_HOME`, or `~/.cache/huggingface/hub`. Engines look for models in the latter.
    pub cache: *const c_char,
    /// The user's access token, which is sent to the hub only; NULL for the environment variable `HF_TOKEN`, or none.
    pub token: *const c_char,
    /// Receives the progress; NULL for none.
    pub progress: dreamframe_fetch_callback_t,
    /// Passed to the callback.
    pub user_data: *mut c_void,
    /// 1 for models that are in the cache only, without a use of the network; 0 if the environment variable
    /// `HF_HUB_OFFLINE` says so.
    pub offline: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: integers, NULL, no function.
unsafe impl Versioned for dreamframe_fetch_options_t {
    const NAME: &'static str = "fetch_options";
    const LEAST: usize = offset_of!(Self, reserved) + size_of::<u32>();
}

impl dreamframe_fetch_options_t {
    /// Default values.
    pub(crate) fn none() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            endpoint: std::ptr::null(),
            cache: std::ptr::null(),
            token: std::ptr::null(),
            progress: None,
            user_data: std::ptr::null_mut(),
            offline: 0,
            reserved: 0,
        }
    }

    /// Reads the options of the host; NULL for the defaults.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a wrong `struct_size`, a text that is not UTF-8, and an invalid number.
    ///
    /// # Safety
    ///
    /// `options` and its texts are valid as documented in the header, during `'a`.
    unsafe fn read<'a>(options: *const Self) -> Result<FetchOptions<'a>> {
        // SAFETY: the caller's promise.
        let raw = if options.is_null() { Self::none() } else { unsafe { pointer::read(options) }? };
        for (name, number, most) in [("offline", raw.offline, 1), ("reserved", raw.reserved, 0)] {
            if number > most {
                let text = format!("{name}: got {number}, expected at most {most}");
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            Ok(FetchOptions {
                endpoint: text::optional(raw.endpoint, "endpoint")?,
                cache: text::optional(raw.cache, "cache")?,
                token: text::optional(raw.token, "token")?,
                progress: raw.progress,
                user_data: raw.user_data,
                is_offline: raw.offline == 1,
            })
        }
    }
}

/// [`dreamframe_fetch_options_t`] with checked texts.
#[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "checked, but used by `live` only"))]
struct FetchOptions<'a> {
    endpoint: Option<&'a str>,
    cache: Option<&'a str>,
    token: Option<&'a str>,
    progress: dreamframe_fetch_callback_t,
    user_data: *mut c_void,
    is_offline: bool,
}

/// Downloads a model from the Hugging Face hub into its cache, and returns its path. Complete files are kept, and an
/// interrupted download continues. Slow.
///
/// - Threads: any thread; never one that has to process frames.
/// - Ownership: the texts are not kept; free the path with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` in a library without the feature `hub`; `DREAMFRAME_ERROR_INVALID_ARGUMENT`,
///   also for an invalid id or address; `DREAMFRAME_ERROR_NOT_FOUND` if the hub has no such model, or several of which the id
///   does not name one; `DREAMFRAME_ERROR_BAD_MODEL` for a file that does not match its digest;
///   `DREAMFRAME_ERROR_CANCELLED`, `_IO`.
///
/// @param[in]  id        a repository, `organisation/name`, or a file or folder in one, `organisation/name/path`: a base
///                       model, an autoencoder, a ControlNet, a LoRA, an IP-Adapter, or the networks of processors
/// @param[in]  options   begun with `DREAMFRAME_FETCH_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_path  the path of the model, such as the option `models` of an engine
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_models_fetch(
    id: *const c_char,
    options: *const dreamframe_fetch_options_t,
    out_path: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (out, id) = unsafe { (Out::required(out_path, "out_path")?, text::required(id, "id")?) };
        // SAFETY: likewise.
        let options = unsafe { dreamframe_fetch_options_t::read(options) }?;
        out.set(text::to_host(backend::fetch(id, &options)?));
        Ok(())
    })
}

/// Downloads all models that an engine with these parameters uses: the base model, its tiny autoencoder, LoRAs,
/// ControlNets, the IP-Adapter if it is enabled, the network that interpolates between pictures, and the networks of
/// processors. Slow.
///
/// A download that fails does not prevent the others, and has an `error` in the result, as `dreamframe_last_error_json()`
/// returns them.
///
/// - Threads: any thread; never one that has to process frames.
/// - Ownership: the texts are not kept; free the result with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` in a library without the feature `hub`; `DREAMFRAME_ERROR_INVALID_ARGUMENT`,
///   also for an invalid id or address; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
///   `DREAMFRAME_ERROR_CANCELLED`.
///
/// @param[in]  params_json  the parameters, with Daydream's defaults for missing ones
/// @param[in]  options      begun with `DREAMFRAME_FETCH_OPTIONS_INIT`; NULL for the defaults
/// @param[out] out_models   `[{"id": "…", "field": "model_id", "path": "…", "error": null, "optional": false}]`, where `field`
///                          is the use of the model, and engines can be created without an `optional` one
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_models_fetch_for(
    params_json: *const c_char,
    options: *const dreamframe_fetch_options_t,
    out_models: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let (out, params) =
            unsafe { (Out::required(out_models, "out_models")?, text::required(params_json, "params_json")?) };
        // SAFETY: likewise.
        let options = unsafe { dreamframe_fetch_options_t::read(options) }?;
        out.set(text::json_of(&backend::fetch_for(params, &options)?)?);
        Ok(())
    })
}

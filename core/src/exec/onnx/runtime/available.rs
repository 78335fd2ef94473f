//! The providers of a build of ONNX Runtime.

use std::ffi::CStr;

use super::Row;

/// Returns true if the loaded library was built with the provider of `row`. Its libraries may be missing.
pub(super) fn has_provider(row: &Row) -> bool {
    let api = ort::api();
    let (mut names, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: the library writes an array of `count` texts, which it releases below.
    unsafe {
        if ort::Error::result_from_status((api.GetAvailableProviders)(&mut names, &mut count)).is_err() {
            return false;
        }
        let all = std::slice::from_raw_parts(names, usize::try_from(count).unwrap_or_default());
        let found = all.iter().any(|&name| CStr::from_ptr(name).to_bytes() == row.ep_name.as_bytes());
        let released = ort::Error::result_from_status((api.ReleaseAvailableProviders)(names, count));
        if let Err(error) = released {
            tracing::debug!(%error, "the names of providers are not released");
        }
        found
    }
}

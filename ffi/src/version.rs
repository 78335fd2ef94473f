//! Version of the library.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use dreamframe::FEATURES;
use serde_json::json;

use crate::text;

/// The version of the binary interface: it increases with each addition, and a host needs at least that of its header.
pub const DREAMFRAME_ABI_VERSION: u32 = 1;

/// Returns the version of the library, such as `"1.2.3"`; compare with `DREAMFRAME_VERSION`.
///
/// - Threads: any thread.
/// - Ownership: the text is static; never free it.
#[unsafe(no_mangle)]
pub extern "C" fn dreamframe_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// Returns the version of the library's binary interface. A host must not use a library whose version is below its
/// `DREAMFRAME_ABI_VERSION`.
///
/// - Threads: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn dreamframe_abi_version() -> u32 {
    DREAMFRAME_ABI_VERSION
}

/// Returns how the library was built, as JSON: `version`, `abi_version`, `features`, `debug`, `architecture`, `system`.
/// Servers, publishers and players need the feature `transport`, downloads the feature `hub`.
///
/// - Threads: any thread.
/// - Ownership: the text is static; never free it.
#[unsafe(no_mangle)]
pub extern "C" fn dreamframe_build_info() -> *const c_char {
    static INFO: OnceLock<std::ffi::CString> = OnceLock::new();
    let info = INFO.get_or_init(|| {
        let info = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "abi_version": DREAMFRAME_ABI_VERSION,
            "features": features(),
            "debug": cfg!(debug_assertions),
            "architecture": std::env::consts::ARCH,
            "system": std::env::consts::OS,
        });
        text::c_string(info.to_string())
    });
    info.as_ptr()
}

/// Returns the library's features, and those of the C interface.
fn features() -> Vec<&'static str> {
    let own = cfg!(feature = "transport").then_some("transport");
    FEATURES.iter().copied().chain(own).collect()
}

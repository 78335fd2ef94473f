//! Waiting for streams of CUDA, by the driver's library, which is loaded at the first use.

#![allow(unsafe_code, reason = "calls a function of a library")]

use std::ffi::{c_int, c_void};
use std::num::NonZeroUsize;
use std::ptr::with_exposed_provenance_mut;
use std::sync::OnceLock;

use libloading::Library;

use super::libraries;
use crate::error::{Error, ErrorKind, Result};

/// The library of NVIDIA's driver.
const DRIVER: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// `cuStreamSynchronize`: waits until all work of a stream is finished; returns 0 for success.
type Synchronize = unsafe extern "system" fn(stream: *mut c_void) -> c_int;

/// Waits until all work of a stream is finished.
///
/// # Errors
///
/// `Unsupported` if the driver's library is missing, `Device` with the number of the driver's error.
pub(super) fn wait_for(stream: NonZeroUsize) -> Result<()> {
    static LOADED: OnceLock<Result<Synchronize, String>> = OnceLock::new();
    match LOADED.get_or_init(|| load(DRIVER)) {
        Ok(synchronize) => wait_with(*synchronize, stream),
        Err(error) => Err(missing(error)),
    }
}

/// Returns the function of the library `name`, which stays loaded.
///
/// # Errors
///
/// Why the library or the function is missing.
fn load(name: &str) -> Result<Synchronize, String> {
    let reason = |error: libloading::Error| libraries::reason(name, &error);
    // SAFETY: the driver's library has no requirements on its loading.
    let library = unsafe { Library::new(name) }.map_err(reason)?;
    // SAFETY: the driver's function has this type.
    let function = unsafe { library.get::<Synchronize>(b"cuStreamSynchronize\0") }.map(|function| *function);
    let function = function.map_err(reason)?;
    std::mem::forget(library);
    Ok(function)
}

fn wait_with(synchronize: Synchronize, stream: NonZeroUsize) -> Result<()> {
    // SAFETY: the host guarantees that this is the handle of a stream which can be used on this thread
    // (`DeviceFrame::with_stream`).
    match unsafe { synchronize(with_exposed_provenance_mut(stream.get())) } {
        0 => Ok(()),
        number => Err(Error::new(
            ErrorKind::Device,
            format!("cuStreamSynchronize: got CUDA error {number}, expected success"),
        )),
    }
}

fn missing(error: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("CUDA stream of a frame: failed to load NVIDIA's driver: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: usize = 0x4000;

    unsafe extern "system" fn finishes_all_but_one(stream: *mut c_void) -> c_int {
        if stream.addr() == BUSY { 719 } else { 0 }
    }

    #[test]
    fn errors_of_the_driver_have_their_number() {
        let wait = |stream| wait_with(finishes_all_but_one, NonZeroUsize::new(stream).unwrap());
        wait(BUSY + 1).unwrap();
        let error = wait(BUSY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert_eq!(error.to_string(), "cuStreamSynchronize: got CUDA error 719, expected success");
    }

    #[test]
    fn a_missing_driver_is_an_error_with_the_name_of_its_library() {
        let error = missing(&load("libno-such-driver.so.1").unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("libno-such-driver.so.1"), "{error}");
    }
}

//! Functions of NVIDIA's driver, whose library is loaded at the first use.

#![allow(unsafe_code, reason = "calls functions of a library")]

use std::ffi::{c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ptr::with_exposed_provenance_mut;
use std::sync::OnceLock;

use libloading::Library;

use super::libraries;
use crate::error::{Error, ErrorKind, Result};

/// The library of NVIDIA's driver.
const DRIVER: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// `cuInit`.
type Initialize = unsafe extern "system" fn(flags: c_uint) -> c_int;
/// `cuStreamSynchronize`: waits until all work of a stream is finished.
type Synchronize = unsafe extern "system" fn(stream: *mut c_void) -> c_int;
/// `cuThreadExchangeStreamCaptureMode`: exchanges the capture mode of the calling thread with that at the address.
type ExchangeCaptureMode = unsafe extern "system" fn(mode: *mut c_int) -> c_int;

/// The number for success.
const SUCCESS: c_int = 0;
/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`.
const THREAD_LOCAL: c_int = 1;

/// Functions of the driver, each of which returns the number of an error, or [`SUCCESS`].
#[derive(Debug, Clone, Copy)]
struct Driver {
    synchronize: Synchronize,
    exchange_capture_mode: ExchangeCaptureMode,
}

/// The driver of this process, once something has used it. It stays loaded.
static LOADED: OnceLock<Result<Driver, String>> = OnceLock::new();

/// Loads and initializes the driver, so that [`OwnCaptures`] has an effect. Without a driver it has none.
pub(super) fn prepare() {
    if let Err(error) = LOADED.get_or_init(|| load(DRIVER)) {
        tracing::debug!(%error, "NVIDIA's driver cannot be loaded");
    }
}

/// Waits until all work of a stream is finished.
///
/// # Errors
///
/// `Unsupported` if the driver's library is missing, `Device` with the number of the driver's error.
pub(super) fn wait_for(stream: NonZeroUsize) -> Result<()> {
    match LOADED.get_or_init(|| load(DRIVER)) {
        Ok(driver) => wait_with(driver.synchronize, stream),
        Err(error) => Err(missing(error)),
    }
}

/// While it exists, captures of CUDA graphs by other threads and calls of this thread do not disturb each other.
///
/// ONNX Runtime captures in the mode `CU_STREAM_CAPTURE_MODE_GLOBAL`. Meanwhile, a thread in the same mode, which is that of
/// every new thread, cannot allocate or free memory: the call fails, and the capture with it. In the mode for captures of the
/// own thread it can. Captures of the host in the global mode are not disturbed either.
#[derive(Debug)]
pub(super) struct OwnCaptures {
    /// The mode of the thread before; `None` without a driver.
    before: Option<(ExchangeCaptureMode, c_int)>,
    /// It must be dropped on its thread.
    _of_thread: PhantomData<*const ()>,
}

impl OwnCaptures {
    /// Changes the mode of this thread, if [`prepare`] has loaded the driver.
    pub(super) fn new() -> Self {
        match LOADED.get() {
            Some(Ok(driver)) => Self::with(driver.exchange_capture_mode),
            _ => Self { before: None, _of_thread: PhantomData },
        }
    }

    fn with(exchange: ExchangeCaptureMode) -> Self {
        let mut mode = THREAD_LOCAL;
        // SAFETY: the function has this type and accesses the address during the call only.
        let is_changed = unsafe { exchange(&raw mut mode) } == SUCCESS;
        Self { before: is_changed.then_some((exchange, mode)), _of_thread: PhantomData }
    }
}

impl Drop for OwnCaptures {
    fn drop(&mut self) {
        if let Some((exchange, mut mode)) = self.before {
            // SAFETY: as in `with`. An error is that of earlier work on the device, whose caller has it.
            unsafe { exchange(&raw mut mode) };
        }
    }
}

/// Returns the functions of the library `name`, which stays loaded, and initializes it.
///
/// # Errors
///
/// Why the library or a function is missing, or the number of the driver's error.
fn load(name: &str) -> Result<Driver, String> {
    // SAFETY: the driver's library has no requirements on its loading.
    let library = unsafe { Library::new(name) }.map_err(|error| libraries::reason(name, &error))?;
    let missing = |error: libloading::Error| libraries::reason(name, &error);
    // SAFETY: the driver's functions have these types.
    let (initialize, driver) = unsafe {
        let initialize = *library.get::<Initialize>(b"cuInit\0").map_err(missing)?;
        let synchronize = *library.get::<Synchronize>(b"cuStreamSynchronize\0").map_err(missing)?;
        let exchange = library.get::<ExchangeCaptureMode>(b"cuThreadExchangeStreamCaptureMode\0").map_err(missing)?;
        (initialize, Driver { synchronize, exchange_capture_mode: *exchange })
    };
    std::mem::forget(library);
    // SAFETY: it may be called at any time, and has no flags.
    match unsafe { initialize(0) } {
        SUCCESS => Ok(driver),
        number => Err(format!("cuInit: got CUDA error {number}, expected success")),
    }
}

fn wait_with(synchronize: Synchronize, stream: NonZeroUsize) -> Result<()> {
    // SAFETY: the host guarantees that this is the handle of a stream which can be used on this thread
    // (`DeviceFrame::with_stream`).
    match unsafe { synchronize(with_exposed_provenance_mut(stream.get())) } {
        SUCCESS => Ok(()),
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
    use std::cell::Cell;

    use super::*;

    const BUSY: usize = 0x4000;
    const GLOBAL: c_int = 0;

    thread_local! {
        static MODE: Cell<c_int> = const { Cell::new(GLOBAL) };
    }

    unsafe extern "system" fn finishes_all_but_one(stream: *mut c_void) -> c_int {
        if stream.addr() == BUSY { 719 } else { 0 }
    }

    unsafe extern "system" fn exchanges(mode: *mut c_int) -> c_int {
        // SAFETY: the caller passes the address of its mode.
        unsafe { *mode = MODE.replace(*mode) };
        SUCCESS
    }

    unsafe extern "system" fn fails(_: *mut c_int) -> c_int {
        719
    }

    #[test]
    fn the_capture_mode_of_a_thread_is_changed_until_the_last_call_of_nested_ones_ends() {
        let outer = OwnCaptures::with(exchanges);
        let inner = OwnCaptures::with(exchanges);
        assert_eq!(MODE.get(), THREAD_LOCAL);
        drop(inner);
        assert_eq!(MODE.get(), THREAD_LOCAL);
        drop(outer);
        assert_eq!(MODE.get(), GLOBAL);
        drop(OwnCaptures::with(fails));
        assert_eq!(MODE.get(), GLOBAL);
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

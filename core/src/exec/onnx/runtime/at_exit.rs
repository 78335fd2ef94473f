//! Keeps the process from ending while a thread runs code of the library.
//!
//! `exit` destroys the library's static objects on the thread that calls it, while the others still run: a thread that
//! loads or runs a network then reads freed memory. So a function that `exit` calls before it destroys them refuses further
//! calls, and waits for those that have begun.
//!
//! `exit` calls functions and destroys objects in the reverse order of their registration, and the library registers some
//! objects at their first use. So the function is registered before the library is loaded, and again after each call that
//! may have been the first use.

#![allow(unsafe_code, reason = "functions of the C library, and objects that are not dropped")]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(unix)]
use std::time::{Duration, Instant};

use super::super::cuda_driver::OwnCaptures;
use super::graph_captures;
use crate::error::{Error, ErrorKind, Result};

/// How long `exit` waits for calls that have begun. Compiling for TensorRT can take minutes.
#[cfg(unix)]
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The number of calls that have begun.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// Whether the process is ending.
static ENDING: AtomicBool = AtomicBool::new(false);

/// A call into the library, on the thread that begins it.
#[derive(Debug)]
pub(super) struct Call {
    /// Whether it may use objects that were not used before.
    is_first: bool,
    _captures: OwnCaptures,
}

impl Call {
    /// Begins a call that runs a network which ran before, or that allocates. It ends when the returned value is dropped.
    ///
    /// # Errors
    ///
    /// `Cancelled` if the process is ending.
    pub(super) fn again() -> Result<Self> {
        Self::begin(false)
    }

    /// Begins any other call: one that loads the library or a network, or that runs a network for the first time. Each
    /// registers the function once more, which takes some bytes until the process ends.
    ///
    /// # Errors
    ///
    /// Those of [`again`](Self::again).
    pub(super) fn first() -> Result<Self> {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(register);
        Self::begin(true)
    }

    fn begin(is_first: bool) -> Result<Self> {
        CALLS.fetch_add(1, Ordering::SeqCst);
        let mut call = Self { is_first, _captures: OwnCaptures::new() };
        if ENDING.load(Ordering::SeqCst) {
            call.is_first = false;
            return Err(Error::new(ErrorKind::Cancelled, "ONNX Runtime: the process is ending"));
        }
        Ok(call)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_first {
            register();
        }
        CALLS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An object of the library, which is not released once the process is ending.
pub(super) struct Owned<T> {
    object: ManuallyDrop<T>,
    /// Whether it has handles of the device, whose release ends captures.
    has_handles: bool,
}

impl<T> Owned<T> {
    pub(super) fn new(object: T) -> Self {
        Self { object: ManuallyDrop::new(object), has_handles: false }
    }

    /// Of an object whose release ends captures of CUDA graphs: it waits until there are none.
    pub(super) fn with_handles(object: T) -> Self {
        Self { object: ManuallyDrop::new(object), has_handles: true }
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if let Ok(_call) = Call::again() {
            let _exclusion = self.has_handles.then(graph_captures::exclude);
            // SAFETY: nothing uses the object after this.
            unsafe { ManuallyDrop::drop(&mut self.object) }
        }
    }
}

/// Refuses calls, and returns whether those that had begun ended in time. Only the first of the registered functions waits.
#[cfg(unix)]
fn end_calls() -> bool {
    if ENDING.swap(true, Ordering::SeqCst) {
        return true;
    }
    let start = Instant::now();
    while CALLS.load(Ordering::SeqCst) > 0 {
        if start.elapsed() > LONGEST_WAIT {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// With glibc, the process ends with its status and without destroying anything if calls do not end in time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn register() {
    use std::ffi::{c_int, c_void};

    // SAFETY: the declaration is that of `stdlib.h`.
    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    extern "C" fn at_exit(status: c_int, _: *mut c_void) {
        if !end_calls() {
            // SAFETY: a null pointer stands for all open streams, and no other thread is waited for.
            unsafe {
                libc::fflush(std::ptr::null_mut());
                libc::_exit(status);
            }
        }
    }
    // Without memory for the registration, the process ends as it would without this module.
    // SAFETY: the function does not unwind, and ignores its argument.
    let _ = unsafe { on_exit(at_exit, std::ptr::null_mut()) };
}

#[cfg(all(unix, not(all(target_os = "linux", target_env = "gnu"))))]
fn register() {
    extern "C" fn at_exit() {
        end_calls();
    }
    // Without memory for the registration, the process ends as it would without this module.
    // SAFETY: the function does not unwind.
    let _ = unsafe { libc::atexit(at_exit) };
}

/// Windows ends all other threads before it destroys anything.
#[cfg(not(unix))]
fn register() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::sync::{Arc, mpsc};

    use super::super::super::tests::{executor, library, program};
    use crate::exec::cpu::tests::naive::GeneratedWeights;
    use crate::exec::{Dtype, Executor as _};
    use crate::net::{Shape, Weights};

    /// Set to the number of networks after which the program ends.
    const CHILD: &str = "DREAMFRAME_TEST_EXIT_AFTER";
    const STATUS: i32 = 7;
    const THREADS: usize = 3;

    #[test]
    fn a_process_ends_with_its_status_while_networks_are_loaded() {
        let Some(library) = library() else { return };
        if let Ok(networks) = std::env::var(CHILD) {
            return end_while_networks_are_loaded(&library, networks.parse().unwrap());
        }
        let (_, module) = module_path!().split_once("::").unwrap();
        let name = format!("{module}::a_process_ends_with_its_status_while_networks_are_loaded");
        // Not before the first: an object that is registered during the first load is destroyed too early.
        for networks in 1..=12 {
            let mut child = Command::new(std::env::current_exe().unwrap());
            let output = child.args(["--exact", &name]).env(CHILD, networks.to_string()).output().unwrap();
            assert_eq!(output.status.code(), Some(STATUS), "after {networks}: {output:?}");
        }
    }

    /// Loads networks on some threads, and ends the process after `networks` of them.
    fn end_while_networks_are_loaded(library: &Path, networks: usize) {
        let (loaded, all_loaded) = mpsc::channel();
        for _ in 0..THREADS {
            let (library, loaded) = (library.to_owned(), loaded.clone());
            std::thread::spawn(move || {
                while let Ok(executor) = executor(&library, Dtype::F32) {
                    let program = program(Shape::new(1, 8, 8, 64), |b, x| b.conv3x3("w", x, 64)).finish().unwrap();
                    match executor.compile(&Arc::new(program), &Weights::new(Arc::new(GeneratedWeights))) {
                        Ok(_) => loaded.send(()).unwrap(),
                        // The process is ending.
                        Err(_) => return,
                    }
                }
            });
        }
        all_loaded.iter().take(networks).for_each(drop);
        std::process::exit(STATUS);
    }
}

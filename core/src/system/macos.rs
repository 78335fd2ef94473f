//! macOS: calls of the C library and of Mach. Threads cannot be pinned; they have classes of service.

#![allow(unsafe_code, reason = "functions of the system, which are C")]

use std::ffi::CStr;
use std::{io, mem, ptr};

use libc::qos_class_t;

/// The longest name of a processor, in bytes with the zero at the end.
const LONGEST_NAME: usize = 256;

pub(super) fn available_memory() -> Option<u64> {
    // SAFETY: integers, for which zero bytes are valid.
    let mut statistics: libc::vm_statistics64 = unsafe { mem::zeroed() };
    let mut count = libc::HOST_VM_INFO64_COUNT;
    #[allow(deprecated, reason = "the crate that libc names in its place is not a dependency")]
    // SAFETY: the structure has the length that is passed.
    let status = unsafe {
        let host = libc::mach_host_self();
        libc::host_statistics64(host, libc::HOST_VM_INFO64, (&raw mut statistics).cast(), &raw mut count)
    };
    // SAFETY: without addresses.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let pages = u64::from(statistics.free_count) + u64::from(statistics.inactive_count);
    (status == libc::KERN_SUCCESS).then_some(pages * page)
}

pub(super) fn total_memory() -> Option<u64> {
    let mut bytes = [0; size_of::<u64>()];
    (value(c"hw.memsize", &mut bytes)? == bytes.len()).then_some(u64::from_ne_bytes(bytes))
}

pub(super) fn peak_memory() -> Option<u64> {
    // SAFETY: integers, for which zero bytes are valid.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: the result is on this stack.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    // In bytes on this system.
    (status == 0).then_some(u64::try_from(usage.ru_maxrss).ok()?)
}

pub(super) fn processor_name() -> Option<String> {
    let mut name = [0; LONGEST_NAME];
    value(c"machdep.cpu.brand_string", &mut name)?;
    let name = CStr::from_bytes_until_nul(&name).ok()?.to_string_lossy().trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Reads a value of the system into `buffer`; returns its length.
fn value(name: &CStr, buffer: &mut [u8]) -> Option<usize> {
    let mut length = buffer.len();
    // SAFETY: the name ends with a zero, and the buffer has the length that is passed.
    let status =
        unsafe { libc::sysctlbyname(name.as_ptr(), buffer.as_mut_ptr().cast(), &raw mut length, ptr::null_mut(), 0) };
    (status == 0).then_some(length)
}

pub(super) fn this_core() -> Option<usize> {
    None
}

pub(super) fn place_computing_thread(_index: usize, _threads: usize, _near: Option<usize>) -> io::Result<()> {
    serve(qos_class_t::QOS_CLASS_USER_INTERACTIVE)
}

pub(super) fn lower_priority() -> io::Result<()> {
    serve(qos_class_t::QOS_CLASS_UTILITY)
}

/// Gives this thread a class of service.
fn serve(class: qos_class_t) -> io::Result<()> {
    // SAFETY: without addresses.
    match unsafe { libc::pthread_set_qos_class_self_np(class, 0) } {
        0 => Ok(()),
        status => Err(io::Error::from_raw_os_error(status)),
    }
}

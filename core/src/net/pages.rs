//! Huge pages for large allocations: fewer page faults on first use, and fewer TLB misses.

#![allow(unsafe_code, reason = "a system call on memory that is ours")]

/// Minimum size in bytes for huge pages: some of them fit for any alignment.
#[cfg(target_os = "linux")]
const WORTH_IT: usize = 8 << 20;

/// Asks the system for large pages in `len` bytes from `start` on, which are ours and not yet used. It may refuse.
#[cfg(target_os = "linux")]
pub(crate) fn prefer_large(start: *const u8, len: usize) {
    const PAGE: usize = 4096;
    let skip = start.align_offset(PAGE);
    if len < WORTH_IT || skip >= len {
        return;
    }
    let whole = (len - skip) / PAGE * PAGE;
    // SAFETY: whole pages within memory that is allocated; the advice changes nothing about what is in them.
    unsafe {
        libc::madvise(start.add(skip).cast_mut().cast(), whole, libc::MADV_HUGEPAGE);
    }
}

/// Other systems choose by themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_large(_start: *const u8, _len: usize) {}

//! Huge pages for large allocations, which reduce page faults on first use and TLB misses.

#![allow(unsafe_code, reason = "a system call on memory that the caller owns")]

/// Minimum size of an allocation in bytes, so that it contains whole huge pages for any alignment.
#[cfg(target_os = "linux")]
const MIN_LEN: usize = 8 << 20;

/// Advises the system to use huge pages for the `len` bytes at `start`, which the caller owns and has not used yet. The
/// system may ignore it.
#[cfg(target_os = "linux")]
pub(crate) fn advise_huge_pages(start: *const u8, len: usize) {
    // Processors of the same architecture have pages of different sizes: 4, 16 or 64 KiB on Arm.
    let page = rustix::param::page_size();
    let skip = start.align_offset(page);
    if len < MIN_LEN || skip >= len {
        return;
    }
    let whole = (len - skip) / page * page;
    // SAFETY: whole pages within allocated memory; the advice does not change their contents.
    unsafe {
        libc::madvise(start.add(skip).cast_mut().cast(), whole, libc::MADV_HUGEPAGE);
    }
}

/// Does nothing on other systems.
#[cfg(not(target_os = "linux"))]
pub(crate) fn advise_huge_pages(_start: *const u8, _len: usize) {}

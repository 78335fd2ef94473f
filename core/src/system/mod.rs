//! Facts of the machine and of this process from the operating system, and the placement of threads: one file for each
//! system.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as os;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as os;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as os;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod unknown;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
use unknown as os;

/// Returns the bytes that this process can allocate without swapping; `None` if the system does not report it.
pub(crate) fn available_memory() -> Option<u64> {
    os::available_memory()
}

/// Returns the bytes of memory of the machine; `None` if the system does not report it.
pub(crate) fn total_memory() -> Option<u64> {
    os::total_memory()
}

/// Returns the most bytes of memory that this process has occupied; `None` if the system does not report it.
pub(crate) fn peak_memory() -> Option<u64> {
    os::peak_memory()
}

/// Returns the name of the processor; `None` if the system does not report it.
pub(crate) fn processor_name() -> Option<String> {
    os::processor_name()
}

/// Returns the number of the core that this thread is on; `None` if the system does not report it.
pub(crate) fn this_core() -> Option<usize> {
    os::this_core()
}

/// Places this thread, one of `threads` that compute together: on a core of its own, if each can have one, where the
/// system supports that; otherwise, only its priority may change. Without it, only speed is affected.
///
/// On Linux, if the memory is divided into nodes, the cores are those of one node, if it has as many: of that with the
/// core `near`, otherwise of that with the most cores.
pub(crate) fn place_computing_thread(index: usize, threads: usize, near: Option<usize>) {
    if let Err(error) = os::place_computing_thread(index, threads, near) {
        tracing::debug!(%error, index, "a thread was not pinned to a core");
    }
}

/// Gives other threads precedence over this one on the same core.
pub(crate) fn lower_priority() {
    if let Err(error) = os::lower_priority() {
        tracing::debug!(%error, "the priority of a thread was not lowered");
    }
}

/// The error for threads that cannot each have a core.
#[cfg(any(target_os = "linux", windows))]
fn too_few_cores(cores: usize, threads: usize) -> std::io::Error {
    std::io::Error::other(format!("cores for {threads} threads: got {cores}, expected at least as many"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether this system reports its facts.
    const KNOWN: bool = cfg!(any(target_os = "linux", target_os = "macos", windows));

    #[test]
    fn available_memory_is_part_of_the_machine_s() {
        assert_eq!(total_memory().is_some(), KNOWN);
        assert_eq!(available_memory().is_some(), KNOWN);
        if let (Some(available), Some(total)) = (available_memory(), total_memory()) {
            assert!(available > 0 && available <= total, "{available} of {total}");
        }
    }

    #[test]
    fn memory_that_was_occupied_stays_in_the_peak() {
        const LEN: usize = 32 << 20;
        let bytes = std::hint::black_box(vec![1_u8; LEN]);
        drop(bytes);
        assert_eq!(peak_memory().is_some(), KNOWN);
        assert!(peak_memory().is_none_or(|peak| peak >= LEN as u64));
    }

    #[test]
    fn a_processor_has_a_name_without_spaces_around_it() {
        assert!(processor_name().is_none_or(|name| !name.is_empty() && name.trim() == name));
        assert!(processor_name().is_some() || !cfg!(any(all(target_os = "linux", target_arch = "x86_64"), windows)));
    }

    #[test]
    fn threads_can_be_placed_and_lowered() {
        let placed = std::thread::spawn(|| (os::place_computing_thread(0, 1, this_core()), os::lower_priority()));
        let (placed, lowered) = placed.join().unwrap();
        assert!(placed.is_ok() && lowered.is_ok(), "{placed:?}, {lowered:?}");
    }

    #[test]
    fn more_threads_than_cores_are_not_pinned() {
        let placed = std::thread::spawn(|| os::place_computing_thread(0, 1 << 16, None)).join().unwrap();
        // On macOS threads are never pinned, and their priority changes in any case.
        assert_eq!(placed.is_err(), cfg!(any(target_os = "linux", windows)), "{placed:?}");
    }
}

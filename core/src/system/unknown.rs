//! A system whose facts this crate cannot ask for.

use std::io;

pub(super) fn available_memory() -> Option<u64> {
    None
}

pub(super) fn total_memory() -> Option<u64> {
    None
}

pub(super) fn peak_memory() -> Option<u64> {
    None
}

pub(super) fn processor_name() -> Option<String> {
    None
}

pub(super) fn this_core() -> Option<usize> {
    None
}

pub(super) fn place_computing_thread(_index: usize, _threads: usize, _near: Option<usize>) -> io::Result<()> {
    Ok(())
}

pub(super) fn lower_priority() -> io::Result<()> {
    Ok(())
}

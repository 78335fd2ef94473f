//! The memory that this process may still allocate, if the system reports it.

use crate::error::{Error, ErrorKind, Result};
use crate::system;

/// Checks that there is enough memory, before it is allocated. If the system does not report the
/// available memory, the allocation itself must fail.
///
/// # Errors
///
/// `OutOfMemory` with the required and the available bytes.
pub fn require(bytes: usize, what: &str) -> Result<()> {
    require_of(available(), bytes, what)
}

/// Returns the bytes that can be allocated without swapping; `None` if the system does not report it.
pub fn available() -> Option<u64> {
    system::available_memory()
}

pub(super) fn require_of(available: Option<u64>, bytes: usize, what: &str) -> Result<()> {
    match available {
        Some(available) if bytes as u64 > available => {
            let text = format!("memory for {what}: got {available} bytes available, expected at least {bytes}");
            Err(Error::new(ErrorKind::OutOfMemory, text))
        }
        _ => Ok(()),
    }
}

/// The error of a failed allocation of `bytes`.
pub(super) fn refused(bytes: usize, what: &str) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("failed to allocate {bytes} bytes for {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        assert!(require_of(Some(100), 100, "x").is_ok() && require_of(None, usize::MAX, "x").is_ok());
        let refused = require_of(Some(100), 101, "scratch memory").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        assert_eq!(refused.to_string(), "memory for scratch memory: got 100 bytes available, expected at least 101");
    }

    #[test]
    fn this_machine_has_some_memory() {
        assert!(require(1, "a byte").is_ok());
        assert!(available().is_none() || require(usize::MAX, "everything").is_err());
    }
}

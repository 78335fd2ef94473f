//! Names of sessions, which nobody guesses: to know one is to be allowed to end it.

use crate::{Error, ErrorKind, Result};

/// Makes a name: 128 random bits as hexadecimal digits.
pub(super) fn new() -> Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|error| Error::new(ErrorKind::Device, "the system gives no random numbers").with_source(error))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

//! Random session names, which cannot be guessed: a client that knows one may end the session.

use crate::{Error, ErrorKind, Result};

/// Creates a name: 128 random bits as hexadecimal digits.
pub(super) fn new() -> Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|error| Error::new(ErrorKind::Device, "the system provides no random numbers").with_source(error))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

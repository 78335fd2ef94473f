//! Errors of pickled files.

use std::fmt;
use std::io;

use crate::error::{Error, ErrorKind};

/// The reason why a pickled file is refused.
#[derive(Debug)]
pub(crate) enum PickleError {
    /// The file is broken, or exceeds a limit.
    Bad(String),
    /// The file contains something that is not supported, which the text names.
    Unsupported(String),
    /// The file cannot be read.
    Read(io::Error),
}

impl PickleError {
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::Bad(text.into())
    }

    pub(super) fn unsupported(text: impl Into<String>) -> Self {
        Self::Unsupported(text.into())
    }

    /// Returns the error of a count or length above its limit.
    pub(super) fn limit(what: &str, got: impl fmt::Display, limit: impl fmt::Display) -> Self {
        Self::Bad(format!("{what}: got {got}, expected at most {limit}"))
    }
}

impl From<PickleError> for Error {
    fn from(error: PickleError) -> Self {
        let within = |text: String| format!("pickled file: {text}");
        match error {
            PickleError::Bad(text) => Self::new(ErrorKind::BadModel, within(text)),
            PickleError::Unsupported(text) => Self::new(ErrorKind::Unsupported, within(text)),
            PickleError::Read(source) => {
                Self::new(ErrorKind::Io, within("failed to read".to_owned())).with_source(source)
            }
        }
    }
}

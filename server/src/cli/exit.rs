//! Failure of a command: the message for people, the line for programs, and the exit code.

use std::io::Write as _;

use dreamframe::{Error, ErrorKind};

use super::output::Output;

/// The result of a command.
pub(super) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The reason why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line is wrong in a way that only its values show.
    Usage(String),
    /// An error of the library.
    Library(Error),
    /// The person pressed Ctrl-C, or the process was asked to end.
    Interrupted,
    /// The reader of standard output closed it.
    Unread,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl Failure {
    /// Reports the failure, on standard error as text and with `json` on standard output as an event. Returns the exit
    /// code.
    pub(super) fn report(&self, json: bool) -> u8 {
        if json && let Some(event) = self.event() {
            // Standard output may be what failed.
            let _ = Output::new().line(&event);
        }
        for line in self.lines() {
            eprintln!("dreamframe: {line}");
        }
        self.code()
    }

    fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Library(error) if error.kind() == ErrorKind::InvalidParams => 3,
            Self::Library(_) | Self::Interrupted => 1,
            Self::Usage(_) => 2,
        }
    }

    /// One line, or one a violation where parameters are at fault.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Usage(text) => vec![text.clone(), "see dreamframe --help".to_owned()],
            Self::Library(error) if error.violations().is_empty() => vec![format!("{error:#}")],
            Self::Library(error) => error.violations().iter().map(ToString::to_string).collect(),
            Self::Interrupted => vec!["interrupted; nothing was written".to_owned()],
            Self::Unread => Vec::new(),
        }
    }

    fn event(&self) -> Option<serde_json::Value> {
        let (kind, violations) = match self {
            Self::Usage(_) => ("usage", &[][..]),
            Self::Library(error) => (error.kind().name(), error.violations()),
            Self::Interrupted => ("interrupted", &[][..]),
            Self::Unread => return None,
        };
        let message = self.lines().join("; ");
        Some(serde_json::json!({"event": "error", "kind": kind, "message": message, "violations": violations}))
    }
}

/// Ends the process without `exit`, which would destroy the static objects of libraries while threads that were let go
/// still use them: one that loads a network may be in ONNX Runtime.
pub(super) fn end(code: u8) -> ! {
    // An error can no longer be reported. Standard error has no buffer.
    let _ = std::io::stdout().flush();
    signal_hook::low_level::exit(code.into())
}

#[cfg(test)]
mod tests {
    use dreamframe::Violation;

    use super::*;

    #[test]
    fn each_failure_has_its_documented_exit_code() {
        let violation = Violation::new("delta", "got 3, expected at most 1");
        assert_eq!(Failure::from(Error::invalid_params(vec![violation])).code(), 3);
        assert_eq!(Failure::from(Error::new(ErrorKind::Io, "disk full")).code(), 1);
        assert_eq!(Failure::Usage("no such size".into()).code(), 2);
        assert_eq!(Failure::Interrupted.code(), 1);
    }

    #[test]
    fn every_violation_is_a_line() {
        let violation = |path: &str| Violation::new(path, "got 3, expected at most 1");
        let failure = Failure::from(Error::invalid_params(vec![violation("delta"), violation("seed")]));
        assert_eq!(failure.lines(), ["delta: got 3, expected at most 1", "seed: got 3, expected at most 1"]);
    }
}

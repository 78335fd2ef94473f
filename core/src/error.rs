//! The public error type. Its kind determines what the caller can do; its text names the value and its bound.

use std::any::Any;
use std::fmt;

use serde::ser::SerializeStruct as _;

/// The result of a fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
///
/// [`kind`](Error::kind) determines what the caller can do. The display text names the invalid value and, if there is
/// one, its bound; the alternate form (`{:#}`) appends the causes, which [`source`](std::error::Error::source) returns.
///
/// ```
/// use std::error::Error as _;
///
/// use dreamframe::{Error, ErrorKind, StreamDiffusionParams};
///
/// let mut params = StreamDiffusionParams::demo();
/// (params.width, params.delta) = (65, -1.0);
/// let error = params.validate().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidParams);
/// let paths: Vec<_> = error.violations().iter().map(|violation| &*violation.path).collect();
/// assert_eq!(paths, ["delta", "width"]);
///
/// let missing = std::fs::read("/nonexistent").unwrap_err();
/// let error = Error::io("/nonexistent", "read", missing);
/// assert_eq!((error.kind(), error.to_string()), (ErrorKind::NotFound, "cannot read /nonexistent".into()));
/// assert!(error.source().is_some());
/// // With the causes.
/// assert!(format!("{error:#}").starts_with("cannot read /nonexistent: "));
/// ```
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    context: String,
    violations: Vec<Violation>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A violation of a rule by a set of parameters.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// The path of the value, such as `controlnets[1].conditioning_scale`.
    pub path: String,
    /// The value and its bound, such as `got 3.0, expected a number from 0 to 1`. A text with both is `{path}: {message}`.
    pub message: String,
}

impl Violation {
    /// Makes a violation of the value at `path`; `message` has the value and its bound.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Writes `{path}: {message}`.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Parameters violate a rule: correct the values listed in [`Error::violations`].
    InvalidParams,
    /// A frame's size, format or strides are invalid: correct them.
    InvalidFrame,
    /// An argument is invalid, or the object's state does not allow the call: correct the call.
    InvalidArgument,
    /// A model or file is missing: provide it.
    NotFound,
    /// A model's file is invalid, or has unexpected names or shapes: replace the file.
    BadModel,
    /// This build or this model does not support the request: enable the feature that the text names, or change the
    /// request.
    Unsupported,
    /// Too little memory: use a smaller size or fewer networks.
    OutOfMemory,
    /// The device or the operating system failed, for instance to start a thread: retry, or check the driver.
    Device,
    /// The object is closed.
    Closed,
    /// The time limit of the call has passed: wait longer, or continue without the result.
    Timeout,
    /// The host cancelled the operation, and nothing has changed.
    Cancelled,
    /// Reading or writing failed: check the path in the text.
    Io,
    /// A bug of this library: report it.
    Internal,
}

impl ErrorKind {
    /// Returns the stable name, in snake case, as in logs and machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidParams => "invalid_params",
            Self::InvalidFrame => "invalid_frame",
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::BadModel => "bad_model",
            Self::Unsupported => "unsupported",
            Self::OutOfMemory => "out_of_memory",
            Self::Device => "device",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Error {
    /// Creates an error of `kind` with a text that names the value and the bound.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, context: context.into(), violations: Vec::new(), source: None }) }
    }

    /// Creates an [`ErrorKind::InvalidParams`] error with `violations`; the text lists every one.
    pub fn invalid_params(violations: Vec<Violation>) -> Self {
        let context = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Self { inner: Box::new(Inner { kind: ErrorKind::InvalidParams, context, violations, source: None }) }
    }

    /// Creates an [`ErrorKind::Internal`] error for a panic of `what`.
    pub(crate) fn of_panic(what: &str, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Self::new(ErrorKind::Internal, format!("{what} panicked: {}", text.unwrap_or("(no message)")))
    }

    /// Creates an error of kind `Io` (`NotFound` if the file is missing, `OutOfMemory` if memory is) with the text
    /// `cannot {doing} {path}`.
    pub fn io(path: impl AsRef<std::path::Path>, doing: &str, source: std::io::Error) -> Self {
        let kind = if source.kind() == std::io::ErrorKind::NotFound {
            ErrorKind::NotFound
        } else if source.kind() == std::io::ErrorKind::OutOfMemory {
            ErrorKind::OutOfMemory
        } else {
            ErrorKind::Io
        };
        Self::new(kind, format!("cannot {doing} {}", path.as_ref().display())).with_source(source)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Puts `prefix: ` before the text, such as the name of the file or component.
    #[must_use]
    pub fn within(mut self, prefix: impl fmt::Display) -> Self {
        self.inner.context = format!("{prefix}: {}", self.inner.context);
        self
    }

    /// Returns the kind, which determines what the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns every violation, for [`ErrorKind::InvalidParams`]; empty for the other kinds.
    pub fn violations(&self) -> &[Violation] {
        &self.inner.violations
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.context)?;
        if f.alternate() {
            let mut cause = std::error::Error::source(self);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("context", &self.inner.context)
            .field("source", &self.inner.source)
            .finish_non_exhaustive()
    }
}

/// Serialized as an object: the name of the `kind`, the `message` with the causes, and the `violations`.
impl serde::Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Error", 3)?;
        object.serialize_field("kind", self.kind().name())?;
        object.serialize_field("message", &format!("{self:#}"))?;
        object.serialize_field("violations", self.violations())?;
        object.end()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_lists_every_violation() {
        let violation = |path: &str| Violation { path: path.into(), message: "got 3, expected less than 3".into() };
        let error = Error::invalid_params(vec![violation("delta"), violation("t_index_list[0]")]);
        assert_eq!(error.kind(), ErrorKind::InvalidParams);
        assert_eq!(
            error.to_string(),
            "delta: got 3, expected less than 3; t_index_list[0]: got 3, expected less than 3"
        );
    }

    #[test]
    fn it_is_written_as_an_object_with_its_violations() {
        let violation = Violation { path: "delta".into(), message: "got 30, expected a number from 0 to 10".into() };
        let error = Error::invalid_params(vec![violation.clone()]);
        let expected = serde_json::json!({
            "kind": "invalid_params",
            "message": "delta: got 30, expected a number from 0 to 10",
            "violations": [violation],
        });
        assert_eq!(serde_json::to_value(&error).unwrap(), expected);
    }

    #[test]
    fn alternate_format_includes_causes() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Error::io("a/b", "open", missing).within("unet");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(format!("{error:#}").starts_with("unet: cannot open a/b: "));
    }
}

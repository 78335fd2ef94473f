//! The public error type. Its kind determines what the caller can do; its text names the value and its bound.

use std::fmt;

use serde::ser::SerializeStruct as _;

/// What a fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
///
/// [`kind`](Error::kind) says what the caller can do about it; the display text names the offending value and, where
/// there is one, the bound; [`source`](std::error::Error::source) has the cause.
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

/// One rule that a set of parameters breaks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// Where: a path such as `controlnets[1].conditioning_scale`.
    pub path: String,
    /// What is wrong, with the value: `is 3.0, but must be between 0 and 1`.
    pub message: String,
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Parameters break a rule: correct the values listed in [`Error::violations`].
    InvalidParams,
    /// A frame's size, format or strides do not fit: correct them.
    InvalidFrame,
    /// A call is wrong in itself (size, state): correct the call.
    InvalidArgument,
    /// A model or file is not there: bring it.
    NotFound,
    /// A model's file is broken, or its names or shapes do not fit: replace the file.
    BadModel,
    /// Not built in, or not built yet: choose another feature, or ask for less.
    Unsupported,
    /// Too little memory: a smaller size, fewer networks.
    OutOfMemory,
    /// The device failed: look at the driver; a retry may help.
    Device,
    /// The object is closed: stop using it.
    Closed,
    /// It took too long; the caller may wait longer, or continue without it.
    Timeout,
    /// The host asked for it to stop, and nothing has changed.
    Cancelled,
    /// Reading or writing failed: look at the path in the message.
    Io,
    /// A bug of this library: report it.
    Internal,
}

impl ErrorKind {
    /// Its stable name, as logs and machine-readable output have it.
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
    /// Makes an error of `kind` with a text that names the value and the bound.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, context: context.into(), violations: Vec::new(), source: None }) }
    }

    /// Makes the error of parameters that break `violations`; the text lists every one.
    pub fn invalid_params(violations: Vec<Violation>) -> Self {
        let context = violations.iter().map(|v| format!("{} {}", v.path, v.message)).collect::<Vec<_>>().join("; ");
        Self { inner: Box::new(Inner { kind: ErrorKind::InvalidParams, context, violations, source: None }) }
    }

    /// Makes an [`ErrorKind::Io`] error (or `NotFound`, where the file is absent) about `path`.
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

    /// Puts `prefix: ` before the text, as an error travels up: which file, which component.
    #[must_use]
    pub fn within(mut self, prefix: impl fmt::Display) -> Self {
        self.inner.context = format!("{prefix}: {}", self.inner.context);
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Every broken rule, for [`ErrorKind::InvalidParams`]; empty for the other kinds.
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

/// As an object: `kind` by its name, `message` with the causes, `violations`.
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
        let violation = |path: &str| Violation { path: path.into(), message: "is 3, but must be less than 3".into() };
        let error = Error::invalid_params(vec![violation("delta"), violation("t_index_list[0]")]);
        assert_eq!(error.kind(), ErrorKind::InvalidParams);
        assert_eq!(
            error.to_string(),
            "delta is 3, but must be less than 3; t_index_list[0] is 3, but must be less than 3"
        );
    }

    #[test]
    fn it_is_written_as_an_object_with_its_violations() {
        let violation = Violation { path: "delta".into(), message: "is 30, but must be between 0 and 10".into() };
        let error = Error::invalid_params(vec![violation.clone()]);
        let expected = serde_json::json!({
            "kind": "invalid_params",
            "message": "delta is 30, but must be between 0 and 10",
            "violations": [violation],
        });
        assert_eq!(serde_json::to_value(&error).unwrap(), expected);
    }

    #[test]
    fn the_alternate_form_tells_the_causes() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Error::io("a/b", "open", missing).within("unet");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(format!("{error:#}").starts_with("unet: cannot open a/b: "));
    }
}

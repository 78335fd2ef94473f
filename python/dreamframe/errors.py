"""The exceptions that this package raises: one class for each kind, all subclasses of `DreamframeError`.

Each also inherits from the matching built-in exception, if any: a missing model is a `FileNotFoundError`.
"""

import builtins
from typing import ClassVar, NamedTuple

__all__ = [
    "BadModelError",
    "CancelledError",
    "ClosedError",
    "DeviceError",
    "DreamframeError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidFrameError",
    "InvalidParamsError",
    "IoError",
    "ModelNotFoundError",
    "OutOfMemoryError",
    "TimeoutError",
    "UnsupportedError",
    "Violation",
]


class Violation(NamedTuple):
    """One rule that parameters break."""

    path: str
    """The path of the value, such as `controlnets[1].conditioning_scale`."""
    message: str
    """The value and its bound: `got 3.0, expected a number from 0 to 1`."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class DreamframeError(Exception):
    """Base class of the exceptions. The message names the value and the bound; the class names the kind of error."""

    kind: ClassVar[str] = "internal"
    """The stable name of the kind, the same in every language."""
    violations: tuple[Violation, ...] = ()
    """Every broken rule, for `InvalidParamsError`; empty for other kinds."""


class InvalidParamsError(DreamframeError, ValueError):
    """Parameters break a rule: correct the values listed in `violations`."""

    kind = "invalid_params"


class InvalidFrameError(DreamframeError, ValueError):
    """A frame has an invalid size, type or layout."""

    kind = "invalid_frame"


class InvalidArgumentError(DreamframeError, ValueError):
    """An argument of a call is invalid."""

    kind = "invalid_argument"


class ModelNotFoundError(DreamframeError, FileNotFoundError):
    """A model or a file was not found."""

    kind = "not_found"


class BadModelError(DreamframeError):
    """A model's file is corrupt, or its names or shapes are not as expected."""

    kind = "bad_model"


class UnsupportedError(DreamframeError, NotImplementedError):
    """The request is not supported by this build, device or model."""

    kind = "unsupported"


class OutOfMemoryError(DreamframeError, MemoryError):
    """Not enough memory: use a smaller size or fewer networks."""

    kind = "out_of_memory"


class DeviceError(DreamframeError):
    """The device failed: check the driver; retrying may help."""

    kind = "device"


class ClosedError(DreamframeError):
    """The stream, session, server or connection is closed."""

    kind = "closed"


class TimeoutError(DreamframeError, builtins.TimeoutError):
    """The operation did not finish in time; it may be retried."""

    kind = "timeout"


class CancelledError(DreamframeError):
    """Loading was cancelled: nothing has changed."""

    kind = "cancelled"


class IoError(DreamframeError, OSError):
    """Reading or writing failed; the message names the path or address."""

    kind = "io"


class InternalError(DreamframeError):
    """A bug in this library: please report it."""

    kind = "internal"


_BY_KIND = {error.kind: error for error in DreamframeError.__subclasses__()}

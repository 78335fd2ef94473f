"""The errors that this package raises: one class for each kind, all of them `DreamframeError`.

Where Python has a class of its own for such an error, ours is that one too: a missing model is a `FileNotFoundError`.
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
    """Where: a path such as `controlnets[1].conditioning_scale`."""
    message: str
    """The value and its bound: `got 3.0, expected a number from 0 to 1`."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class DreamframeError(Exception):
    """Something could not be done; the text names the value and the bound, the class says what to do about it."""

    kind: ClassVar[str] = "internal"
    """The stable name of the kind, the same in every language."""
    violations: tuple[Violation, ...] = ()
    """Every broken rule, for `InvalidParamsError`; empty for the others."""


class InvalidParamsError(DreamframeError, ValueError):
    """Parameters break a rule: correct the values listed in `violations`."""

    kind = "invalid_params"


class InvalidFrameError(DreamframeError, ValueError):
    """A frame's size, type or layout does not fit: correct them."""

    kind = "invalid_frame"


class InvalidArgumentError(DreamframeError, ValueError):
    """A call is wrong in itself: correct the call."""

    kind = "invalid_argument"


class ModelNotFoundError(DreamframeError, FileNotFoundError):
    """A model or file is not there: bring it."""

    kind = "not_found"


class BadModelError(DreamframeError):
    """A model's file is broken, or its names or shapes do not fit: replace the file."""

    kind = "bad_model"


class UnsupportedError(DreamframeError, NotImplementedError):
    """Not built in, or not built yet: choose something else, or ask for less."""

    kind = "unsupported"


class OutOfMemoryError(DreamframeError, MemoryError):
    """Too little memory: a smaller size, fewer networks."""

    kind = "out_of_memory"


class DeviceError(DreamframeError):
    """The device failed: look at the driver; a retry may help."""

    kind = "device"


class ClosedError(DreamframeError):
    """The stream, session, server or connection is closed: stop using it."""

    kind = "closed"


class TimeoutError(DreamframeError, builtins.TimeoutError):
    """It took too long: wait longer, or go on."""

    kind = "timeout"


class CancelledError(DreamframeError):
    """It was asked to stop while it was loading: nothing has changed."""

    kind = "cancelled"


class IoError(DreamframeError, OSError):
    """Reading or writing failed: look at the path or address in the message."""

    kind = "io"


class InternalError(DreamframeError):
    """A bug of this library: report it."""

    kind = "internal"


_BY_KIND = {error.kind: error for error in DreamframeError.__subclasses__()}

"""Real-time diffusion: a frame goes in, a restyled picture comes out, many times a second.

>>> from dreamframe import StreamDiffusion, StreamDiffusionParams
>>> with StreamDiffusion(StreamDiffusionParams.demo(), models="demo") as stream:
...     picture = stream(frame)

What the library tells goes to the loggers `dreamframe.…` of `logging`.
"""

import atexit as _atexit

from ._dreamframe import Session, StreamDiffusion, __version__, _at_exit
from ._edit import Edit
from ._picture import Picture
from ._types import Change, Event, FrameLike, Notice, Plan, Rate, Stage, Stats, Summary, Ticket, Timings, Work
from .errors import (
    BadModelError,
    CancelledError,
    ClosedError,
    DeviceError,
    DreamframeError,
    InternalError,
    InvalidArgumentError,
    InvalidFrameError,
    InvalidParamsError,
    IoError,
    ModelNotFoundError,
    OutOfMemoryError,
    TimeoutError,
    UnsupportedError,
    Violation,
)
from .params import (
    Acceleration,
    CachedAttentionConfig,
    ControlNetConfig,
    Cost,
    FieldInfo,
    Interpolation,
    IPAdapterConfig,
    IPAdapterType,
    ParamsPatch,
    ProcessingConfig,
    ProcessorName,
    SingleProcessorConfig,
    StreamDiffusionParams,
    WeightType,
)

__all__ = [
    "Acceleration",
    "BadModelError",
    "CachedAttentionConfig",
    "CancelledError",
    "Change",
    "ClosedError",
    "ControlNetConfig",
    "Cost",
    "DeviceError",
    "DreamframeError",
    "Edit",
    "Event",
    "FieldInfo",
    "FrameLike",
    "IPAdapterConfig",
    "IPAdapterType",
    "InternalError",
    "Interpolation",
    "InvalidArgumentError",
    "InvalidFrameError",
    "InvalidParamsError",
    "IoError",
    "ModelNotFoundError",
    "Notice",
    "OutOfMemoryError",
    "ParamsPatch",
    "Picture",
    "Plan",
    "ProcessingConfig",
    "ProcessorName",
    "Rate",
    "Session",
    "SingleProcessorConfig",
    "Stage",
    "Stats",
    "StreamDiffusion",
    "StreamDiffusionParams",
    "Summary",
    "Ticket",
    "TimeoutError",
    "Timings",
    "UnsupportedError",
    "Violation",
    "WeightType",
    "Work",
    "__version__",
]

_atexit.register(_at_exit)

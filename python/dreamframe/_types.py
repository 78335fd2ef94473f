"""Data classes that calls accept and return."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict

from .errors import DreamframeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Buffer

    from .params import Cost, StreamDiffusionParams


class SupportsArrayInterface(Protocol):
    """An object with numpy's array interface, such as a PIL image."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class SupportsDLPack(Protocol):
    """A tensor in CPU memory, such as torch's."""

    def __dlpack__(self, *, stream: Any = None) -> Any: ...


FrameLike: TypeAlias = "NDArray[np.uint8] | SupportsArrayInterface | SupportsDLPack | Buffer"
"""Pixels of a frame: uint8, height x width x 3 (red, green, blue) or x 4 (and alpha, which is ignored)."""


@dataclass(frozen=True, slots=True)
class ProcessorContext:
    """What a processor is called with, besides the image."""

    settings: Mapping[str, Any]
    """The processor's `params`, without defaults."""
    previous: "NDArray[np.float32] | None"
    """The last picture, as the image; in a latent chain, the last latent. None before the first picture, and after a
    change of size."""
    size: tuple[int, int]
    """Width and height that the result is resized to, unless a processor after the stream enlarges it."""


Processor: TypeAlias = "Callable[[NDArray[np.float32], ProcessorContext], ArrayLike]"
"""A processor: called with an image, float32 of height x width x 3 in 0..1, red, green, blue; in a latent chain with a
latent, height x width x channels. Returns the result: float32 of the same channels, or uint8, or height x width for a
grey image. An exception is passed to `sys.unraisablehook`, and the image stays as it was."""

SafetyChecker: TypeAlias = "Callable[[NDArray[np.float32]], float]"
"""Called with a picture, float32 of height x width x 3 in 0..1; returns how unsafe it is, from 0 (harmless) to 1. After
an exception, which is passed to `sys.unraisablehook`, the picture is flagged."""

StyleImages: TypeAlias = "Callable[[str], bytes | NDArray[np.uint8] | SupportsArrayInterface]"
"""Called with the URL of a style image; returns it as the bytes of a PNG, JPEG or WebP file, as an array (uint8, height
x width x 3), or as a PIL image. An exception rejects the update, and is the cause of the error."""

FaceEmbeddings: TypeAlias = "Callable[[str], ArrayLike]"
"""Called with the value of `ip_adapter_style_image_url` for an adapter of type `faceid`; returns the embedding of the
first face in that image: as many numbers as the adapter has inputs, 512 for the published ones."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A value that was accepted but is interpreted differently from what was written."""

    path: str
    """The path of the value, such as `controlnets[0].preprocessor`."""
    message: str
    """How the value is interpreted; worded to follow the path."""

    def __str__(self) -> str:
        return f"{self.path} {self.message}"


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter that an update changes."""

    path: str
    """The path of the parameter, such as `controlnets[1].conditioning_scale`."""
    cost: "Cost"
    """The cost of this change."""
    old: Any
    """The value before; None for an item that is added."""
    new: Any
    """The value after; None for an item that is removed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The effect that a change would have."""

    cost: "Cost | None"
    """The highest cost among the changes; None if nothing changes."""
    changes: list[Change]
    """The changes."""
    notices: list[Notice]
    """Values that are interpreted differently, and parameters that change as a consequence."""
    params: "StreamDiffusionParams"
    """The parameters after the change."""
    frees_first: bool
    """Whether memory is too small for two pipelines, so that the old one is released first."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """An update that a session has accepted."""

    version: int
    """The version of the update, from 1; events and pictures refer to it."""
    cost: "Cost | None"
    """The highest cost among the changes; None if nothing changes."""
    changes: list[Change]
    """The changes."""
    notices: list[Notice]
    """Values that are interpreted differently, and parameters that change as a consequence."""
    _accepted: Any = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a session."""

    kind: Literal[
        "update_applied",
        "update_rejected",
        "update_superseded",
        "frame_failed",
        "transition_failed",
        "degraded",
        "recovered",
        "callback_failed",
        "stopped",
    ]
    """The kind of event."""
    version: int | None = None
    """The version of the update, for events of updates."""
    id: int | None = None
    """The number of the frame, for `frame_failed`."""
    error: DreamframeError | None = None
    """The cause of the failure."""
    notices: tuple[Notice, ...] = ()
    """Notices from preparing the update."""


class Rate(TypedDict):
    """A total count, and the current rate."""

    total: int
    per_second: float


class Summary(TypedDict):
    """Summary statistics of a series of measurements."""

    median: float
    p95: float
    n: int


class Stage(TypedDict):
    """Duration of one stage of a frame, in microseconds."""

    name: str
    micros: Summary


class Stats(TypedDict):
    """Statistics of a session."""

    submitted: Rate
    dropped: Rate
    computed: Rate
    skipped: Rate
    passed: Rate
    repeated: Rate
    failed: Rate
    unseen: Rate
    interpolated: Rate
    stages: list[Stage]
    waiting_frames: int
    waiting_updates: int
    waiting_loads: int
    transition: list[int] | None
    desired_version: int
    active_version: int
    lost_events: int


class Work(TypedDict):
    """Counts of the work done since the stream was created."""

    unet_evaluations: int
    unchanged_frame_pixels: int
    unchanged_latent_pixels: int
    shared_unet_evaluations: int
    unet_rows: int
    control_images: int
    control_evaluations: int
    control_rows: int


Timings: TypeAlias = Mapping[str, int]
"""Total duration of each stage of a frame in microseconds, in order of execution; `frame` is the total."""


ConnectionState: TypeAlias = Literal["connecting", "connected", "disconnected", "failed", "closed"]
"""The connection state of a publisher or a player."""


class _IceServerUrls(TypedDict):
    urls: str | Sequence[str]
    """Its addresses, as `stun:host[:port]` or `turn:host[:port][?transport=udp]`."""


class IceServer(_IceServerUrls, total=False):
    """A STUN or TURN server, for connections through a NAT."""

    username: str
    """The user name, for TURN."""
    credential: str
    """The password, for TURN. It is sent to publishers, not to viewers."""
    secret: str
    """Shared secret of the TURN server (coturn's `static-auth-secret`), instead of a user name and password.

    Each peer receives credentials derived from it that are valid for one hour.
    """


class IngestStats(TypedDict):
    """Statistics of the video that a connection received."""

    packets: Rate
    lost: int
    units: int
    frames: Rate
    skipped: int
    failed: int
    key_frame_requests: int
    jitter_ms: float
    width: int
    height: int


class EgressStats(TypedDict):
    """Statistics of the pictures sent to viewers."""

    viewers: int
    shown: Rate
    encoded: Rate
    key_frames: int
    dropped: int
    skipped: int
    failed: int
    bytes: int
    bitrate: int
    encode_ms: float
    age_ms: float
    width: int
    height: int


class AudioStats(TypedDict):
    """Statistics of the audio received from a peer."""

    packets: int
    lost: int
    jitter_ms: float


class PeerStats(TypedDict):
    """Statistics of a connection."""

    bytes_in: int
    packets_in: int
    bytes_out: int
    packets_out: int
    key_frames_asked: int
    round_trip_ms: float | None
    video_in: IngestStats | None
    audio_in: AudioStats | None
    codec_in: Literal["h264", "vp8"] | None
    codec_out: Literal["h264", "vp8"] | None


class PublisherStats(TypedDict):
    """Statistics of a publisher's encoder and connection; the connection is None while disconnected."""

    egress: EgressStats
    peer: PeerStats | None


class ServerStats(TypedDict):
    """Statistics of a server; `publisher` is None while no publisher is connected."""

    session: Stats
    egress: EgressStats
    publisher: PeerStats | None
    viewers: list[PeerStats]

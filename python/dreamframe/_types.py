"""Plain data that calls take and give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Required, TypeAlias, TypedDict

from .errors import DreamframeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from .params import Cost, StreamDiffusionParams


class SupportsArrayInterface(Protocol):
    """Pixels that numpy can look at: images of PIL among others."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class SupportsDLPack(Protocol):
    """Pixels in a tensor, such as torch's, in the memory of the CPU."""

    def __dlpack__(self, *, stream: Any = None) -> Any: ...


FrameLike: TypeAlias = "NDArray[np.uint8] | SupportsArrayInterface | SupportsDLPack | Buffer"
"""Pixels of a frame: uint8, height x width x 3 (red, green, blue) or x 4 (and alpha, which is ignored)."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A value that was accepted with another meaning."""

    path: str
    """Where: a path such as `controlnets[0].preprocessor`."""
    message: str
    """The other meaning; reads after the path."""

    def __str__(self) -> str:
        return f"{self.path} {self.message}"


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter that an update changes."""

    path: str
    """Where: a path such as `controlnets[1].conditioning_scale`."""
    cost: "Cost"
    """The cost of this change."""
    old: Any
    """The value before; None for an item that comes in."""
    new: Any
    """The value after; None for an item that goes away."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The result that a change would have."""

    cost: "Cost | None"
    """The highest cost among the changes; None if nothing changes."""
    changes: list[Change]
    """The changes."""
    notices: list[Notice]
    """Values accepted with another meaning, and parameters changed along."""
    params: "StreamDiffusionParams"
    """The parameters after the change."""
    frees_first: bool
    """Whether there is too little memory for two pipelines, so that the old one is released first."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """An update that a session has accepted."""

    version: int
    """Its number, from 1, by which events and pictures name it."""
    cost: "Cost | None"
    """The highest cost among the changes; None if nothing changes."""
    changes: list[Change]
    """The changes."""
    notices: list[Notice]
    """Values accepted with another meaning, and parameters changed along."""
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
    """Of which update, for events of updates."""
    id: int | None = None
    """Which frame, for `frame_failed`."""
    error: DreamframeError | None = None
    """Why."""
    notices: tuple[Notice, ...] = ()
    """Notices of the preparation of an update."""


class Rate(TypedDict):
    """How often something has happened, and how often it happens now."""

    total: int
    per_second: float


class Summary(TypedDict):
    """A summary of measurements."""

    median: float
    p95: float
    n: int


class Stage(TypedDict):
    """How long one stage of a frame takes, in microseconds."""

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
    stages: list[Stage]
    waiting_frames: int
    waiting_updates: int
    waiting_loads: int
    transition: list[int] | None
    desired_version: int
    active_version: int
    lost_events: int


class Work(TypedDict):
    """Counts what frames took, since the stream was made."""

    unet_evaluations: int
    unet_rows: int
    control_images: int
    control_evaluations: int
    control_rows: int


Timings: TypeAlias = Mapping[str, int]
"""Microseconds of each stage of a frame, in the order in which they run; `frame` is all of it."""


ConnectionState: TypeAlias = Literal["connecting", "connected", "disconnected", "failed", "closed"]
"""How far a publisher or a player is."""


class IceServer(TypedDict, total=False):
    """A server that helps to connect through a NAT."""

    urls: Required[str | Sequence[str]]
    """Its addresses, as `stun:host[:port]` or `turn:host[:port][?transport=udp]`."""
    username: str
    """The user name, for TURN."""
    credential: str
    """The password, for TURN. It is sent to publishers, not to viewers."""
    secret: str
    """In place of both, what this side shares with the TURN server (coturn's `static-auth-secret`).

    Each peer gets a user name and a password that are made with it and hold for an hour.
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
    """Statistics of the pictures that were shown to viewers."""

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
    width: int
    height: int


class PeerStats(TypedDict):
    """Statistics of a connection."""

    bytes_in: int
    packets_in: int
    bytes_out: int
    packets_out: int
    key_frames_asked: int
    round_trip_ms: float | None
    video_in: IngestStats | None
    codec_in: Literal["h264", "vp8"] | None
    codec_out: Literal["h264", "vp8"] | None


class PublisherStats(TypedDict):
    """Statistics of a publisher's encoder and connection; None while there is none."""

    egress: EgressStats
    peer: PeerStats | None


class ServerStats(TypedDict):
    """Statistics of a server; `publisher` is None without a publisher."""

    session: Stats
    egress: EgressStats
    publisher: PeerStats | None
    viewers: list[PeerStats]

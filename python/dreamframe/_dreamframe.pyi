"""The native half of the package: engine and session. Import from `dreamframe`, not from here."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Self, Unpack

from ._edit import Edit
from ._picture import Picture
from ._types import Event, FrameLike, Notice, Plan, Stats, Ticket, Work
from .params import Cost, ParamsPatch, StreamDiffusionParams

__version__: str

@final
class StreamDiffusion:
    """A real-time image-to-image stream.

    Calls are made one at a time: a second thread that calls in waits for the first.
    The GIL is released while a frame is worked on, models load, or a call waits; Ctrl-C ends any of these at once.

    >>> with StreamDiffusion(StreamDiffusionParams(prompt="a garden"), models="demo") as stream:
    ...     picture = stream(frame)
    """

    def __new__(
        cls,
        params: StreamDiffusionParams | Mapping[str, Any] | None = None,
        *,
        models: str | PathLike[str] = "demo",
        device: Literal["auto", "cpu"] = "auto",
        executor: Literal["cpu", "reference"] = "cpu",
        dtype: Literal["f32", "bf16", "int8"] = "f32",
        threads: int | None = None,
        cfg_type: Literal["none", "full", "self", "initialize"] = "self",
        noise: Literal["philox", "torch-cpu"] = "philox",
        allow_any_size: bool = False,
        fit: Literal["cover", "fit", "stretch"] = "cover",
        output: Literal["rgba", "bgra", "rgb"] = "rgba",
        progress: Callable[[int, int, str], object] | None = None,
    ) -> Self:
        """Loads the models that `params` names; without params, the demo model with its own settings."""

    def __call__(self, frame: FrameLike, /) -> Picture:
        """Works on one frame, and gives the picture of the frame `delay` calls ago."""

    def update(
        self,
        patch: StreamDiffusionParams | Mapping[str, Any] | None = None,
        /,
        **changes: Unpack[ParamsPatch],
    ) -> Cost | None:
        """Changes parameters before the next frame; on an error, none has changed. None where nothing changes."""

    def edit(self) -> Edit:
        """Opens the parameters for changes in a `with` block, which count together when it ends without an error."""

    def plan(
        self,
        patch: StreamDiffusionParams | Mapping[str, Any] | None = None,
        /,
        **changes: Unpack[ParamsPatch],
    ) -> Plan:
        """Says what a change would come to; changes nothing."""

    def transition(
        self,
        target_prompts: str | Iterable[tuple[str, float]],
        num_steps: int = 4,
        *,
        temporal_interpolation_method: Literal["linear", "slerp"] = "linear",
    ) -> Cost | None:
        """Changes the prompt little by little over the next `num_steps` pictures."""

    def frames(self, source: Iterable[FrameLike], /) -> Iterator[Picture]:
        """Works on one frame after another, and gives a picture for each."""

    def start(
        self,
        *,
        on_picture: Callable[[Picture], object] | None = None,
        failed_frame: Literal["repeat", "skip"] = "repeat",
    ) -> Session:
        """Goes on on a thread of its own, until the session is stopped; until then, other calls raise."""

    @property
    def params(self) -> StreamDiffusionParams:
        """The parameters in use, as a copy."""

    @property
    def notices(self) -> list[Notice]:
        """What was accepted at the start and means something else here."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of pictures."""

    @property
    def delay(self) -> int:
        """How many frames later than its frame a picture leaves."""

    @property
    def device(self) -> str:
        """What runs the networks, in words."""

    @property
    def threads(self) -> int:
        """How many threads work on a frame."""

    @property
    def model(self) -> str:
        """Where the base model was found."""

    def stats(self) -> Work:
        """Counts what frames took since the start."""

    @property
    def closed(self) -> bool: ...
    def close(self) -> None:
        """Lets go of the models. Further calls raise `ClosedError`; a second close does nothing."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

@final
class Session:
    """A stream on its own thread: frames go in and pictures come out without waiting.

    Made by `StreamDiffusion.start`; all methods may be called from any thread.
    """

    def submit(self, frame: FrameLike, /) -> int:
        """Copies a frame and hands it over, then returns at once; a frame that still waits is replaced.

        The number that comes back is the `source_id` of the picture made from it.
        """

    def poll(self) -> Picture | None:
        """Takes the newest picture, if there is one that nobody has taken."""

    def wait(self, timeout: float | None = None) -> Picture | None:
        """Waits for a picture that nobody has taken; None after `timeout` seconds, and once the session has ended."""

    def __iter__(self) -> Iterator[Picture]:
        """Gives pictures as they come, until the session ends."""

    def __next__(self) -> Picture: ...
    def update(
        self,
        patch: StreamDiffusionParams | Mapping[str, Any] | None = None,
        /,
        **changes: Unpack[ParamsPatch],
    ) -> Ticket:
        """Changes parameters: checked now and as a whole, prepared beside the frames, applied between two of them."""

    def edit(self) -> Edit: ...
    def plan(
        self,
        patch: StreamDiffusionParams | Mapping[str, Any] | None = None,
        /,
        **changes: Unpack[ParamsPatch],
    ) -> Plan: ...
    def wait_for(self, ticket: Ticket | int, timeout: float | None = None) -> Literal["applied", "superseded"]:
        """Waits until an update has ended; raises what it was rejected for."""

    def events(self) -> list[Event]:
        """Takes the events that there are, oldest first."""

    def wait_event(self, timeout: float | None = None) -> Event | None:
        """Waits for the next event; None after `timeout` seconds."""

    def stats(self) -> Stats:
        """Says what the session has done so far, and does now."""

    @property
    def params(self) -> StreamDiffusionParams:
        """The desired parameters: what was accepted last, without what was refused since."""

    @property
    def active_version(self) -> int:
        """The newest version applied; 0 before the first."""

    @property
    def is_running(self) -> bool:
        """Whether the session takes frames."""

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the session: what waits is still done, and the stream can be called again. A second stop does nothing."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

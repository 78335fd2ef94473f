"""Changes of parameters in a `with` block."""

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._dreamframe import Session, StreamDiffusion
    from ._types import Ticket
    from .params import Cost, StreamDiffusionParams


class Edit:
    """Opens the parameters of a stream or a session for changes, which count together when the block ends.

    Where the block raises, nothing changes.
    """

    cost: "Cost | None" = None
    """The cost of the changes; None before the end of the block, and if nothing changed."""
    ticket: "Ticket | None" = None
    """The update that a session has accepted; None for a stream, and before the end of the block."""

    def __init__(self, target: "StreamDiffusion | Session", /) -> None:
        self._target = target

    def __enter__(self) -> "StreamDiffusionParams":
        self._params = self._target.params
        self._before = self._params.model_dump()
        return self._params

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        if exc_type is not None:
            return
        after = self._params.model_dump()
        changes: dict[str, Any] = {name: after[name] for name in after if after[name] != self._before[name]}
        if "num_inference_steps" in changes:
            # Alone, the number of steps would rescale the list, which stands here as it is meant.
            changes["t_index_list"] = after["t_index_list"]
        done = self._target.update(changes)
        if done is None or isinstance(done, str):
            self.cost = done
        else:
            self.cost, self.ticket = done.cost, done

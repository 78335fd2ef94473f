"""Changes of parameters in a `with` block."""

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._dreamframe import Session, StreamDiffusion
    from ._types import Ticket
    from .params import Cost, StreamDiffusionParams


class Edit:
    """Collects changes to the parameters of a stream or a session, and applies them together when the block ends.

    If the block raises, nothing changes.
    """

    cost: "Cost | None" = None
    """The cost of the changes; None until the block ends, or if nothing changed."""
    ticket: "Ticket | None" = None
    """The update that the session accepted; None for a stream, or until the block ends."""

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
            # On its own, a new number of steps would rescale `t_index_list`; passing the list too keeps it as set.
            changes["t_index_list"] = after["t_index_list"]
        done = self._target.update(changes)
        if done is None or isinstance(done, str):
            self.cost = done
        else:
            self.cost, self.ticket = done.cost, done

"""Asynchronous iteration over pictures: the waiting is done on threads, so that the event loop goes on."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._dreamframe import Session, StreamDiffusion
    from ._picture import Picture
    from ._types import FrameLike

_MOMENT = 0.1
"""Seconds that a thread waits, so that a cancelled task does not occupy one for long."""


async def pictures(session: "Session") -> AsyncIterator["Picture"]:
    """Yields the pictures of a session until it ends."""
    is_running = True
    while is_running:
        # The thread does not take the picture, which would be lost with a cancelled task.
        await asyncio.to_thread(session._wait_ready, _MOMENT)
        # It may end after a last picture.
        is_running = session.is_running
        if (picture := session.poll()) is not None:
            yield picture


async def frames(
    stream: "StreamDiffusion", source: "AsyncIterable[FrameLike] | Iterable[FrameLike]"
) -> AsyncIterator["Picture"]:
    """Yields the picture of each frame."""
    if isinstance(source, AsyncIterable):
        async for frame in source:
            yield await asyncio.to_thread(stream, frame)
    else:
        iterator = iter(source)
        end: Any = object()
        # A camera blocks in `next`.
        while (frame := await asyncio.to_thread(next, iterator, end)) is not end:
            yield await asyncio.to_thread(stream, frame)

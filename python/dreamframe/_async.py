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
    while True:
        picture = await asyncio.to_thread(session.wait, _MOMENT)
        if picture is not None:
            yield picture
        elif not session.is_running:
            # It may have ended after a last picture.
            while (picture := session.poll()) is not None:
                yield picture
            return


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
